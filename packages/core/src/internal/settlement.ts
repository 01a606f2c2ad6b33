import { Effect, Option } from "effect"
import type { Hold } from "../Broker.js"
import * as RetryPolicy from "../RetryPolicy.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Final } from "../TaskState.js"
import type { AttemptEnd } from "./attempt.js"
import * as codec from "./codec.js"
import type { Definition } from "./definition.js"
import * as outcome from "./outcome.js"
import type { Attempt, Outcome } from "./run.js"

/*
 * What follows from the end of an attempt: the next record of the run. Pure, but for the draws of a jittered schedule.
 */

/** The next record, and for how long the task, or its runs with the same keys, are held back. */
export interface Decision {
  readonly run: EncodedRun
  readonly hold: Hold | null
}

/** The ledger keeps so many of its first and of its last attempts. */
const ledgerEnds = 20

const withAttempt = (run: EncodedRun, attempt: Attempt): string => {
  if (run.ledger === "[]") {
    return JSON.stringify([attempt])
  }
  const ledger = [...codec.ledgerOf(run), attempt]
  return JSON.stringify(
    ledger.length <= 2 * ledgerEnds ? ledger : [...ledger.slice(0, ledgerEnds), ...ledger.slice(-ledgerEnds)]
  )
}

const attemptOf = (run: EncodedRun, endedAt: number, outcome: Outcome): Attempt => ({
  number: run.attempt + 1,
  consumer: run.consumer ?? "",
  startedAt: run.startedAt ?? endedAt,
  endedAt,
  outcome: outcome._tag === "Success" ? { _tag: "Success" } : outcome
})

/** The run ends here. */
const end = (run: EncodedRun, state: Final, now: number, outcome: Outcome): EncodedRun => ({
  ...run,
  state,
  endedAt: now,
  leaseUntil: null,
  outcome: JSON.stringify(outcome),
  ledger:
    run.state === "running" && outcome._tag !== "TooManyCrashes"
      ? withAttempt(run, attemptOf(run, now, outcome))
      : run.ledger
})

/** The run goes back to wait until `dueAt`. */
const waitUntil = (run: EncodedRun, dueAt: number, now: number): EncodedRun => ({
  ...run,
  state: dueAt > now ? "scheduled" : "queued",
  dueAt,
  consumer: null,
  leaseUntil: null
})

const putOff = (run: EncodedRun, millis: number, now: number): EncodedRun =>
  waitUntil({ ...run, snoozes: run.snoozes + 1 }, Math.ceil(now + millis), now)

/** Whatever the task calls asked for a rest: where it has keyed limits, for the runs with the same keys. */
const rateLimited = (run: EncodedRun, millis: number, now: number): Decision => {
  const next = putOff(run, millis, now)
  return { run: next, hold: { until: next.dueAt, limitKeys: run.limitKeys } }
}

/** What follows from an attempt that nobody stopped. */
export const afterAttempt = (
  task: Definition,
  run: EncodedRun,
  end_: AttemptEnd,
  now: number
): Effect.Effect<Decision> => {
  switch (end_._tag) {
    case "Snooze":
      return Effect.succeed(asDecision(putOff(run, end_.millis, now)))
    case "RateLimit":
      return Effect.succeed(rateLimited(run, end_.millis, now))
    case "Outcome":
      return Effect.map(afterOutcome(task, run, end_.outcome, now), asDecision)
    case "Interrupted":
      return Effect.flatMap(outcome.ofCause(task, end_.cause), (outcome) =>
        Effect.map(afterOutcome(task, run, outcome, now), asDecision)
      )
  }
}

const asDecision = (run: EncodedRun): Decision => ({ run, hold: null })

const afterOutcome = (task: Definition, run: EncodedRun, outcome: Outcome, now: number): Effect.Effect<EncodedRun> => {
  switch (outcome._tag) {
    case "Success":
      return Effect.succeed(end(run, "success", now, outcome))
    case "Aborted":
      return Effect.succeed(end(run, "aborted", now, outcome))
    case "Failure":
    case "Defect":
    case "Timeout":
    case "ExecutorCrashed":
      return afterFailure(task, run, outcome, now)
    default:
      return Effect.succeed(end(run, "failure", now, outcome))
  }
}

const afterFailure = (task: Definition, run: EncodedRun, outcome: Outcome, now: number): Effect.Effect<EncodedRun> => {
  const failed: EncodedRun = { ...end(run, "failure", now, outcome), attempt: run.attempt + 1 }
  return task.retry === undefined
    ? Effect.succeed(failed)
    : Effect.flatMap(failedAttempts(task, failed), (ledger) =>
        Effect.map(RetryPolicy.next(task.retry!, ledger), (dueAt) =>
          Option.isNone(dueAt)
            ? failed
            : waitUntil({ ...failed, state: "running", endedAt: null, outcome: null }, Math.ceil(dueAt.value), now)
        )
      )
}

/** The attempts of the ledger that count for the retry schedule, with what they failed with. */
const failedAttempts = (
  task: Definition,
  run: EncodedRun
): Effect.Effect<ReadonlyArray<RetryPolicy.FailedAttempt<unknown>>> =>
  Effect.forEach(
    codec.ledgerOf(run).flatMap((attempt) => {
      const failure = outcome.failureOf(task, run, attempt)
      return Option.isSome(failure) ? [{ attempt, failure: failure.value }] : []
    }),
    ({ attempt, failure }) =>
      Effect.map(failure, (failure) => ({ number: attempt.number, endedAt: attempt.endedAt, failure }))
  )

/** A run that ends as soon as it is claimed: no attempt is made. */
export const refused = (run: EncodedRun, outcome: Refusal, now: number): EncodedRun => ({
  ...end(run, outcome._tag === "Aborted" ? "aborted" : "rate_limited", now, outcome),
  ledger: run.ledger
})

/** Why a run is not performed at all. */
export type Refusal = Extract<Outcome, { readonly _tag: "Aborted" | "RateLimited" }>

/** A run that was stopped before its end, for good. */
export const interrupted = (run: EncodedRun, reason: string, now: number): EncodedRun =>
  end({ ...run, state: "running" }, "interrupted", now, { _tag: "Interrupted", reason })

/** A run that a shutdown interrupted: given back, at its old place in the order, or ended. No attempt is burned. */
export const afterShutdown = (task: Definition, run: EncodedRun, now: number): EncodedRun => {
  const reason = "its consumer was shut down"
  return task.requeueOnInterrupt
    ? waitUntil(
        { ...run, ledger: withAttempt(run, attemptOf(run, now, { _tag: "Interrupted", reason })) },
        run.dueAt,
        now
      )
    : interrupted(run, reason, now)
}

/** A run that was cancelled while it was performed. */
export const afterCancel = (run: EncodedRun, reason: string, now: number): EncodedRun =>
  end(run, "cancelled", now, { _tag: "Cancelled", reason })

/** A run that was claimed but not begun: back to its old place in the order, and nothing to tell of. */
export const unbegun = (run: EncodedRun, now: number): EncodedRun => waitUntil(run, run.dueAt, now)

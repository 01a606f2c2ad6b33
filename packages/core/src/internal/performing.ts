import { Cause, Clock, Effect, FiberId, Runtime } from "effect"
import { type ClaimedRun, type ClaimRequest, settle } from "../Broker.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as attempt from "./attempt.js"
import * as attemptResult from "./attemptResult.js"
import type { State } from "./consumerState.js"
import { type Complete, Current } from "./currentRun.js"
import type { InFlight } from "./inFlight.js"
import * as interrupting from "./interrupting.js"
import { defaultMaxLines, RunLog } from "./runLog.js"
import * as settlement from "./settlement.js"
import * as settling from "./settling.js"

/*
 * The way of one claimed run through a consumer: started in a fiber of its own, performed, its end decided and handed in.
 */

/** Holds a claimed run until there is a place for it. */
export const hold = (
  state: State,
  claimed: ClaimedRun,
  { leaseUntil, now }: ClaimRequest,
  isDisabled: boolean
): void => {
  const { previous, run } = claimed
  const onLine = (line: Parameters<typeof state.bus.publishLine>[0]) => {
    state.bus.publishLine(line, run.task)
    state.unsaved.unsafeOpen()
  }
  const entry = state.entries.get(run.task)
  if (entry === undefined) {
    throw new Error(`the broker gave a run of ${run.task}, which was not asked for`)
  }
  const inFlight: InFlight = {
    run,
    entry,
    log: new RunLog(run, state.maxLogLines, onLine),
    meter: state.meter.of(run.task),
    previous,
    refusal: refusalOf(claimed, now, isDisabled),
    claimedAt: now,
    stage: "waiting",
    isBegun: false,
    begunAt: 0,
    fiber: null,
    stop: null,
    interrupted: null,
    completed: null,
    progress: null,
    progressIsStored: true,
    leaseUntil
  }
  state.inFlights.add(inFlight)
  state.waiting.push(inFlight)
  state.busy.unsafeOpen()
}

const refusalOf = ({ refusedFor, run }: ClaimedRun, now: number, isDisabled: boolean): settlement.Refusal | null => {
  if (refusedFor !== null) {
    return { _tag: "RateLimited", retryAfterMillis: refusedFor }
  }
  if (isDisabled) {
    return { _tag: "Aborted", reason: "its task is disabled" }
  }
  return run.expiresAt !== null && run.expiresAt <= now
    ? { _tag: "Aborted", reason: "it had expired before it was begun" }
    : null
}

/** Fills the free places with what waits for one. An attempt that ends at once frees its place for the next. */
export const fillPlaces = (state: State): void => {
  if (state.isFilling || state.stopping) {
    return
  }
  state.isFilling = true
  try {
    while (state.inFlights.performing < state.maxConcurrentTasks) {
      const next = state.waiting.shift()
      if (next === undefined) {
        return
      }
      if (next.refusal === null) {
        begin(state, next)
      } else {
        refuse(state, next, next.refusal)
      }
    }
  } finally {
    // whatever befalls one run, the places are open to the others
    state.isFilling = false
  }
}

/** Starts a run in a fiber of its own, and performs it up to where it first waits. */
const begin = (state: State, inFlight: InFlight): void => {
  state.inFlights.begin(inFlight)
  inFlight.begunAt = liveClock.unsafeCurrentTimeMillis()
  inFlight.meter.began(inFlight.run, inFlight.previous)
  publishStart(state, inFlight)
  const given = attempt.give(inFlight.entry, inFlight.run, currentRunOf(state, inFlight), inFlight, state.tracing)
  const { fiberRefs, runtimeFlags } = state.surroundings
  const runtime = Runtime.make({ context: given.services, fiberRefs, runtimeFlags })
  const fiber = Runtime.runFork(runtime, perform(state, inFlight, given))
  inFlight.fiber = fiber
  if (inFlight.stop !== null) {
    // somebody stopped it before its fiber was known
    fiber.unsafeInterruptAsFork(FiberId.none)
  }
}

/** Gives back what still waits for a place, or some of it: none of its attempts has begun. */
export const giveBackWaiting = (
  state: State,
  now: number,
  isToGo: (inFlight: InFlight) => boolean = () => true
): void => {
  for (const inFlight of state.waiting.splice(0)) {
    if (!isToGo(inFlight)) {
      state.waiting.push(inFlight)
      continue
    }
    settling.handIn(state, inFlight, { run: settlement.unbegun(inFlight.run, now), hold: null }, now)
  }
}

/** Ends a run without an attempt. */
const refuse = (state: State, inFlight: InFlight, refusal: settlement.Refusal): void => {
  state.inFlights.begin(inFlight)
  publishStart(state, inFlight)
  const now = inFlight.claimedAt
  settling.handIn(state, inFlight, { run: settlement.refused(inFlight.run, refusal, now), hold: null }, now)
}

const liveClock = Clock.make()

const publishStart = (state: State, { previous, run }: InFlight): void => {
  if (state.bus.hasListeners) {
    state.bus.begin(run, previous, run.startedAt ?? run.dueAt)
  }
}

/** Performs a run and hands its end in. Only the handler can be interrupted; what follows from it is carried out. */
const perform = (state: State, inFlight: InFlight, given: attempt.Given): Effect.Effect<void> => {
  const attempted = attemptOf(state, inFlight, given)
  return (inFlight.previous === "running" ? Effect.zipRight(goOnLogging(state, inFlight), attempted) : attempted).pipe(
    Effect.flatMap((end) =>
      Effect.flatMap(state.broker.now, (now) =>
        Effect.map(decide(inFlight, end, now), (decision) => conclude(state, inFlight, end, decision, now))
      )
    ),
    Effect.catchAllCause((cause) => Effect.map(settling.abandon(state, inFlight, cause), () => fillPlaces(state))),
    Effect.uninterruptible
  )
}

const conclude = (
  state: State,
  inFlight: InFlight,
  end: attempt.AttemptEnd,
  decision: settlement.Decision | null,
  now: number
): void => {
  measure(inFlight, end, now)
  state.prefetch.took(liveClock.unsafeCurrentTimeMillis() - inFlight.begunAt)
  const { completed } = inFlight
  if (completed !== null) {
    settling.finish(state, { inFlight, settlement: completed }, completed.run)
  } else if (decision === null) {
    inFlight.meter.lostClaim()
    settling.loseSight(state, inFlight, now)
  } else {
    settling.handIn(state, inFlight, decision, now)
  }
  fillPlaces(state)
}

/** What the handler completed itself is a success, whatever came after; a run that is not tried again had no attempt. */
const measure = ({ completed, meter, run, stop }: InFlight, end: attempt.AttemptEnd, now: number): void => {
  const result = completed === null ? attemptResult.of(end, stop) : "success"
  if (result !== "too_many_crashes") {
    meter.attempted(result, now - (run.startedAt ?? now))
  }
}

/** The attempts that crashed may have stored lines which the record does not count. */
const goOnLogging = ({ maxLogLines, store }: State, { log, run }: InFlight): Effect.Effect<void> => {
  const limit = Math.max(defaultMaxLines, maxLogLines)
  return Effect.ignore(Effect.map(store.logs(run.id, { fromSeq: run.logged, limit }), (lines) => log.goOnAfter(lines)))
}

/**
 * The attempt, or nothing: where the run was stopped while it waited for a place, or has crashed its consumers too often to
 * be tried again.
 */
const attemptOf = (state: State, inFlight: InFlight, given: attempt.Given): Effect.Effect<attempt.AttemptEnd> => {
  const { entry, run, stop } = inFlight
  if (stop !== null) {
    return Effect.succeed({ _tag: "Interrupted", cause: Cause.empty })
  }
  if (run.crashes > entry.definition.maxCrashes) {
    return Effect.succeed({ _tag: "Outcome", outcome: { _tag: "TooManyCrashes", crashes: run.crashes } })
  }
  return entry.definition.timeout === undefined
    ? attempt.perform(given)
    : attempt.perform(given, () => interrupting.note(state, inFlight, "Timeout"))
}

const currentRunOf = (state: State, inFlight: InFlight): Current =>
  new Current(inFlight.run, inFlight.log, {
    report: (progress) => {
      inFlight.progress = progress
      inFlight.progressIsStored = false
      state.unsaved.unsafeOpen()
      state.bus.publishProgress(inFlight.run, progress)
    },
    complete: completeInPlace(state, inFlight),
    locks: state.locks
  })

/** Ends the run in the handler's own transaction, under the claim's fence. */
const completeInPlace =
  (state: State, inFlight: InFlight): Complete =>
  (outcome) =>
    Effect.gen(function* () {
      const now = yield* state.broker.now
      const end: attempt.AttemptEnd = { _tag: "Outcome", outcome }
      const decision = yield* settlement.afterAttempt(inFlight.entry.definition, inFlight.run, end, now)
      const written = settling.toSettlement(inFlight, decision, now)
      const [answer] = yield* settle(state.broker, [written])
      const isHeld = answer?._tag === "Settled"
      yield* isHeld
        ? state.broker.atTransactionEnd({
            committed: () => {
              inFlight.completed = written
            },
            rolledBack: () => inFlight.log.putBack(written.logs)
          })
        : Effect.void
      return isHeld
    })

/** What follows from the end of an attempt; nothing, when the claim is lost. */
const decide = (
  { entry: { definition }, run, stop }: InFlight,
  end: attempt.AttemptEnd,
  now: number
): Effect.Effect<settlement.Decision | null> => {
  if (stop === null) {
    return settlement.afterAttempt(definition, run, end, now)
  }
  if (stop._tag === "LostClaim") {
    return Effect.succeed(null)
  }
  if (end._tag !== "Interrupted") {
    return Effect.map(settlement.afterAttempt(definition, run, end, now), (next) =>
      stop._tag === "Cancel" && !isFinal(next.run.state) ? cancelled(run, stop.reason, now) : next
    )
  }
  return Effect.succeed(
    stop._tag === "Cancel"
      ? cancelled(run, stop.reason, now)
      : { run: settlement.afterShutdown(definition, run, now), hold: null }
  )
}

const cancelled = (run: EncodedRun, reason: string, now: number): settlement.Decision => ({
  run: settlement.afterCancel(run, reason, now),
  hold: null
})

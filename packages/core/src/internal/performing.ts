import { Effect, FiberId, Runtime, Scope } from "effect"
import { type ClaimedRun, settle } from "../Broker.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as attempt from "./attempt.js"
import type { State } from "./consumerState.js"
import { type Complete, Current } from "./currentRun.js"
import type { HandlerEntry } from "./definition.js"
import type { InFlight } from "./inFlight.js"
import { maxLines, RunLog } from "./runLog.js"
import * as settlement from "./settlement.js"
import * as settling from "./settling.js"

/*
 * The way of one claimed run through a consumer: started in a fiber of its own, performed, its end decided and handed in.
 */

/** Starts a claimed run in a fiber of its own, and performs it up to where it first waits. */
export const start = (state: State, claimed: ClaimedRun, leaseUntil: number): Effect.Effect<void> =>
  Effect.map(Scope.make(), (scope) => {
    const { previous, run } = claimed
    const inFlight = hold(state, claimed, leaseUntil, true)
    publishStart(state, run, previous)
    const given = { entry: inFlight.entry, run, current: currentRunOf(state, inFlight), scope }
    const { fiberRefs, runtimeFlags } = state.surroundings
    const runtime = Runtime.make({ context: attempt.services(given), fiberRefs, runtimeFlags })
    const fiber = Runtime.runFork(runtime, perform(state, inFlight, given, previous === "running"))
    inFlight.fiber = fiber
    if (inFlight.stop !== null) {
      // somebody stopped it before its fiber was known
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
  })

/** Gives back a run that was claimed while the consumer began to stop: its attempt has not begun. */
export const giveBack = (state: State, claimed: ClaimedRun, leaseUntil: number, now: number): void => {
  const inFlight = hold(state, claimed, leaseUntil, false)
  settling.handIn(state, inFlight, { run: settlement.unbegun(claimed.run, now), holdTaskUntil: null }, now)
}

const entryOf = (state: State, run: EncodedRun): HandlerEntry => {
  const entry = state.entries.get(run.task)
  if (entry === undefined) {
    throw new Error(`the broker gave a run of ${run.task}, which was not asked for`)
  }
  return entry
}

const hold = (state: State, { run }: ClaimedRun, leaseUntil: number, isPerforming: boolean): InFlight => {
  const onLine = (line: Parameters<typeof state.bus.publishLine>[0]) => {
    state.bus.publishLine(line)
    state.unsaved.unsafeOpen()
  }
  const inFlight: InFlight = {
    run,
    entry: entryOf(state, run),
    log: new RunLog(run.id, run.attempt + 1, run.logged, onLine),
    fiber: null,
    isPerforming,
    isBegun: isPerforming,
    stop: null,
    completed: null,
    progress: null,
    progressIsStored: true,
    leaseUntil
  }
  state.inFlights.add(inFlight)
  state.busy.unsafeOpen()
  return inFlight
}

const publishStart = (state: State, run: EncodedRun, previous: ClaimedRun["previous"]): void => {
  if (!state.bus.hasListeners) {
    return
  }
  const at = run.startedAt ?? run.dueAt
  if (previous === "running") {
    state.bus.publish({ run: { ...run, state: "queued" }, from: "running", at })
  }
  state.bus.publish({ run, from: previous === "running" ? "queued" : previous, at })
}

/** Performs a run and hands its end in. Only the handler can be interrupted; what follows from it is carried out. */
const perform = (state: State, inFlight: InFlight, given: attempt.Given, isTakenOver: boolean): Effect.Effect<void> => {
  const attempted = attemptOf(given)
  return (isTakenOver ? Effect.zipRight(goOnLogging(state, inFlight), attempted) : attempted).pipe(
    Effect.flatMap((end) =>
      Effect.flatMap(state.broker.now, (now) =>
        Effect.map(decide(inFlight, end, now), (decision) => conclude(state, inFlight, decision, now))
      )
    ),
    Effect.catchAllCause((cause) => settling.abandon(state, inFlight, cause)),
    Effect.uninterruptible
  )
}

const conclude = (state: State, inFlight: InFlight, decision: settlement.Decision | null, now: number): void => {
  const { completed } = inFlight
  if (completed !== null) {
    settling.finish(state, { inFlight, settlement: completed }, completed.run)
  } else if (decision === null) {
    settling.loseSight(state, inFlight, now)
  } else {
    settling.handIn(state, inFlight, decision, now)
  }
}

/** The attempts that crashed may have stored lines which the record does not count. */
const goOnLogging = (state: State, { log, run }: InFlight): Effect.Effect<void> =>
  Effect.ignore(
    Effect.map(state.store.logs(run.id, { fromSeq: run.logged, limit: maxLines }), (lines) => log.goOnAfter(lines))
  )

/** The attempt, or nothing where the run has crashed its consumers too often to be tried again. */
const attemptOf = (given: attempt.Given): Effect.Effect<attempt.AttemptEnd> =>
  given.run.crashes > given.entry.definition.maxCrashes
    ? Effect.succeed({ _tag: "Outcome", outcome: { _tag: "TooManyCrashes", crashes: given.run.crashes } })
    : attempt.perform(given)

const currentRunOf = (state: State, inFlight: InFlight): Current =>
  new Current(inFlight.run, inFlight.log, {
    report: (progress) => {
      inFlight.progress = progress
      inFlight.progressIsStored = false
      state.unsaved.unsafeOpen()
    },
    complete: completeInPlace(state, inFlight)
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
      : { run: settlement.afterShutdown(definition, run, now), holdTaskUntil: null }
  )
}

const cancelled = (run: EncodedRun, reason: string, now: number): settlement.Decision => ({
  run: settlement.afterCancel(run, reason, now),
  holdTaskUntil: null
})

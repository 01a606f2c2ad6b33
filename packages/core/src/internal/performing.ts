import { Cause, Duration, Effect, Exit, Fiber } from "effect"
import type { ClaimedRun } from "../Broker.js"
import { type BackendError, LostClaim } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as attempt from "./attempt.js"
import type { State } from "./consumerState.js"
import * as currentRun from "./currentRun.js"
import type { HandlerEntry } from "./definition.js"
import type { InFlight } from "./inFlight.js"
import * as outage from "./outage.js"
import * as outcome from "./outcome.js"
import { maxLines, RunLog } from "./runLog.js"
import * as settlement from "./settlement.js"

/*
 * The way of one claimed run through a consumer: started in a fiber of its own, performed, settled under its fence, its
 * place made free.
 */

/** Starts a claimed run in a fiber of its own. */
export const start = (state: State, claimed: ClaimedRun, leaseUntil: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const entry = state.entries.get(claimed.run.task)
    if (entry === undefined) {
      return Effect.dieMessage(`the broker gave a run of ${claimed.run.task}, which was not asked for`)
    }
    const { previous } = claimed
    const run = previous.state === "running" ? settlement.afterCrash(claimed.run, previous) : claimed.run
    const inFlight = hold(state, entry, run, leaseUntil)
    publishStart(state, run, previous.state)
    return Effect.flatMap(Effect.forkDaemon(perform(state, inFlight, previous.state === "running")), (fiber) => {
      inFlight.fiber = fiber
      // somebody may have stopped it before it had a fiber
      return inFlight.stop === null ? Effect.void : Fiber.interruptFork(fiber)
    })
  })

const hold = (state: State, entry: HandlerEntry, run: EncodedRun, leaseUntil: number): InFlight => {
  const onLine = (line: Parameters<typeof state.bus.publishLine>[0]) => {
    state.bus.publishLine(line)
    state.unsaved.unsafeOpen()
  }
  const log = new RunLog(run.id, run.attempt + 1, run.logged, onLine)
  const inFlight: InFlight = {
    run,
    entry,
    log,
    fiber: null,
    stop: null,
    progress: null,
    progressIsStored: true,
    leaseUntil
  }
  state.inFlights.add(inFlight)
  state.busy.unsafeOpen()
  state.idle.unsafeClose()
  return inFlight
}

const letGo = (state: State, inFlight: InFlight): void => {
  state.inFlights.remove(inFlight)
  if (state.inFlights.size === 0) {
    state.busy.unsafeClose()
    state.idle.unsafeOpen()
  }
  state.wake.unsafeOpen()
}

const publishStart = (state: State, run: EncodedRun, previous: "queued" | "scheduled" | "running"): void => {
  const at = run.startedAt ?? run.dueAt
  if (previous === "running") {
    state.bus.publish({ run: { ...run, state: "queued" }, from: "running", at })
  }
  state.bus.publish({ run, from: previous === "running" ? "queued" : previous, at })
}

/** Performs and settles a run. Only the attempt itself can be interrupted; what follows from it is carried out. */
const perform = (state: State, inFlight: InFlight, isTakenOver: boolean): Effect.Effect<void> =>
  Effect.zipRight(isTakenOver ? goOnLogging(state, inFlight) : Effect.void, attemptOf(state, inFlight)).pipe(
    Effect.interruptible,
    Effect.exit,
    Effect.flatMap((exit) =>
      Effect.flatMap(state.broker.now, (now) =>
        Effect.flatMap(decide(inFlight, exit, now), (decision) =>
          decision === null ? loseSight(state) : settle(state, inFlight, decision, now)
        )
      )
    ),
    Effect.catchAllCause((cause) =>
      Effect.zipRight(Effect.logError("a run could not be settled; it will be taken over", cause), loseSight(state))
    ),
    Effect.ensuring(Effect.sync(() => letGo(state, inFlight))),
    Effect.uninterruptible
  )

/** The run is no longer in this consumer's hands, but its lease may hold on. */
const loseSight = (state: State): Effect.Effect<void> =>
  Effect.map(state.broker.now, (now) => {
    state.lostUntil = now + Duration.toMillis(state.lease)
  })

/** The attempts that crashed may have stored lines which the record does not count. */
const goOnLogging = (state: State, { log, run }: InFlight): Effect.Effect<void> =>
  Effect.ignore(
    Effect.map(state.store.logs(run.id, { fromSeq: run.logged, limit: maxLines }), (lines) => log.goOnAfter(lines))
  )

/** The attempt, or nothing where the run has crashed its consumers too often to be tried again. */
const attemptOf = (state: State, inFlight: InFlight): Effect.Effect<attempt.AttemptEnd> =>
  Effect.suspend(() => {
    const { entry, log, run } = inFlight
    if (run.crashes > entry.definition.maxCrashes) {
      return Effect.succeed({ _tag: "Outcome", outcome: { _tag: "TooManyCrashes", crashes: run.crashes } })
    }
    const report = (progress: string) => {
      inFlight.progress = progress
      inFlight.progressIsStored = false
      state.unsaved.unsafeOpen()
    }
    return attempt.perform(entry, run, currentRun.make(run, log, report))
  })

/** What follows from the Exit of an attempt; nothing, when the claim is lost. */
const decide = (
  { entry: { definition }, run, stop }: InFlight,
  exit: Exit.Exit<attempt.AttemptEnd>,
  now: number
): Effect.Effect<settlement.Decision | null> => {
  if (stop?._tag === "LostClaim") {
    return Effect.succeed(null)
  }
  if (Exit.isSuccess(exit)) {
    return Effect.map(settlement.afterAttempt(definition, run, exit.value, now), (next) =>
      stop?._tag === "Cancel" && !isFinal(next.run.state) ? cancelled(run, stop.reason, now) : next
    )
  }
  if (!Cause.isInterrupted(exit.cause)) {
    return Effect.flatMap(outcome.ofCause(definition, exit.cause), (outcome) =>
      settlement.afterAttempt(definition, run, { _tag: "Outcome", outcome }, now)
    )
  }
  return Effect.succeed(
    stop?._tag === "Cancel"
      ? cancelled(run, stop.reason, now)
      : { run: settlement.afterShutdown(definition, run, now), holdTaskUntil: null }
  )
}

const cancelled = (run: EncodedRun, reason: string, now: number): settlement.Decision => ({
  run: settlement.afterCancel(run, reason, now),
  holdTaskUntil: null
})

/** Writes a decision under the claim's fence, however long the backend is away, and tells of it. */
const settle = (
  state: State,
  inFlight: InFlight,
  decision: settlement.Decision,
  now: number
): Effect.Effect<void, BackendError> => {
  const { log } = inFlight
  const logs = log.takeAll()
  const run = { ...decision.run, logged: log.logged, progress: inFlight.progress ?? decision.run.progress }
  const isStillHeld = () => inFlight.stop?._tag !== "LostClaim"
  const settlement = { run, logs, now, holdTaskUntil: decision.holdTaskUntil }
  return outage
    .retryWhile(state.broker.settle([settlement]), (error) => error.transient && isStillHeld())
    .pipe(
      Effect.flatMap(([settled]) =>
        settled === undefined || settled._tag === "Lost"
          ? Effect.logWarning(new LostClaim({ runId: run.id, fence: run.fence }).message)
          : Effect.sync(() => tell(state, inFlight, settled._tag === "Cancelled" ? settled.run : run, now))
      )
    )
}

const tell = (state: State, inFlight: InFlight, run: EncodedRun, at: number): void => {
  state.bus.publish({ run, from: "running", at })
  if (!state.stopping) {
    return
  }
  const stopped = { id: run.id, task: run.task }
  if (inFlight.stop?._tag !== "Shutdown") {
    state.report.finished++
  } else if (isFinal(run.state)) {
    state.report.interrupted.push(stopped)
  } else {
    state.report.givenBack.push(stopped)
  }
}

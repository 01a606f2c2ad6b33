import { type Cause, Clock, Duration, Effect, Option } from "effect"
import type { Settled, Settlement } from "../Broker.js"
import { written } from "../RunRecord.js"
import { LostClaim } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import { type State, wake } from "./consumerState.js"
import type { Ended, InFlight } from "./inFlight.js"
import type { Decision } from "./settlement.js"

/*
 * The last part of a claim's way through a consumer: its end is handed in, written with the next exchange, told, and the
 * claim let go.
 */

/** What is to be written of a decision: with the log lines and the progress that are not stored yet. */
export const toSettlement = (inFlight: InFlight, { hold, run }: Decision, now: number): Settlement => {
  const { log, progress } = inFlight
  const logs = log.takeAll()
  const { logged } = log
  return {
    run: logged === run.logged && progress === null ? run : { ...run, logged, progress: progress ?? run.progress },
    logs,
    now,
    hold
  }
}

/** Hands in what is to be written of an attempt, and frees its place. */
export const handIn = (state: State, inFlight: InFlight, decision: Decision, now: number): void => {
  state.ended.push({ inFlight, settlement: toSettlement(inFlight, decision, now) })
  state.inFlights.end(inFlight)
  wake(state)
}

/** Carries out the broker's answer to an end that was handed in. */
export const answered = (state: State, ended: Ended, answer: Settled | undefined): Effect.Effect<void> => {
  const run = written(ended.settlement, answer)
  if (run !== null) {
    finish(state, ended, run)
    return Effect.void
  }
  return ended.isRepeated === true ? lookUp(state, ended) : lost(state, ended)
}

/**
 * The call before may have written the end, only its answer did not arrive. No other consumer writes under the same fence, so
 * a run that has left `running` with it has done so by this end.
 */
const lookUp = (state: State, ended: Ended): Effect.Effect<void> => {
  const { fence, id } = ended.settlement.run
  return Effect.matchEffect(state.store.get([id]), {
    onFailure: (error) => (error.transient ? Effect.sync(() => handInAgain(state, ended)) : lost(state, ended)),
    onSuccess: ([found]) =>
      found !== undefined && Option.isSome(found) && found.value.fence === fence && found.value.state !== "running"
        ? Effect.sync(() => (isEndOf(ended.settlement, found.value) ? finish : letGoOf)(state, ended, found.value))
        : lost(state, ended)
  })
}

/** A run that was to be performed again may have been cancelled since, while it waited; who did so has told of it. */
const isEndOf = ({ now, run }: Settlement, found: EncodedRun): boolean =>
  isFinal(run.state) || !isFinal(found.state) || found.endedAt === now

const letGoOf = (state: State, { inFlight }: Ended): void => letGo(state, inFlight)

/** Hands an end in again, which could not be written. */
export const handInAgain = (state: State, ended: Ended): void => {
  state.ended.push(ended)
  wake(state)
}

const lost = (state: State, { inFlight, settlement: { run } }: Ended): Effect.Effect<void> => {
  inFlight.meter.lostClaim()
  letGo(state, inFlight)
  return Effect.logWarning(new LostClaim({ runId: run.id, fence: run.fence }).message)
}

/** Tells of an end that was written, and lets the claim go. */
export const finish = (state: State, { inFlight, settlement }: Ended, run: EncodedRun): void => {
  // an attempt that has not begun has no end to tell of
  if (inFlight.isBegun) {
    state.bus.end(run, settlement.now)
  }
  measure(inFlight, run)
  if (state.stopping) {
    report(state, inFlight, run)
  }
  if (state.drained !== null && isFinal(run.state)) {
    state.drained[run.state] = (state.drained[run.state] ?? 0) + 1
  }
  letGo(state, inFlight)
}

const measure = ({ meter, run: { attempt } }: InFlight, run: EncodedRun): void => {
  if (isFinal(run.state)) {
    meter.ended(run.state)
  } else if (run.attempt > attempt) {
    meter.retriedOnce()
  }
}

const report = ({ report }: State, inFlight: InFlight, run: EncodedRun): void => {
  const stopped = { id: run.id, task: run.task }
  if (inFlight.stop?._tag !== "Shutdown") {
    report.finished++
  } else if (isFinal(run.state)) {
    report.interrupted.push(stopped)
  } else {
    report.givenBack.push(stopped)
  }
}

/** What cannot be written is left to who takes the run over. */
export const abandon = (state: State, inFlight: InFlight, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.logError("a run could not be settled; it will be taken over", cause).pipe(
    // a place must be freed whatever befalls the broker
    Effect.zipRight(Effect.catchAllCause(state.broker.now, () => Clock.currentTimeMillis)),
    Effect.map((now) => loseSight(state, inFlight, now))
  )

/** The run is no longer in this consumer's hands, but its lease may hold on. */
export const loseSight = (state: State, inFlight: InFlight, now: number): void => {
  state.lostUntil = now + Duration.toMillis(state.lease)
  letGo(state, inFlight)
}

const letGo = (state: State, inFlight: InFlight): void => {
  if (inFlight.isBegun) {
    inFlight.meter.letGo()
  }
  state.inFlights.remove(inFlight)
  state.bus.forget(inFlight.run)
  // the broker does not know that this consumer has room for another run of the task now
  state.hungry ||= inFlight.entry.definition.limits.perConsumer !== null
  if (state.inFlights.size === 0) {
    state.busy.unsafeClose()
  }
  // what has ended may have made something due that a draining consumer is to perform
  state.hungry ||= state.phase === "draining"
  state.idle.look()
  wake(state)
}

import { Duration, Effect } from "effect"
import { type State, wake } from "./consumerState.js"
import type { InFlight } from "./inFlight.js"
import * as performing from "./performing.js"
import type { RunId } from "./run.js"

/*
 * Handlers that ignore their interruption. Past the time that finalizers have, their places are opened to others; their
 * claims are kept until they do end.
 */

/** Documented in `TaskConsumer`. */
export interface StuckRun {
  readonly id: RunId
  readonly task: string
  readonly reason: "timeout" | "cancel" | "shutdown" | "lostClaim"
  readonly since: number
}

const reasons = { Timeout: "timeout", Cancel: "cancel", Shutdown: "shutdown", LostClaim: "lostClaim" } as const

const toStuck = ({ interrupted, run }: InFlight): StuckRun => ({
  id: run.id,
  task: run.task,
  reason: reasons[interrupted?.reason ?? "Shutdown"],
  since: interrupted?.at ?? 0
})

/** The handlers that ignore their interruption now. */
export const all = ({ inFlights }: State): ReadonlyArray<StuckRun> =>
  inFlights.stuck === 0
    ? []
    : inFlights
        .all()
        .filter(({ stage }) => stage === "stuck")
        .map(toStuck)

/** Looks after each interrupted attempt when its time is over. All have the same time, so they stand in its order. */
export const watch = (state: State): Effect.Effect<never> =>
  Effect.forever(
    Effect.suspend(() => {
      while (state.interrupted[0] !== undefined && state.interrupted[0].stage !== "performing") {
        state.interrupted.shift()
      }
      const [first] = state.interrupted
      if (first?.interrupted == null) {
        state.interruption.unsafeClose()
        return state.interruption.await
      }
      const left = first.interrupted.at + Duration.toMillis(state.cleanup) - state.clock.unsafeCurrentTimeMillis()
      return left > 0 ? Effect.sleep(left) : openPlace(state, first)
    })
  )

const openPlace = (state: State, inFlight: InFlight): Effect.Effect<void> =>
  Effect.suspend(() => {
    state.interrupted.shift()
    state.inFlights.leaveStuck(inFlight)
    performing.fillPlaces(state)
    // a draining consumer does not wait for it, and asks once more whether there is anything else
    state.hungry ||= state.phase === "draining"
    state.idle.look()
    wake(state)
    const { id, reason, task } = toStuck(inFlight)
    return Effect.annotateLogs(
      Effect.logWarning("a handler ignores its interruption; its place is open to other runs, its claim is kept"),
      { consumer: state.id, task, run: id, reason }
    )
  })

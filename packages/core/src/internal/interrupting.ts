import type { FiberId } from "effect"
import type { StopReason } from "./attemptResult.js"
import type { State } from "./consumerState.js"
import type { InFlight } from "./inFlight.js"

/*
 * Interrupting attempts. Each interruption is noted, so that those who ignore it are found (see `stuck`).
 */

/** Interrupts the attempt, without waiting for its finalizers. The first reason stands. */
export const stop = (state: State, inFlight: InFlight, reason: StopReason, by: FiberId.FiberId): void => {
  if (inFlight.stop === null) {
    inFlight.stop = reason
    note(state, inFlight, reason._tag)
    inFlight.fiber?.unsafeInterruptAsFork(by)
  }
}

/** Notes that the attempt is being interrupted, because its time is over or for another reason. */
export const note = (state: State, inFlight: InFlight, reason: "Timeout" | StopReason["_tag"]): void => {
  if (inFlight.stage !== "performing" || inFlight.interrupted !== null) {
    return
  }
  inFlight.interrupted = { reason, at: state.clock.unsafeCurrentTimeMillis() }
  state.interrupted.push(inFlight)
  state.interruption.unsafeOpen()
}

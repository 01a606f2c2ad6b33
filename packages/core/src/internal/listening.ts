import { Effect, FiberId, Queue } from "effect"
import type { Signal } from "../Broker.js"
import { type State, wake } from "./consumerState.js"
import { stop } from "./interrupting.js"

/*
 * Listening to the broker's signals.
 */

/** Listens for as long as it can; what was missed before it began is asked for. */
export const listen = (state: State): Effect.Effect<void> =>
  Effect.scoped(
    Effect.flatMap(state.broker.signals, (signals) => {
      const { signals: loop } = state.loops
      if (loop.status.failures > 0) {
        react(state, { _tag: "Changed" })
      }
      loop.tried.unsafeOpen()
      return Effect.forever(
        Effect.flatMap(Queue.takeBetween(signals, 1, 1_000), (signals) =>
          Effect.sync(() => {
            loop.worked()
            for (const signal of signals) {
              react(state, signal)
            }
          })
        )
      )
    })
  )

const react = (state: State, signal: Signal): void => {
  if (signal._tag === "Cancel") {
    const inFlight = state.inFlights.get(signal.id)
    if (inFlight !== undefined) {
      stop(state, inFlight, { _tag: "Cancel", reason: signal.reason }, FiberId.none)
    }
  } else if (signal._tag === "Work" || signal._tag === "Changed") {
    state.hungry = true
    state.heard++
    wake(state)
  }
}

import type { Signal } from "@effect-tasks/core/Broker"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, PubSub } from "effect"

/** The signals of this process. */
export interface Signals {
  readonly send: (signal: Signal) => void
  readonly ended: (ids: ReadonlyArray<TaskRun.RunId>) => void
  readonly subscribe: ReturnType<typeof PubSub.subscribe<Signal>>
}

export const make = Effect.gen(function* () {
  const hub = yield* Effect.acquireRelease(PubSub.unbounded<Signal>(), PubSub.shutdown)
  const send = (signal: Signal): void => {
    hub.unsafeOffer(signal)
  }
  const signals: Signals = {
    send,
    ended: (ids) => {
      if (ids.length > 0) {
        send({ _tag: "Ended", ids })
      }
    },
    subscribe: PubSub.subscribe(hub)
  }
  return signals
})

import { Duration, Effect } from "effect"
import { ConsumerRecord } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { State } from "./consumerState.js"

/*
 * The consumer's record in the store, by which others see that it is there.
 */

/** Keeps the record up to date: after a change, and every third of the lease where others could miss the consumer. */
export const keep = (state: State, startedAt: number): Effect.Effect<never, BackendError> => {
  const renew = Effect.suspend(() => {
    state.unannounced.unsafeClose()
    return Effect.flatMap(state.broker.now, (seenAt) => state.store.putConsumers([record(state, startedAt, seenAt)]))
  })
  const rest = Duration.isFinite(state.broker.pollInterval)
    ? Effect.timeoutOption(state.unannounced.await, Duration.times(state.lease, 1 / 3))
    : state.unannounced.await
  const loop = state.loops.presence
  return Effect.forever(
    Effect.zipRight(
      renew,
      Effect.suspend(() => {
        loop.worked()
        return rest
      })
    )
  )
}

/** Removes the record. */
export const leave = (state: State): Effect.Effect<void> =>
  state.store.removeConsumers([state.id]).pipe(
    Effect.disconnect,
    Effect.timeoutOption(state.cleanup),
    Effect.catchAllCause((cause) => Effect.logDebug("the record of the consumer was not removed", cause)),
    Effect.asVoid
  )

const record = (state: State, startedAt: number, seenAt: number): ConsumerRecord =>
  new ConsumerRecord(
    {
      id: state.id,
      startedAt,
      seenAt,
      queues: state.queues,
      tasks: state.tasks.map(({ name }) => name),
      maxConcurrentTasks: state.maxConcurrentTasks,
      running: state.inFlights.begun,
      stopping: state.stopping
    },
    { disableValidation: true }
  )

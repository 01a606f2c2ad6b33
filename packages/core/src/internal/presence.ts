import { Duration, Effect, type Scope } from "effect"
import { ConsumerRecord } from "../Store.js"
import type { State } from "./consumerState.js"

/*
 * The consumer's record in the store, by which others see that it is there.
 */

/** Announces the consumer, and renews the record every third of the lease where others could miss it. */
export const announce = (state: State): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const startedAt = yield* state.broker.now
    const renew = Effect.flatMap(state.broker.now, (seenAt) =>
      state.store.putConsumers([record(state, startedAt, seenAt)])
    ).pipe(
      Effect.catchAll((error) => Effect.logDebug("the record of the consumer was not renewed", error)),
      Effect.withTracerEnabled(false)
    )
    yield* renew
    if (Duration.isFinite(state.broker.pollInterval)) {
      yield* renew.pipe(Effect.delay(Duration.times(state.lease, 1 / 3)), Effect.forever, Effect.forkScoped)
    }
  })

/** Removes the record. */
export const leave = (state: State): Effect.Effect<void> =>
  state.store.removeConsumers([state.id]).pipe(
    Effect.timeoutOption(state.cleanup),
    Effect.catchAll((error) => Effect.logDebug("the record of the consumer was not removed", error)),
    Effect.asVoid
  )

const record = (state: State, startedAt: number, seenAt: number): ConsumerRecord =>
  new ConsumerRecord(
    {
      id: state.id,
      startedAt,
      seenAt,
      queues: state.queues,
      tasks: Array.from(state.entries.keys()),
      maxConcurrentTasks: state.maxConcurrentTasks,
      running: state.inFlights.begun,
      stopping: state.stopping
    },
    { disableValidation: true }
  )

import { Array as Arr, Deferred, Duration, Effect, Option, Queue, type Scope } from "effect"
import type { Broker, Signal } from "../Broker.js"
import type { Store } from "../Store.js"
import { type BackendError, RunNotFound } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import { survive } from "./outage.js"
import type { RunId } from "./run.js"

/** Waits for the ends of runs, by the signals of the broker. */
export interface Waiters {
  /** The record of a run once it has ended; fails at once when there is no such run. */
  readonly awaitEnd: (id: RunId) => Effect.Effect<EncodedRun, RunNotFound | BackendError>
}

type Waiter = Deferred.Deferred<EncodedRun>

/** A query asks for at most so many runs at once. */
const batchSize = 500

export const make = Effect.fnUntraced(function* (
  broker: typeof Broker.Service,
  store: typeof Store.Service
): Effect.fn.Return<Waiters, never, Scope.Scope> {
  const waiting = new Map<RunId, Set<Waiter>>()

  const add = (id: RunId): Waiter => {
    const waiter = Deferred.unsafeMake<EncodedRun>(fiberId)
    const waiters = waiting.get(id)
    if (waiters === undefined) {
      waiting.set(id, new Set([waiter]))
    } else {
      waiters.add(waiter)
    }
    return waiter
  }

  const remove = (id: RunId, waiter: Waiter): void => {
    const waiters = waiting.get(id)
    if (waiters?.delete(waiter) === true && waiters.size === 0) {
      waiting.delete(id)
    }
  }

  const resolve = (run: EncodedRun): void => {
    if (isFinal(run.state)) {
      waiting.get(run.id)?.forEach((waiter) => Deferred.unsafeDone(waiter, Effect.succeed(run)))
    }
  }

  const lookUp = (ids: ReadonlyArray<RunId>): Effect.Effect<void, BackendError> =>
    Effect.forEach(
      Arr.chunksOf(ids, batchSize),
      (ids) => Effect.map(store.get(ids), (runs) => runs.forEach((run) => Option.isSome(run) && resolve(run.value))),
      { discard: true }
    )

  /** An outage only delays the answer: those who wait go on waiting. */
  const react = (signals: Iterable<Signal>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const ids = new Set<RunId>()
      for (const signal of signals) {
        if (signal._tag === "Ended") {
          signal.ids.forEach((id) => waiting.has(id) && ids.add(id))
        } else if (signal._tag === "Changed") {
          Array.from(waiting.keys()).forEach((id) => ids.add(id))
        }
      }
      return ids.size === 0 ? Effect.void : lookUp(Array.from(ids))
    }).pipe(survive, Effect.ignoreLogged)

  const fiberId = yield* Effect.fiberId
  const signals = yield* broker.signals
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeBetween(signals, 1, batchSize), react)))
  if (Duration.isFinite(broker.pollInterval)) {
    yield* react([{ _tag: "Changed" }]).pipe(
      Effect.delay(broker.pollInterval),
      Effect.forever,
      Effect.withTracerEnabled(false),
      Effect.forkScoped
    )
  }

  return {
    awaitEnd: (id) =>
      Effect.acquireUseRelease(
        Effect.sync(() => add(id)),
        (waiter) =>
          Effect.flatMap(store.get([id]), ([run]) => {
            if (run === undefined || Option.isNone(run)) {
              return new RunNotFound({ runId: id })
            }
            return isFinal(run.value.state) ? Effect.succeed(run.value) : Deferred.await(waiter)
          }),
        (waiter) => Effect.sync(() => remove(id, waiter))
      )
  }
})

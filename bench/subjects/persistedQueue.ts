/* Effect's own PersistedQueue, on any store: fibers that take. */
import * as PersistedQueue from "@effect/experimental/PersistedQueue"
import { Effect, Exit, Layer, ManagedRuntime, Schema, Scope } from "effect"
import { payloadOf, type Queue, type Subject } from "./subject.js"

/** A store, and what only its kind can answer. */
export interface Store<R> {
  readonly layer: Layer.Layer<PersistedQueue.PersistedQueueStore | R, unknown>
  /** Makes many offers one; it has no call for that itself. */
  readonly together: <A, E>(offers: Effect.Effect<A, E>) => Effect.Effect<A, unknown, R>
  /** Where it can count its jobs; where not, what is offered and taken is counted here. */
  readonly unfinished?: Effect.Effect<number, unknown, R>
}

export const open = async <R>(store: Store<R>): Promise<Queue> => {
  const runtime = ManagedRuntime.make(Layer.provideMerge(PersistedQueue.layer, store.layer))
  const queue = await runtime.runPromise(
    PersistedQueue.make({ name: "noop", schema: Schema.Struct({ n: Schema.Number, text: Schema.String }) })
  )
  let unfinished = 0
  const offer = (job: number) =>
    Effect.tap(queue.offer(payloadOf(job)), () => {
      unfinished++
    })

  const sendEach: Queue["sendEach"] = (from, to, callers) => {
    let next = from
    const caller = Effect.whileLoop({ while: () => next < to, body: () => offer(next++), step: () => {} })
    return runtime.runPromise(Effect.replicateEffect(caller, callers, { concurrency: "unbounded", discard: true }))
  }

  const offerAll = (from: number, to: number) => {
    let next = from
    return Effect.whileLoop({ while: () => next < to, body: () => offer(next++), step: () => {} })
  }

  const consume: Queue["consume"] = async (concurrency, perform) => {
    const scope = Effect.runSync(Scope.make())
    const take = Effect.tap(
      queue.take(({ n }) => Effect.sync(() => perform(n))),
      () => {
        unfinished--
      }
    )
    const taker = Effect.forever(take)
    await runtime.runPromise(Effect.replicateEffect(Effect.forkIn(taker, scope), concurrency, { discard: true }))
    return () => runtime.runPromise(Scope.close(scope, Exit.void))
  }

  return {
    send: (job) => runtime.runPromise(Effect.asVoid(offer(job))),
    sendEach,
    sendBulk: (from, to) => runtime.runPromise(store.together(offerAll(from, to))),
    consume,
    unfinished: () => runtime.runPromise(store.unfinished ?? Effect.sync(() => unfinished)),
    close: () => runtime.dispose()
  }
}

export const makeMemory = (): Subject => ({
  open: () => open({ layer: PersistedQueue.layerStoreMemory, together: (offers) => offers }),
  remove: () => Promise.resolve()
})

/* Our runtime, on any backend: a manager and a consumer as an application has them. */
import { Task, TaskConsumer, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Exit, Layer, Logger, LogLevel, ManagedRuntime, Schema, Scope } from "effect"
import type { Place } from "./places.js"
import { payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"

const Noop = Task.make("Noop", { payload: { n: Schema.Number, text: Schema.String } })

const open = async (place: Place): Promise<Queue> => {
  const runtime = ManagedRuntime.make(
    TaskManager.layer.pipe(Layer.provideMerge(place.fresh()), Layer.merge(Logger.minimumLogLevel(LogLevel.Warning)))
  )
  await runtime.runtime()

  const sendEach: Queue["sendEach"] = (from, to, callers) => {
    let next = from
    const caller = Effect.whileLoop({
      while: () => next < to,
      body: () => Noop.queue(payloadOf(next++)),
      step: () => {}
    })
    return runtime.runPromise(Effect.replicateEffect(caller, callers, { concurrency: "unbounded", discard: true }))
  }

  const consume: Queue["consume"] = async (maxConcurrentTasks, perform) => {
    const scope = Effect.runSync(Scope.make())
    const handler = Noop.toLayer(({ n }) => Effect.sync(() => perform(n)))
    const consumer = TaskConsumer.layer(TaskGroup.make(Noop), { maxConcurrentTasks }).pipe(Layer.provide(handler))
    await runtime.runPromise(Layer.buildWithScope(consumer, scope))
    return () => runtime.runPromise(Scope.close(scope, Exit.void))
  }

  return {
    send: (job) => runtime.runPromise(Effect.asVoid(Noop.queue(payloadOf(job)))),
    sendEach,
    sendBulk: (from, to) => runtime.runPromise(Effect.asVoid(Noop.queueAll(payloadsOf(from, to)))),
    consume,
    unfinished: () =>
      runtime.runPromise(
        Effect.map(
          Effect.flatMap(TaskManager.TaskManager, (manager) => manager.counts()),
          ({ queued, running, scheduled }) => queued + running + scheduled
        )
      ),
    close: () => runtime.dispose()
  }
}

export const make = (place: Place): Subject => ({ open: () => open(place), remove: place.remove })

import { assert } from "@effect/vitest"
import { Store, Task, TaskConsumer, TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Deferred, Effect, Fiber, Schema } from "effect"
import { type Family, quiet, serve } from "./harness.js"
import { becomes, eventuallySync } from "./observing.js"

const First = Task.make("First")
const Second = Task.make("Second", { payload: { n: Schema.Number }, queue: "second" })
const first = { First: () => Effect.void }

/** The tasks of a consumer, as they come and go. */
export const membership: Family = (rule) => {
  rule("a task that is added is served from then on, and so is its queue", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(First), first)
      const run = yield* Second.queue({ n: 1 })
      yield* quiet
      assert.strictEqual((yield* run.poll).state, "queued")
      const group = TaskGroup.make(Second)
      yield* consumer.add(group).pipe(Effect.provide(group.toLayer({ Second: () => Effect.void })))
      yield* becomes(run, "success")
    })
  )

  rule("a consumer that was told its queues serves no others for a task that is added", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(First), first, { queues: ["default"] })
      yield* consumer.add(TaskGroup.make(Second)).pipe(Effect.provide(Second.toLayer(() => Effect.void)))
      const there = yield* Second.queue({ n: 1 })
      const here = yield* Second.queue({ n: 2 }, { queue: "default" })
      yield* becomes(here, "success")
      assert.strictEqual((yield* there.poll).state, "queued")
    })
  )

  rule("the record of the consumer follows", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const consumer = yield* serve(TaskGroup.make(First), first)
      yield* consumer.add(TaskGroup.make(Second)).pipe(Effect.provide(Second.toLayer(() => Effect.void)))
      yield* quiet
      const [added] = yield* store.consumers
      assert.deepInclude(added, { tasks: ["First", "Second"], queues: ["default", "second"] })
      yield* consumer.remove(First)
      yield* quiet
      const [removed] = yield* store.consumers
      assert.deepInclude(removed, { tasks: ["Second"], queues: ["second"] })
    })
  )

  rule(
    "another task of a name that is served is refused, with all that came with it; the same one changes nothing",
    () =>
      Effect.gen(function* () {
        const consumer = yield* serve(TaskGroup.make(First), first)
        const group = TaskGroup.make(Second, Task.make("First"))
        const error = yield* consumer
          .add(group)
          .pipe(Effect.provide(group.toLayer({ First: () => Effect.void, Second: () => Effect.void })), Effect.flip)
        assert.deepStrictEqual(error, new TaskError.DuplicateTask({ task: "First" }))
        const run = yield* Second.queue({ n: 1 })
        yield* quiet
        assert.strictEqual((yield* run.poll).state, "queued")
        yield* consumer.add(TaskGroup.make(First)).pipe(Effect.provide(First.toLayer(() => Effect.never)))
        yield* becomes(yield* First.queue(), "success")
      })
  )

  rule("a task that is removed is claimed no more; what is in flight of it finishes first", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const handlers = { First: () => Deferred.await(gate), Second: () => Effect.void }
      const consumer = yield* serve(TaskGroup.make(First, Second), handlers)
      const run = yield* First.queue()
      yield* becomes(run, "running")
      const removing = yield* Effect.fork(consumer.remove(First))
      yield* quiet
      const later = yield* First.queue()
      yield* becomes(yield* Second.queue({ n: 1 }), "success")
      assert.strictEqual((yield* removing.poll)._tag, "None")
      assert.strictEqual((yield* later.poll).state, "queued")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(removing)
      yield* becomes(run, "success")
      assert.strictEqual((yield* later.poll).state, "queued")
      yield* consumer.remove(First)
      yield* consumer.add(TaskGroup.make(First)).pipe(Effect.provide(First.toLayer(() => Effect.void)))
      yield* becomes(later, "success")
    })
  )

  rule("what has been claimed ahead of a task that is removed is given back, as if it had not been claimed", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      let performed = 0
      const count = Effect.sync(() => void performed++)
      const consumer = yield* serve(TaskGroup.make(Second), { Second: () => count }, { maxConcurrentTasks: 2 })
      yield* Second.queueAll(Array.from({ length: 500 }, (_, n) => ({ n })))
      yield* eventuallySync(() => assert.isAbove(performed, 0))
      yield* consumer.remove(Second)
      const before = performed
      yield* quiet
      assert.strictEqual(performed, before)
      assert.deepInclude(yield* manager.counts(), { queued: 500 - before, success: before, running: 0 })
    })
  )

  rule("a consumer without a task is not alive; with its first one it is", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskConsumer.make(TaskGroup.make())
      assert.deepInclude(yield* consumer.status, { phase: "running", alive: false, ready: false })
      yield* consumer.add(TaskGroup.make(First)).pipe(Effect.provide(First.toLayer(() => Effect.void)))
      yield* quiet
      assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [true, true])
      yield* consumer.remove(First)
      assert.isFalse(yield* consumer.alive)
    })
  )
}

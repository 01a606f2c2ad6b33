/* What people know from fastpubsub, row by row as `docs/coming-from.md` lists it. */
import { assert, describe, it } from "@effect/vitest"
import { Task, TaskConsumer, TaskGroup, TaskManager, TaskTest } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { Add, all, handlers, kit, Slow } from "./setup.js"

describe("application", () => {
  it.effect("on_startup, after_startup, on_shutdown and after_shutdown", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const hooks = (before: string, after: string) =>
        Layer.scopedDiscard(
          Effect.acquireRelease(
            Effect.sync(() => steps.push(before)),
            () => Effect.sync(() => steps.push(after))
          )
        )
      const Main = hooks("after_startup", "on_shutdown").pipe(
        Layer.provideMerge(TaskTest.consumer(all).pipe(Layer.provide(handlers))),
        Layer.provideMerge(TaskTest.layer),
        Layer.provide(hooks("on_startup", "after_shutdown"))
      )
      const work = Effect.flatMap(TaskConsumer.TaskConsumer, ({ status }) =>
        Effect.map(status, ({ phase }) => steps.push(phase))
      )
      yield* Effect.provide(work, Main)
      assert.deepStrictEqual(steps, ["on_startup", "after_startup", "running", "on_shutdown", "after_shutdown"])
    })
  )

  it.effect("routers and prefixes", () =>
    Effect.gen(function* () {
      const Mail = TaskGroup.make(Task.make("mail.send"), Task.make("mail.bounce"))
      const Shop = TaskGroup.make(Task.make("shop.order"))
      const tasks = yield* TaskGroup.byName(Mail.merge(Shop))
      assert.deepStrictEqual([...tasks.keys()], ["mail.send", "mail.bounce", "shop.order"])
      const twice = Mail.merge(TaskGroup.make(Task.make("mail.send")))
      assert.deepInclude(yield* Effect.flip(TaskGroup.byName(twice)), { _tag: "DuplicateTask", task: "mail.send" })
    })
  )

  it.effect("middlewares", () =>
    Effect.gen(function* () {
      // a middleware is a function of a handler's effect; the one that is applied last stands outermost
      const steps: Array<string> = []
      const around =
        (name: string) =>
        <A, E, R>(handler: Effect.Effect<A, E, R>) =>
          Effect.acquireUseRelease(
            Effect.sync(() => steps.push(`${name} in`)),
            () => handler,
            () => Effect.sync(() => steps.push(`${name} out`))
          )
      const Main = kit(TaskGroup.make(Add), {
        Add: ({ a, b }) => Effect.succeed(a + b).pipe(around("inner"), around("outer"))
      })
      yield* Effect.provide(Add.queueAndWait({ a: 1, b: 2 }), Main)
      assert.deepStrictEqual(steps, ["outer in", "inner in", "inner out", "outer out"])
    })
  )

  it.effect("--subscribers", () =>
    Effect.gen(function* () {
      // a process serves the tasks of the group that it is given, the rest waits for another
      const [here, there] = [yield* Add.queue({ a: 1, b: 2 }), yield* Slow.queue({ seconds: 1 })]
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual([(yield* here.poll).state, (yield* there.poll).state], ["success", "queued"])
    }).pipe(Effect.provide(kit(TaskGroup.make(Add), { Add: ({ a, b }) => Effect.succeed(a + b) })))
  )

  it.effect("--workers", () =>
    Effect.gen(function* () {
      // any number of consumers, in any number of processes, share the runs of a backend
      const performers = new Set<string>()
      const Note = Task.make("Note", { payload: { n: Schema.Int } })
      const group = TaskGroup.make(Note)
      const Main = Layer.merge(
        Layer.fresh(TaskTest.consumer(group, { name: "one", maxConcurrentTasks: 1, prefetch: 0 })),
        Layer.fresh(TaskTest.consumer(group, { name: "two", maxConcurrentTasks: 1, prefetch: 0 }))
      ).pipe(Layer.provide(Note.toLayer(() => Effect.sleep("1 second"))), Layer.provideMerge(TaskTest.layer))
      yield* Effect.gen(function* () {
        yield* Note.queueAll([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }])
        yield* TaskTest.drain({ scheduled: true })
        const { items } = yield* (yield* TaskManager.TaskManager).runs()
        items.forEach(({ attempts }) => performers.add(attempts[0]?.consumer.slice(0, 3) ?? "nobody"))
        assert.deepStrictEqual([...performers].sort(), ["one", "two"])
        assert.deepStrictEqual(items.map(({ endedAt }) => endedAt).sort(), [1_000, 1_000, 2_000, 2_000])
      }).pipe(Effect.provide(Main))
    })
  )
})

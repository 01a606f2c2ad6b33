import { CurrentRun, Task, TaskConsumer, type TaskError, TaskGroup } from "@effect-tasks/core"
import { type Array as Arr, Effect, Either, Exit, type Layer, Schema, type Scope } from "effect"
import { describe, expect, test } from "tstyche"

const Index = Task.make("Index", {
  payload: { id: Schema.String },
  success: Schema.Number,
  error: Schema.Literal("refused")
})
const options = { maxSize: 10, maxWait: "1 second" } as const

describe("a batch handler", () => {
  test("is a handler of the task, for groups and consumers too", () => {
    const layer = Task.batch(Index, options, (items) => Effect.succeed(items.map(() => Exit.succeed(1))))
    expect(layer).type.toBe<Layer.Layer<Task.Handler<"Index">, TaskError.InvalidOption>>()
    expect<Layer.Layer.Context<ReturnType<typeof serve>>>().type.toBeAssignableFrom<Task.Handler<"Index">>()
  })

  test("gets items, at least one, with their payloads and runs", () => {
    Task.batch(Index, options, (items) => {
      expect(items).type.toBe<Arr.NonEmptyReadonlyArray<Task.BatchItem<{ readonly id: string }>>>()
      expect(items[0].payload.id).type.toBe<string>()
      expect(items[0].run).type.toBe<typeof CurrentRun.CurrentRun.Service>()
      return Effect.succeed(items.map(() => Exit.succeed(1)))
    })
  })

  test("gives an Exit or an Either for each item, of the task's success and error", () => {
    const give =
      <A>(ends: A) =>
      () =>
        Effect.succeed(ends)
    expect(Task.batch).type.toBeCallableWith(Index, options, give([Exit.succeed(1), Exit.fail("refused" as const)]))
    expect(Task.batch).type.toBeCallableWith(Index, options, give([Either.right(1), Either.left("refused" as const)]))
    expect(Task.batch).type.toBeCallableWith(Index, options, () => Effect.fail("refused" as const))
    expect(Task.batch).type.not.toBeCallableWith(Index, options, give([Exit.succeed("1")]))
    expect(Task.batch).type.not.toBeCallableWith(Index, options, give([Exit.fail("other" as const)]))
    expect(Task.batch).type.not.toBeCallableWith(Index, options, give([1]))
    expect(Task.batch).type.not.toBeCallableWith(Index, options, () => Effect.fail("other" as const))
  })

  test("needs its options", () => {
    const handler = () => Effect.succeed([Exit.succeed(1)])
    expect(Task.batch).type.toBeCallableWith(Index, { ...options, concurrency: 2 }, handler)
    expect(Task.batch).type.not.toBeCallableWith(Index, { maxSize: 1 }, handler)
    expect(Task.batch).type.not.toBeCallableWith(Index, {}, handler)
  })

  test("may be made by an effect, and leaves the services that it needs in the Layer's requirements", () => {
    class Bulk extends Effect.Tag("Bulk")<Bulk, { readonly index: Effect.Effect<number> }>() {}
    const one = Effect.map(Bulk.index, (n) => [Exit.succeed(n)])
    const layer = Task.batch(Index, options, () => one)
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<Bulk>()
    const made = Task.batch(
      Index,
      options,
      Effect.as(Bulk.index, () => Effect.succeed([Exit.succeed(1)]))
    )
    expect<Layer.Layer.Context<typeof made>>().type.toBe<Bulk>()
  })

  test("has a Scope of its own", () => {
    const scoped = Effect.as(
      Effect.addFinalizer(() => Effect.void),
      [Exit.succeed(1)]
    )
    expect<Effect.Effect.Context<typeof scoped>>().type.toBe<Scope.Scope>()
    const layer = Task.batch(Index, options, () => scoped)
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<never>()
  })
})

declare const launch: <A, E>(layer: Layer.Layer<A, E>) => void

describe("CurrentRun", () => {
  test("does not compile in a batch handler", () => {
    const layer = Task.batch(Index, options, () => Effect.as(CurrentRun.progress(0.5), [Exit.succeed(1)]))
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<CurrentRun.CurrentRun>()
    expect(launch).type.not.toBeCallableWith(layer)
  })

  test("is given by an item to what it performs", () => {
    const layer = Task.batch(Index, options, (items) =>
      Effect.forEach(items, (item) => Effect.exit(item.use(Effect.as(CurrentRun.progress(0.5), 1))))
    )
    expect(launch).type.toBeCallableWith(layer)
  })
})

const serve = () => TaskConsumer.layer(TaskGroup.make(Index))

import type { SqlClient } from "@effect/sql/SqlClient"
import { Backend, Task, type TaskError, TaskManager, TaskTransaction } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Effect, Layer, Schema } from "effect"
import { describe, expect, test } from "tstyche"

const Pay = Task.make("Pay", { payload: { amount: Schema.Int }, success: Schema.Int })

const transactional = TaskTransaction.run(Pay.queue({ amount: 1 }))

const onMemory = TaskManager.layer.pipe(Layer.provideMerge(Backend.layerMemory))
const onSqlite = TaskManager.layer.pipe(Layer.provideMerge(SqliteBackend.layer({ filename: "tasks.db" })))

describe("transactional queueing", () => {
  test("compiles on a backend that has transactions", () => {
    expect(Effect.provide(transactional, onSqlite)).type.toBeAssignableTo<Effect.Effect<unknown, unknown>>()
  })

  test("does not compile on a backend that has none", () => {
    const left = Effect.provide(transactional, onMemory)
    expect(left).type.not.toBeAssignableTo<Effect.Effect<unknown, unknown>>()
    expect<Effect.Effect.Context<typeof left>>().type.toBe<TaskTransaction.TaskTransaction>()
  })

  test("adds only a BackendError to what the effect may fail with", () => {
    const failing = TaskTransaction.run(Effect.fail("no" as const))
    expect<Effect.Effect.Error<typeof failing>>().type.toBe<"no" | TaskError.BackendError>()
  })
})

describe("completeWith", () => {
  test("makes the handler need transactions, and whatever its effect needs", () => {
    const live = Pay.toLayer(() => Pay.completeWith(Effect.as(Effect.void as Effect.Effect<void, never, SqlClient>, 1)))
    expect<Layer.Layer.Context<typeof live>>().type.toBe<SqlClient | TaskTransaction.TaskTransaction>()
  })

  test("takes the task's success only", () => {
    expect(Pay.completeWith).type.not.toBeCallableWith(Effect.succeed("one"))
  })

  test("does not compile outside a handler", () => {
    const outside = Pay.completeWith(Effect.succeed(1))
    expect(Effect.provide(outside, onSqlite)).type.not.toBeAssignableTo<Effect.Effect<unknown, unknown>>()
  })
})

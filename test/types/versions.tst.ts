import { Task } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { describe, expect, test } from "tstyche"

const payload = { to: Schema.String }
const upcast: Task.Upcast = (payload) => payload

describe("a version", () => {
  test("is 1 where none is given, and needs no upcasts", () => {
    expect(Task.make).type.toBeCallableWith("T", { payload })
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 1 })
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 1, upcasts: {} })
  })

  test("has an upcast from each version before it", () => {
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 2, upcasts: { 1: upcast } })
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 3, upcasts: { 1: upcast, 2: upcast } })
    const upcasts = { 1: upcast, 2: upcast, 3: upcast }
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 4, upcasts })
    expect(Task.make).type.not.toBeCallableWith("T", { payload, version: 3, upcasts })
  })

  test("that lacks its upcasts is an error which names the missing version", () => {
    // @ts-expect-error '"upcasts lacks the one from version 1"' is missing
    Task.make("T", { payload, version: 2 })
    // @ts-expect-error '"upcasts lacks the one from version 1"' is missing
    Task.make("T", { payload, version: 2, upcasts: {} })
    // @ts-expect-error '"upcasts lacks the one from version 2"' is missing
    Task.make("T", { payload, version: 4, upcasts: { 1: upcast, 3: upcast } })
  })

  test("with an upcast too many is an error which names it", () => {
    // @ts-expect-error '"the task has no later version than 2 to upcast to"' is missing
    Task.make("T", { payload, version: 2, upcasts: { 1: upcast, 2: upcast } })
    // @ts-expect-error '"the task has no later version than 1 to upcast to"' is missing
    Task.make("T", { payload, upcasts: { 1: upcast } })
    // @ts-expect-error '"the task has no later version than 0 to upcast to"' is missing
    Task.make("T", { payload, version: 2, upcasts: { 0: upcast, 1: upcast } })
  })

  test("is a literal integer, 1 or more", () => {
    // @ts-expect-error the version of a task must be a literal integer, 1 or more
    Task.make("T", { payload, version: 1 as number })
    // @ts-expect-error the version of a task must be a literal integer, 1 or more
    Task.make("T", { payload, version: 0 })
    // @ts-expect-error the version of a task must be a literal integer, 1 or more
    Task.make("T", { payload, version: -1 })
    // @ts-expect-error the version of a task must be a literal integer, 1 or more
    Task.make("T", { payload, version: 1.5 })
  })

  test("does not change what the task takes and gives", () => {
    const task = Task.make("T", { payload, version: 2, upcasts: { 1: (old) => old } })
    expect(task).type.toBe<Task.Task<"T", Schema.Struct<typeof payload>, typeof Schema.Void, typeof Schema.Never>>()
    expect(task.toLayer).type.toBeCallableWith(({ to }: { readonly to: string }) => Effect.log(to))
  })
})

describe("Task.upcast", () => {
  test("gives its function what the old schema decodes", () => {
    Task.upcast({ at: Schema.Date }, (old) => {
      expect(old).type.toBe<{ readonly at: Date }>()
      return { at: old.at.getTime() }
    })
    Task.upcast(Schema.NumberFromString, (old) => {
      expect(old).type.toBe<number>()
      return old
    })
    // @ts-expect-error Property 'nmae' does not exist
    Task.upcast({ name: Schema.String }, (old) => old.nmae)
    // @ts-expect-error is not assignable
    Task.upcast({ name: Schema.String }, (old: { readonly name: number }) => old)
  })

  test("stands among the upcasts of a task", () => {
    const upcasts = { 1: Task.upcast({ email: Schema.String }, ({ email }) => ({ to: email })) }
    expect(Task.make).type.toBeCallableWith("T", { payload, version: 2, upcasts })
  })
})

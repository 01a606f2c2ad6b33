/** Groups made of modules and of other groups. */

import { assert, describe, it } from "@effect/vitest"
import { Backend, Task, TaskConsumer, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import * as tasks from "./fixtures/tasks.js"

describe("Task.isTask", () => {
  it("knows a task from what only looks like one", () => {
    assert.isTrue(Task.isTask(tasks.Greet))
    for (const value of [undefined, null, "Greet", () => tasks.Greet, { name: "Greet" }, Schema.String, class {}]) {
      assert.isFalse(Task.isTask(value))
    }
  })
})

describe("TaskGroup.fromModule", () => {
  it("takes each exported task once, and leaves out the rest", () => {
    const { tasks: found } = TaskGroup.fromModule(tasks)
    assert.sameMembers(Array.from(found), [tasks.Greet, tasks.Clean])
    assert.deepStrictEqual(TaskGroup.fromModule({}).tasks, [])
    assert.deepStrictEqual(TaskGroup.fromModule({ a: tasks.Greet, b: tasks.Greet, _c: tasks.Clean }).tasks, [
      tasks.Greet
    ])
  })

  it.scoped("a consumer serves what a module exports", () =>
    Effect.gen(function* () {
      const group = TaskGroup.fromModule(tasks)
      const handlers = group.toLayer({ Greet: ({ name }) => Effect.succeed(`hello ${name}`), Clean: () => Effect.void })
      yield* TaskConsumer.make(group, { grace: 0 }).pipe(Effect.provide(handlers))
      assert.strictEqual(yield* tasks.Greet.queueAndWait({ name: "a" }), "hello a")
    }).pipe(Effect.provide(Layer.provideMerge(TaskManager.layer, Backend.layerMemory)))
  )

  it.effect("two different tasks of one name are refused when they are served", () =>
    Effect.gen(function* () {
      const group = TaskGroup.fromModule({ Greet: tasks.Greet, Other: Task.make("Greet") })
      const error = yield* Effect.flip(TaskGroup.byName(group))
      assert.strictEqual(error._tag, "DuplicateTask")
      assert.strictEqual(error.task, "Greet")
    })
  )
})

describe("TaskGroup.merge", () => {
  it.effect("puts any number of groups together, each task once", () =>
    Effect.gen(function* () {
      const greetings = TaskGroup.make(tasks.Greet)
      const merged = TaskGroup.merge(greetings, TaskGroup.make(tasks.Clean), TaskGroup.fromModule(tasks))
      assert.deepStrictEqual(merged.tasks, [tasks.Greet, tasks.Clean])
      assert.deepStrictEqual(TaskGroup.merge().tasks, [])
      assert.deepStrictEqual([...(yield* TaskGroup.byName(merged)).keys()], ["Greet", "Clean"])
    })
  )
})

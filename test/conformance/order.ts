import { assert } from "@effect/vitest"
import { Task, TaskGroup, type TaskPriority } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { advance, type Family, serve } from "./harness.js"
import { eventuallySync } from "./observing.js"

const Mark = Task.make("Mark", { payload: { name: Schema.String } })

/** Serves `Mark` one run at a time, and gives the names in the order in which they were performed. */
const serveInOrder = Effect.gen(function* () {
  const names: Array<string> = []
  const handlers = { Mark: ({ name }: { readonly name: string }) => Effect.sync(() => void names.push(name)) }
  yield* serve(TaskGroup.make(Mark), handlers, { maxConcurrentTasks: 1 })
  return names
})

const mark = (name: string, priority: TaskPriority.TaskPriority) => Mark.queue({ name }, { priority })

/** In which order a consumer performs what waits. */
export const order: Family = (rule) => {
  rule("high comes before medium, medium before low, and numbers stand between them", () =>
    Effect.gen(function* () {
      const priorities = ["low", "medium", 5, "high", -5, 11] as const
      yield* Effect.forEach(priorities, (priority) => mark(String(priority), priority))
      const names = yield* serveInOrder
      yield* eventuallySync(() => assert.deepStrictEqual(names, ["11", "high", "5", "medium", "-5", "low"]))
    })
  )

  rule("runs of one priority are performed first in, first out", () =>
    Effect.gen(function* () {
      const expected = Array.from({ length: 30 }, (_, i) => `run ${i}`)
      yield* Effect.forEach(expected, (name) => mark(name, "medium"))
      const names = yield* serveInOrder
      yield* eventuallySync(() => assert.deepStrictEqual(names, expected))
    })
  )

  rule("runs that are queued together are performed in the order of their payloads", () =>
    Effect.gen(function* () {
      const expected = Array.from({ length: 30 }, (_, i) => `run ${i}`)
      yield* Mark.queueAll(expected.map((name) => ({ name })))
      const names = yield* serveInOrder
      yield* eventuallySync(() => assert.deepStrictEqual(names, expected))
    })
  )

  rule("a run of low priority does not starve: waiting moves it before more urgent ones that came later", () =>
    Effect.gen(function* () {
      yield* mark("patient", 0)
      yield* advance("59 seconds")
      yield* mark("urgent", 1)
      yield* advance("2 seconds")
      yield* mark("urgent, but late", 1)
      const names = yield* serveInOrder
      yield* eventuallySync(() => assert.deepStrictEqual(names, ["urgent", "patient", "urgent, but late"]))
    })
  )

  rule("a delayed run takes its place by its due time", () =>
    Effect.gen(function* () {
      yield* Mark.queue({ name: "delayed" }, { delay: "2 seconds" })
      yield* advance("1 second")
      yield* mark("at 1 s", "medium")
      yield* advance("2 seconds")
      yield* mark("at 3 s", "medium")
      const names = yield* serveInOrder
      yield* eventuallySync(() => assert.deepStrictEqual(names, ["at 1 s", "delayed", "at 3 s"]))
    })
  )
}

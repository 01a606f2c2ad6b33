import { assert } from "@effect/vitest"
import { Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { advance, eventually, type Family, openProcess, quiet, serve } from "./harness.js"
import { becomes, eventuallySync } from "./observing.js"

const Call = Task.make("Call", { payload: { n: Schema.Number }, maxConcurrency: 3 })

/** A handler that takes a second, and the most that were at it at one time. */
const counting = () => {
  const seen = { running: 0, most: 0, done: 0 }
  const handler = () =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        seen.most = Math.max(seen.most, ++seen.running)
      }),
      () => Effect.sleep("1 second"),
      () =>
        Effect.sync(() => {
          seen.running--
          seen.done++
        })
    )
  return { seen, handler }
}

/** The limits of tasks, over all consumers. */
export const limits: Family = (rule) => {
  rule("no more runs of a task are performed at one time than its limit, by consumers of several processes", () =>
    Effect.gen(function* () {
      const { handler, seen } = counting()
      const other = yield* openProcess
      yield* serve(TaskGroup.make(Call), { Call: handler }, { name: "a" })
      yield* serve(TaskGroup.make(Call), { Call: handler }, { name: "b" })
      yield* other.run(serve(TaskGroup.make(Call), { Call: handler }, { name: "c" }))
      yield* Call.queueAll(Array.from({ length: 9 }, (_, n) => ({ n })))
      const manager = yield* TaskManager.TaskManager
      for (let second = 1; second <= 3; second++) {
        yield* eventuallySync(() => assert.strictEqual(seen.running, 3))
        yield* quiet
        assert.strictEqual(seen.running, 3)
        yield* advance("1 second")
      }
      yield* eventually(Effect.map(manager.counts(), ({ success }) => assert.strictEqual(success, 9)))
      assert.strictEqual(seen.most, 3)
    })
  )

  rule("a task at its limit leaves the places of its consumer to others", () =>
    Effect.gen(function* () {
      const Free = Task.make("Free")
      const { handler } = counting()
      yield* serve(TaskGroup.make(Call, Free), { Call: handler, Free: () => Effect.void }, { maxConcurrentTasks: 5 })
      yield* Call.queueAll(
        Array.from({ length: 20 }, (_, n) => ({ n })),
        { priority: "high" }
      )
      yield* Free.queueAndWait()
    })
  )

  rule("a run that waits for a place is performed when one becomes free, whoever frees it", () =>
    Effect.gen(function* () {
      const One = Task.make("One", { payload: { who: Schema.String }, maxConcurrency: 1 })
      const performed: Array<string> = []
      const leaving = yield* openProcess
      const consumer = yield* leaving.run(
        serve(TaskGroup.make(One), { One: () => Effect.never }, { maxConcurrentTasks: 1 })
      )
      const first = yield* One.queue({ who: "first" })
      yield* becomes(first, "running")
      yield* serve(TaskGroup.make(One), { One: ({ who }) => Effect.sync(() => void performed.push(who)) })
      const second = yield* One.queue({ who: "second" })
      yield* quiet
      assert.deepStrictEqual(performed, [])
      yield* consumer.gracefullyStop
      yield* becomes(second, "success")
      assert.deepStrictEqual(performed, ["first", "second"])
    })
  )
}

/* What people know from Launchpad's task sources and consumers, row by row as `docs/coming-from.md` lists it. */
import { assert, describe, it } from "@effect/vitest"
import { Task, TaskConsumer, TaskGroup, TaskTest } from "@effect-tasks/core"
import { Clock, Effect, Fiber } from "effect"
import { kit } from "./setup.js"

const Branch = Task.make("Branch")

describe("a drain of durable runs", () => {
  it.effect("drain with a worker_limit", () =>
    Effect.gen(function* () {
      // the durable form of a run that ends when its source is dry: it performs all that waits, two at a time, and ends
      yield* Effect.replicateEffect(Branch.queue(), 5)
      yield* Branch.queue(undefined, { delay: "1 day" })
      const draining = yield* Effect.fork(Effect.flatMap(TaskConsumer.TaskConsumer, ({ drain }) => drain))
      yield* TaskTest.advance("1 minute")
      const { ended, givenBack } = yield* Fiber.join(draining)
      assert.deepStrictEqual([ended, givenBack], [{ success: 5 }, []])
      const runs = yield* TaskTest.ended(Branch)
      assert.deepStrictEqual(
        runs.map(({ endedAt }) => endedAt),
        [10_000, 10_000, 20_000, 20_000, 30_000]
      )
      assert.strictEqual(yield* Clock.currentTimeMillis, 60_000)
    }).pipe(
      Effect.provide(
        kit(
          TaskGroup.make(Branch),
          { Branch: () => Effect.sleep("10 seconds") },
          { maxConcurrentTasks: 2, prefetch: 0 }
        )
      )
    )
  )
})

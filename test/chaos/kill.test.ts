import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { TaskManager } from "@effect-tasks/core"
import { Console, Duration, Effect, Layer } from "effect"
import { backendOf } from "./backends.js"
import { type Journal, times } from "./journal.js"
import { killing } from "./killing.js"
import { allRuns, takeovers } from "./records.js"
import { lease, Work } from "./tasks.js"
import * as Workers from "./workers.js"

const runs = 2_000
const workers = 3
const kills = 6

describe("kill -9", () => {
  it.scopedLive(
    `${runs} runs, ${workers} workers, ${kills} of them killed: every run ends once, none is lost`,
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const backend = {
          _tag: "Sqlite",
          filename: path.join(yield* fs.makeTempDirectoryScoped(), "chaos.db")
        } as const
        const journal: Journal = []
        const killedAt = new Map<string, number>()
        const start = (name: string) => Workers.start({ name, backend }, journal)

        const found = yield* Effect.gen(function* () {
          const handles = yield* Work.queueAll(Array.from({ length: runs }, (_, n) => ({ n, millis: 100 })))
          const names = Array.from({ length: workers }, (_, i) => `worker${i}`)
          yield* killing({ alive: yield* Effect.forEach(names, start), kills, start, killedAt })
          const results = yield* Effect.forEach(handles, (handle) => handle.await, { concurrency: "unbounded" })
          assert.deepStrictEqual(
            results,
            Array.from({ length: runs }, (_, n) => n)
          )
          return yield* allRuns
        }).pipe(Effect.provide(TaskManager.layer.pipe(Layer.provide(backendOf(backend)))), Effect.timeout("80 seconds"))

        assert.strictEqual(found.length, runs)
        assert.strictEqual(new Set(found.map(({ id }) => id)).size, runs)
        assert.isTrue(found.every(({ state }) => state === "success"))
        assert.isTrue(
          Array.from(times(journal, "settled").values()).every((count) => count === 1),
          "a run was settled twice"
        )

        const delays = takeovers(found).map(({ takenAt, worker }) => takenAt - (killedAt.get(worker) ?? Number.NaN))
        const slowest = Math.max(...delays)
        assert.isAbove(delays.length, 0, "nobody was killed at work")
        assert.isAtMost(slowest, 2 * Duration.toMillis(lease))
        yield* Console.log(
          `${killedAt.size} kills, ${delays.length} takeovers, the slowest ${slowest} ms after the kill`
        )
      }).pipe(Effect.provide(NodeContext.layer)),
    100_000
  )
})

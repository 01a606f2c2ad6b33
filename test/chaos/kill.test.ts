import { fileURLToPath } from "node:url"
import { Command, FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { TaskManager, type TaskRun } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Clock, Console, Duration, Effect, Layer, Stream } from "effect"
import { lease, Work } from "./tasks.js"

const runs = 2_000
const workers = 3
const kills = 10

const workerFile = fileURLToPath(new URL("./worker.ts", import.meta.url))

/** Starts a worker process; gives a way to kill it, and notes in `settled` what it says. */
const startWorker = (filename: string, name: string, settled: Array<string>) =>
  Effect.gen(function* () {
    const isAtWork = yield* Effect.makeLatch()
    const worker = yield* Command.start(
      Command.make("node", "--import", "tsx", workerFile, filename, name).pipe(Command.stderr("inherit"))
    )
    yield* worker.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.filter((line) => line.startsWith("settled ")),
      Stream.tap(() => isAtWork.open),
      Stream.runForEach((line) => Effect.sync(() => settled.push(line.slice("settled ".length)))),
      Effect.forkScoped
    )
    return { name, worker, isAtWork: Effect.timeoutOption(isAtWork.await, "10 seconds") }
  })

/** Every second one worker is killed, the longest running first, once it is seen at work; another one takes its place. */
const killing = (filename: string, settled: Array<string>, killedAt: Map<string, number>) =>
  Effect.gen(function* () {
    const names = Array.from({ length: workers }, (_, i) => `worker${i}`)
    const alive = yield* Effect.forEach(names, (name) => startWorker(filename, name, settled))
    for (let i = 0; i < kills; i++) {
      const victim = alive.shift()!
      yield* Effect.zipRight(Effect.sleep("1 second"), victim.isAtWork)
      yield* Effect.ignore(victim.worker.kill("SIGKILL"))
      killedAt.set(victim.name, yield* Clock.currentTimeMillis)
      alive.push(yield* startWorker(filename, `worker${workers + i}`, settled))
    }
  })

const allRuns = Effect.gen(function* () {
  const manager = yield* TaskManager.TaskManager
  const found: Array<TaskRun.TaskRun> = []
  let before: TaskRun.RunId | undefined
  do {
    const page = yield* manager.runs({ task: Work.name, limit: 500, before })
    found.push(...page.items)
    before = page.next ?? undefined
  } while (before !== undefined)
  return found
})

/** How long after the death of its consumer each crashed attempt was taken over, in milliseconds. */
const takeovers = (found: ReadonlyArray<TaskRun.TaskRun>, killedAt: ReadonlyMap<string, number>) =>
  found.flatMap((run) =>
    run.attempts
      .filter(({ outcome }) => outcome._tag === "Crashed")
      .map(({ consumer, endedAt }) => endedAt - (killedAt.get(consumer.split("-")[0]!) ?? Number.NaN))
  )

describe("kill -9", () => {
  it.scopedLive(
    `${runs} runs, ${workers} workers, ${kills} of them killed: every run ends once, none is lost`,
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const filename = path.join(yield* fs.makeTempDirectoryScoped(), "chaos.db")
        const settled: Array<string> = []
        const killedAt = new Map<string, number>()

        const found = yield* Effect.gen(function* () {
          const handles = yield* Work.queueAll(Array.from({ length: runs }, (_, n) => ({ n })))
          yield* killing(filename, settled, killedAt)
          const results = yield* Effect.forEach(handles, (handle) => handle.await, { concurrency: "unbounded" })
          assert.deepStrictEqual(
            results,
            Array.from({ length: runs }, (_, n) => n)
          )
          return yield* allRuns
        }).pipe(
          Effect.provide(TaskManager.layer.pipe(Layer.provide(SqliteBackend.layer({ filename })))),
          Effect.timeout("80 seconds")
        )

        assert.strictEqual(found.length, runs)
        assert.strictEqual(new Set(found.map(({ id }) => id)).size, runs)
        assert.isTrue(found.every(({ state }) => state === "success"))
        assert.strictEqual(new Set(settled).size, settled.length, "a run was settled twice")

        const delays = takeovers(found, killedAt)
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

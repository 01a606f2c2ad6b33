/** Observers, and how much of a log is kept. */
import { assert, describe, it } from "@effect/vitest"
import { Backend, Store, Task, TaskConsumer, TaskGroup, TaskLogger, TaskManager, TaskRun } from "@effect-tasks/core"
import { Effect, FastCheck, Layer, Logger, LogLevel } from "effect"
import { RunLog } from "../packages/core/src/internal/runLog.js"

const Talk = Task.make("Talk")

const TalkLive = Talk.toLayer(() =>
  Effect.logDebug("quiet").pipe(
    Effect.zipRight(Effect.log("said")),
    Effect.zipRight(Effect.logError("loud")),
    Logger.withMinimumLogLevel(LogLevel.All)
  )
)

const quiet = Logger.remove(Logger.defaultLogger)

/** One run of `Talk` from its beginning to the closing of its process. */
const talk = (...observers: ReadonlyArray<TaskLogger.Observer>) =>
  Effect.gen(function* () {
    yield* TaskConsumer.make(TaskGroup.make(Talk), { grace: 0 })
    const run = yield* Talk.queue()
    yield* run.await
    return run.id
  }).pipe(
    Effect.scoped,
    Effect.provide(
      TaskManager.layer.pipe(
        Layer.provideMerge(TalkLive),
        Layer.provide(TaskLogger.layer(...observers)),
        Layer.provideMerge(Backend.layerMemory),
        Layer.provideMerge(quiet)
      )
    )
  )

const messages = (memory: TaskLogger.Memory) => Effect.map(memory.lines, (lines) => lines.map(({ message }) => message))

const states = (memory: TaskLogger.Memory) => Effect.map(memory.events, (events) => events.map(({ state }) => state))

describe("TaskLogger", () => {
  it.effect("an observer in memory has everything when the Layer has closed, until it is cleared", () =>
    Effect.gen(function* () {
      const memory = yield* TaskLogger.memory()
      yield* talk(memory)
      assert.deepStrictEqual(yield* states(memory), ["init", "queued", "running", "success"])
      assert.deepStrictEqual(yield* messages(memory), ["quiet", "said", "loud"])
      yield* memory.clear
      assert.deepStrictEqual([yield* states(memory), yield* messages(memory)], [[], []])
    })
  )

  it.effect("each observer has its own level, and is shown events or not", () =>
    Effect.gen(function* () {
      const all = yield* TaskLogger.memory({ minLevel: LogLevel.Debug })
      const errors = yield* TaskLogger.memory({ minLevel: LogLevel.Error, lifecycle: false })
      yield* talk(all, errors)
      assert.deepStrictEqual(yield* messages(all), ["quiet", "said", "loud"])
      assert.deepStrictEqual(yield* messages(errors), ["loud"])
      assert.lengthOf(yield* states(all), 4)
      assert.deepStrictEqual(yield* states(errors), [])
    })
  )

  it.effect("a line comes with the name of its task", () =>
    Effect.gen(function* () {
      const tasks: Array<string> = []
      yield* talk({ name: "names", onLine: (_, task) => Effect.sync(() => tasks.push(task)) })
      assert.deepStrictEqual(tasks, ["Talk", "Talk", "Talk"])
    })
  )

  it.effect("one that fails harms no other", () =>
    Effect.gen(function* () {
      const memory = yield* TaskLogger.memory()
      yield* talk({ name: "failing", onEvent: () => Effect.die("no"), onLine: () => Effect.fail("no") }, memory)
      assert.lengthOf(yield* states(memory), 4)
      assert.lengthOf(yield* messages(memory), 3)
    })
  )

  it.effect.prop(
    "an observer in memory keeps the newest, as many as it may",
    [FastCheck.integer({ min: 1, max: 9 }), FastCheck.nat(40)],
    ([capacity, count]) =>
      Effect.gen(function* () {
        const memory = yield* TaskLogger.memory({ capacity })
        const lines = Array.from({ length: count }, (_, seq) => line(seq))
        yield* Effect.forEach(lines, (line) => memory.onLine?.(line, "Talk") ?? Effect.void)
        assert.deepStrictEqual(
          (yield* memory.lines).map(({ seq }) => seq),
          lines.slice(Math.max(0, count - capacity)).map(({ seq }) => seq)
        )
      })
  )

  it.effect("a capacity that is none is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(TaskLogger.memory({ capacity: 0 }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "capacity" })
    })
  )

  it.effect("a scoped one is closed after it was shown everything", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const observer = Effect.acquireRelease(
        Effect.succeed<TaskLogger.Observer>({
          name: "scoped",
          onEvent: ({ state }) => Effect.sync(() => seen.push(state))
        }),
        () => Effect.sync(() => seen.push("closed"))
      )
      yield* Effect.scoped(Effect.andThen(Talk.queue(), (run) => run.cancel())).pipe(
        Effect.provide(
          TaskManager.layer.pipe(Layer.provide(TaskLogger.layerScoped(observer)), Layer.provide(Backend.layerMemory))
        )
      )
      assert.deepStrictEqual(seen, ["init", "queued", "cancelled", "closed"])
    })
  )
})

const id = TaskRun.RunId.make("a")

const line = (seq: number): Store.LogLine =>
  new Store.LogLine(
    {
      runId: id,
      seq,
      attempt: 1,
      at: seq,
      level: "INFO",
      message: `line ${seq}`,
      annotations: {},
      spans: []
    },
    true
  )

describe("the lines that are kept of a run", () => {
  it.prop(
    "are never more than asked for: all of few, of many the first and the last",
    [FastCheck.nat(40), FastCheck.nat(100)],
    ([max, count]) => {
      const seen: Array<number> = []
      const log = new RunLog({ id, attempt: 0, logged: 0 }, max, ({ seq }) => void seen.push(seq))
      const kept: Array<Store.LogLine> = []
      for (let i = 0; i < count; i++) {
        log.push(line(i))
        if (i % 7 === 0) {
          kept.push(...log.take())
          log.saved(true)
        }
      }
      kept.push(...log.takeAll())
      assert.lengthOf(seen, count, "whoever listens is told all")
      assert.strictEqual(log.logged, count)
      assert.lengthOf(kept, Math.min(max, count))
      if (count <= max) {
        assert.deepStrictEqual(
          kept.map(({ message }) => message),
          seen.map((seq) => `line ${seq}`)
        )
      } else if (max > 1) {
        assert.strictEqual(kept[0]?.seq, 0)
        assert.strictEqual(kept.at(-1)?.seq, count - 1)
        assert.isTrue(kept.some(({ message }) => message.startsWith(`… ${count - max} lines were left out …`)))
      }
    }
  )

  const Chatty = Task.make("Chatty")
  const ChattyLive = Chatty.toLayer(() => Effect.forEach(Array(50), (_, i) => Effect.log(i), { discard: true }))

  const kept = (maxLogLines: number) =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* TaskConsumer.make(TaskGroup.make(Chatty), { grace: 0, maxLogLines })
      const run = yield* Chatty.queue()
      yield* run.await
      yield* Chatty.execute()
      const { items } = yield* manager.runs()
      return yield* Effect.forEach(items, ({ id }) => Effect.map(manager.logs(id), (lines) => lines.length))
    }).pipe(
      Effect.scoped,
      Effect.provide(
        TaskManager.layerWith({ maxLogLines }).pipe(
          Layer.provideMerge(ChattyLive),
          Layer.provideMerge(Backend.layerMemory),
          Layer.provideMerge(quiet)
        )
      )
    )

  it.effect("are as many as consumer and manager say, and none where they say so", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* kept(20), [20, 20])
      assert.deepStrictEqual(yield* kept(0), [0, 0])
    })
  )

  it.effect("are not a negative number", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(kept(-1))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "maxLogLines" })
    })
  )
})

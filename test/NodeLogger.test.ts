/** Log files: real ones, in a directory of their own. */
import fs from "node:fs"
import path from "node:path"
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Store,
  Task,
  TaskConsumer,
  TaskGroup,
  type TaskLogger,
  TaskManager,
  TaskRun
} from "@effect-tasks/core"
import { NodeLogger, NodeTasks } from "@effect-tasks/node"
import { ConfigProvider, Effect, Exit, FastCheck, Layer, Logger, LogLevel, Schema, Scope, TestClock } from "effect"

const directory = Effect.flatMap(FileSystem.FileSystem, (files) => files.makeTempDirectoryScoped()).pipe(
  Effect.provide(NodeContext.layer)
)

const id = TaskRun.RunId.make("01890a5d-ac96-774b-bcce-b302099a8057")

const line = (seq: number, message = `line ${seq}`, fields: Partial<Store.LogLine> = {}): Store.LogLine =>
  new Store.LogLine(
    {
      runId: id,
      seq,
      attempt: 1,
      at: 0,
      level: "INFO",
      message,
      annotations: {},
      spans: [],
      ...fields
    },
    true
  )

const show = (observer: TaskLogger.Observer, line: Store.LogLine) => observer.onLine?.(line, "Talk") ?? Effect.void

const read = (file: string) => fs.readFileSync(file, "utf8")

const linesOf = (text: string) => (text === "" ? [] : text.trimEnd().split("\n"))

/** What the application's own logger is told. */
const hearing = () => {
  const heard: Array<string> = []
  const layer = Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ message }) => void heard.push(String(message)))
  )
  return { heard, layer }
}

/** Waits for the writing of a file, which takes real time. */
const eventually = (check: () => boolean) =>
  Effect.promise(async () => {
    while (!check()) {
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })

describe("the text of a line", () => {
  const written = (options: Partial<NodeLogger.FileOptions>, ...lines: ReadonlyArray<Store.LogLine>) =>
    Effect.gen(function* () {
      const file = path.join(yield* directory, "tasks.log")
      yield* Effect.scoped(
        Effect.flatMap(NodeLogger.file({ path: file, ...options }), (observer) =>
          Effect.forEach(lines, (line) => show(observer, line))
        )
      )
      return read(file)
    })

  it.scoped("has time, level, run, task, message and annotations", () =>
    Effect.gen(function* () {
      const fields = { annotations: { to: "a@b.c", size: 3, of: { a: 1 }, who: "the one" }, spans: ["outer"] }
      assert.strictEqual(
        yield* written({}, line(0, "sent", { at: 1_500, level: "WARN", ...fields })),
        '[1970-01-01T00:00:01.500Z] WARN [099a8057] [Talk] sent attempt=1 spans=["outer"] to=a@b.c size=3 of={"a":1} who="the one"\n'
      )
    })
  )

  it.scoped("cannot look like several", () =>
    Effect.gen(function* () {
      const evil = "no\r\n[1970-01-01T00:00:00.000Z] ERROR forged\u2028too"
      const lines = linesOf(yield* written({}, line(0, evil, { annotations: { "a\nb": "c\nd" } })))
      assert.lengthOf(lines, 3)
      assert.deepStrictEqual(
        lines.slice(1).map((line) => line.slice(0, 4)),
        ["    ", "    "]
      )
    })
  )

  it.scoped("is one JSON object, where that is asked for, whatever was annotated", () =>
    Effect.gen(function* () {
      const annotations = { n: 1, big: 10n, "a\nb": "c\nd" }
      const [one, two, ...others] = linesOf(
        yield* written({ format: "json" }, line(0, "a\nb", { annotations }), line(1, "plain"))
      )
      assert.deepStrictEqual(JSON.parse(one!), {
        time: "1970-01-01T00:00:00.000Z",
        level: "INFO",
        run: id,
        task: "Talk",
        attempt: 1,
        message: "a\nb",
        annotations: { n: 1, big: "10", "a\nb": "c\nd" }
      })
      assert.notProperty(JSON.parse(two!), "annotations")
      assert.deepStrictEqual(others, [])
    })
  )
})

describe("rotation by size", () => {
  it.scoped("keeps so many backups, loses no line, and no file gets too long", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = path.join(dir, "tasks.log")
      const scope = yield* Scope.make()
      const observer = yield* Scope.extend(NodeLogger.file({ path: file, maxBytes: 1_000, backups: 3 }), scope)
      for (let i = 0; i < 200; i++) {
        yield* show(observer, line(i))
        if (i % 10 === 0) {
          yield* Effect.yieldNow()
        }
      }
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(fs.readdirSync(dir).sort(), ["tasks.log", "tasks.log.1", "tasks.log.2", "tasks.log.3"])
      const kept = [".3", ".2", ".1", ""].flatMap((end) => {
        const text = read(file + end)
        // it is rotated after the line that makes it too long
        assert.isBelow(text.slice(0, text.trimEnd().lastIndexOf("\n") + 1).length, 1_000)
        return linesOf(text).map((line) => Number(/line (\d+)/.exec(line)?.[1]))
      })
      assert.deepStrictEqual(
        kept,
        Array.from(kept, (_, i) => 200 - kept.length + i)
      )
      // three files are full
      assert.isAbove(kept.length, 30)
    })
  )

  it.scoped.prop(
    "every line stands in some file, once and in order, while there is room for all backups",
    [
      FastCheck.array(FastCheck.nat(300), { maxLength: 15 }),
      FastCheck.integer({ min: 1, max: 600 }),
      FastCheck.boolean()
    ],
    ([lengths, maxBytes, isOpenedAgain]) =>
      Effect.gen(function* () {
        const dir = yield* directory
        const file = path.join(dir, "tasks.log")
        const write = (from: number, to: number) =>
          Effect.scoped(
            Effect.flatMap(NodeLogger.file({ path: file, maxBytes, backups: 20 }), (observer) =>
              Effect.forEach(lengths.slice(from, to), (length, i) =>
                show(observer, line(i, `#${from + i}${"x".repeat(length)}`))
              )
            )
          )
        const half = isOpenedAgain ? lengths.length >> 1 : 0
        yield* write(0, half)
        yield* write(half, lengths.length)
        const names = fs.readdirSync(dir).sort((a, b) => Number(b.split(".")[2] ?? 0) - Number(a.split(".")[2] ?? 0))
        const all = names.flatMap((name) => linesOf(read(path.join(dir, name))))
        assert.deepStrictEqual(
          all.map((line) => Number(/#(\d+)/.exec(line)?.[1])),
          lengths.map((_, i) => i)
        )
      }),
    { fastCheck: { numRuns: 15 } }
  )

  it.scoped("without backups the file begins anew", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = path.join(dir, "tasks.log")
      yield* Effect.scoped(
        Effect.flatMap(NodeLogger.file({ path: file, maxBytes: 100, backups: 0 }), (observer) =>
          Effect.forEach([0, 1, 2, 3, 4], (i) => show(observer, line(i)))
        )
      )
      assert.deepStrictEqual(fs.readdirSync(dir), ["tasks.log"])
      assert.lengthOf(linesOf(read(file)), 1)
      assert.include(read(file), "line 4")
    })
  )

  it.scoped("a file that cannot be rotated goes on, and that is told once", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = path.join(dir, "tasks.log")
      // no file can be moved over a directory that is not empty
      fs.mkdirSync(path.join(`${file}.1`, "full"), { recursive: true })
      const { heard, layer } = hearing()
      yield* Effect.scoped(
        Effect.flatMap(NodeLogger.file({ path: file, maxBytes: 100, backups: 1 }), (observer) =>
          Effect.forEach([0, 1, 2, 3, 4], (i) => Effect.zipRight(show(observer, line(i)), Effect.yieldNow()))
        )
      ).pipe(Effect.provide(layer))
      assert.lengthOf(linesOf(read(file)), 5)
      assert.lengthOf(heard, 1)
      assert.include(heard[0], "cannot be rotated")
    })
  )
})

describe("a rotated file", () => {
  it.scoped("is opened anew after an error, and no line is joined to half of one", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = path.join(dir, "sub", "tasks.log")
      fs.mkdirSync(path.dirname(file))
      const { heard, layer } = hearing()
      const scope = yield* Scope.make()
      const observer = yield* Scope.extend(NodeLogger.file({ path: file, maxBytes: 100, backups: 9 }), scope).pipe(
        Effect.provide(layer)
      )
      fs.rmSync(path.dirname(file), { recursive: true })
      // these are written to the file that is gone, and rotated; then there is no place for a new file
      fs.writeFileSync(path.dirname(file), "in the way")
      yield* Effect.forEach([0, 1], (i) => show(observer, line(i)))
      yield* eventually(() => heard.some((message) => message.includes("cannot be written")))
      fs.rmSync(path.dirname(file))
      fs.mkdirSync(path.dirname(file))
      fs.writeFileSync(file, "half a li")
      yield* show(observer, line(2))
      yield* eventually(() => heard.some((message) => message.includes("can be written again")))
      yield* Scope.close(scope, Exit.void)
      const [half, whole] = linesOf(read(file))
      assert.strictEqual(half, "half a li")
      assert.include(whole, "line 2")
    })
  )

  it.effect("is a regular one", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(NodeLogger.file({ path: "/dev/null" })))
      assert.strictEqual(error._tag, "LogFileError")
      assert.include(error.message, "is not a file")
    })
  )

  it.scoped("rotates again once that is possible, and loses nothing meanwhile", () =>
    Effect.gen(function* () {
      const file = path.join(yield* directory, "tasks.log")
      fs.mkdirSync(path.join(`${file}.1`, "full"), { recursive: true })
      const { heard, layer } = hearing()
      const scope = yield* Scope.make()
      const observer = yield* Scope.extend(NodeLogger.file({ path: file, maxBytes: 100, backups: 1 }), scope).pipe(
        Effect.provide(layer)
      )
      yield* Effect.forEach([0, 1, 2, 3], (i) => show(observer, line(i)))
      yield* eventually(() => heard.length === 1 && linesOf(read(file)).length === 4)
      fs.rmSync(`${file}.1`, { recursive: true })
      yield* show(observer, line(4))
      yield* Scope.close(scope, Exit.void)
      assert.lengthOf(linesOf(read(`${file}.1`)), 4)
      assert.include(read(file), "line 4")
    })
  )
})

describe("a watched file", () => {
  it.scoped("is opened anew when it was moved away, or removed", () =>
    Effect.gen(function* () {
      const file = path.join(yield* directory, "tasks.log")
      const scope = yield* Scope.make()
      const observer = yield* Scope.extend(NodeLogger.file({ path: file, mode: "watched", maxBytes: 10 }), scope)
      const has = (name: string, text: string) => () => fs.existsSync(name) && read(name).includes(text)
      yield* show(observer, line(0))
      yield* eventually(has(file, "line 0"))
      fs.renameSync(file, `${file}.moved`)
      yield* show(observer, line(1))
      yield* eventually(has(file, "line 1"))
      // another program may have made the new file itself
      fs.renameSync(file, `${file}.moved2`)
      fs.writeFileSync(file, "begun\n")
      yield* show(observer, line(2))
      yield* eventually(has(file, "line 2"))
      fs.rmSync(file)
      yield* show(observer, line(3))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(
        [`${file}.moved`, `${file}.moved2`, file].map((name) => /line \d/.exec(read(name))?.[0]),
        ["line 0", "line 1", "line 3"]
      )
    })
  )
})

describe("a file that cannot be written", () => {
  it.effect("fails the Layer with a typed error, where its directory is missing", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(NodeLogger.layerFile({ path: "/nowhere/to/be/found/a.log" })))
      )
      assert.strictEqual(error._tag, "LogFileError")
      assert.include(error.message, "/nowhere/to/be/found/a.log")
      assert.include(error.message, "its directory must exist")
    })
  )

  it.effect("options out of their range are refused", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<Partial<NodeLogger.FileOptions>> = [
        { path: "" },
        { maxBytes: 0 },
        { backups: -1 },
        { mode: "other" as "watched" }
      ]
      for (const options of wrong) {
        const error = yield* Effect.flip(Effect.scoped(NodeLogger.file({ path: "/tmp/x.log", ...options })))
        assert.deepInclude(error, { _tag: "InvalidOption", option: Object.keys(options)[0]! })
      }
    })
  )

  it.scopedLive.skipIf(!fs.existsSync("/dev/full"))("harms neither a run nor another observer, and is told once", () =>
    Effect.gen(function* () {
      const other = path.join(yield* directory, "other.log")
      const { heard, layer } = hearing()
      yield* perform(
        Talk.queue({ how: "succeed" }),
        NodeLogger.layerFile({ path: "/dev/full", mode: "watched" }).pipe(
          Layer.provideMerge(NodeLogger.layerFile({ path: other, minLevel: LogLevel.Debug })),
          Layer.provideMerge(layer)
        )
      )
      assert.lengthOf(
        heard.filter((message) => message.includes("/dev/full")),
        1
      )
      assert.include(
        heard.find((message) => message.includes("/dev/full")),
        "cannot be written"
      )
      assert.include(read(other), "Talk] success")
    })
  )

  it.scoped("is tried again, and tells how much was lost; a line is never joined to half of one", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = path.join(dir, "sub", "tasks.log")
      fs.mkdirSync(path.dirname(file))
      const { heard, layer } = hearing()
      const scope = yield* Scope.make()
      const observer = yield* Scope.extend(NodeLogger.file({ path: file, mode: "watched" }), scope).pipe(
        Effect.provide(layer)
      )
      fs.rmSync(path.dirname(file), { recursive: true })
      yield* show(observer, line(0))
      yield* eventually(() => heard.length === 1)
      fs.mkdirSync(path.dirname(file))
      fs.writeFileSync(file, "half a li")
      yield* show(observer, line(1))
      yield* eventually(() => heard.length === 2)
      yield* Scope.close(scope, Exit.void)
      const [half, whole] = linesOf(read(file))
      assert.strictEqual(half, "half a li")
      assert.include(whole, "line 1")
      assert.match(heard[1]!, /can be written again; 1 lines were lost/)
    })
  )
})

class Oops extends Schema.TaggedError<Oops>()("Oops", { why: Schema.String }) {}

const Talk = Task.make("Talk", { payload: { how: Schema.String }, error: Oops, requeueOnInterrupt: false })

/** Queues a run, lets it be performed, and closes everything; with observers that the Layer adds. */
const perform = <E>(
  queue: ReturnType<typeof Talk.queue>,
  observers: Layer.Layer<never, E>,
  { interrupt = false }: { readonly interrupt?: boolean } = {}
) =>
  Effect.gen(function* () {
    const consumer = yield* TaskConsumer.make(TaskGroup.make(Talk), { grace: 0 })
    const run = yield* queue
    if (interrupt) {
      // in real time: time stands still for the others
      const pause = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 2)))
      yield* Effect.repeat(Effect.zipRight(pause, consumer.running), { until: (running) => running > 0 })
    } else {
      yield* Effect.exit(run.await)
    }
    return run.id
  }).pipe(
    Effect.scoped,
    Effect.provide(
      TaskManager.layer.pipe(
        Layer.provideMerge(
          Talk.toLayer(({ how }) =>
            Effect.logDebug("quiet").pipe(
              Effect.zipRight(Effect.log("said")),
              Effect.zipRight(Effect.logError("loud")),
              Effect.zipRight(how === "fail" ? new Oops({ why: "so" }) : how === "wait" ? Effect.never : Effect.void),
              Logger.withMinimumLogLevel(LogLevel.All)
            )
          )
        ),
        Layer.provideMerge(Backend.layerMemory),
        Layer.provideMerge(observers)
      )
    )
  )

describe("the files of an application", () => {
  it.scopedLive("each have their own level, and lines of ends or none; at the close all is there", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const at = (name: string) => path.join(dir, name)
      const observers = NodeLogger.layerFile({ path: at("all"), minLevel: LogLevel.Debug }).pipe(
        Layer.provideMerge(NodeLogger.layerFile({ path: at("usual") })),
        Layer.provideMerge(NodeLogger.layerFile({ path: at("lines"), lifecycle: false })),
        Layer.provideMerge(NodeLogger.layerFile({ path: at("bad"), minLevel: LogLevel.Warning })),
        Layer.provideMerge(hearing().layer)
      )
      yield* perform(Talk.queue({ how: "succeed" }), observers)
      yield* perform(Talk.queue({ how: "fail" }), observers)
      yield* perform(Talk.queue({ how: "wait" }), observers, { interrupt: true })
      const told = (name: string) =>
        linesOf(read(at(name)))
          .filter((line) => line.startsWith("["))
          .map((line) => /\[Talk\] (\w+)/.exec(line)?.[1])
      const lines = ["said", "loud"]
      assert.deepStrictEqual(told("lines"), [...lines, ...lines, ...lines])
      assert.deepStrictEqual(told("usual"), [...lines, "success", ...lines, "failure", ...lines, "interrupted"])
      assert.deepStrictEqual(told("bad"), ["loud", "loud", "failure", "loud"])
      assert.deepStrictEqual(told("all").slice(0, 7), ["init", "queued", "running", "quiet", "said", "loud", "success"])
      assert.match(read(at("bad")), /WARN \[\w{8}\] \[Talk\] failure: Oops.*\n( {4}.*\n)*.*attempt=1 millis=\d+\n/)
      assert.match(read(at("usual")), /INFO \[\w{8}\] \[Talk\] interrupted: its consumer was shut down attempt=1/)
    })
  )

  it.scopedLive("one is there when the configuration names it", () =>
    Effect.gen(function* () {
      const file = path.join(yield* directory, "tasks.log")
      const config = Layer.setConfigProvider(
        ConfigProvider.fromMap(
          new Map([
            ["EFFECT_TASKS_LOG_FILE", file],
            ["EFFECT_TASKS_LOG_FILE_BACKUPS", "1"],
            ["EFFECT_TASKS_LOG_FILE_MAX_BYTES", "200"],
            ["EFFECT_TASKS_LOG_LEVEL", "info"],
            ["EFFECT_TASKS_LOG_LIFECYCLE", "true"]
          ]),
          { pathDelim: "_" }
        )
      )
      const logger = Layer.provide(NodeTasks.layerLogger({ format: "json" }), config)
      yield* perform(Talk.queue({ how: "succeed" }), logger)
      assert.deepStrictEqual(fs.readdirSync(path.dirname(file)).sort(), ["tasks.log", "tasks.log.1"])
      assert.match(read(`${file}.1`) + read(file), /said.*loud.*success/s)
    })
  )

  it.effect("what the code says of the file wins over the configuration", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        Effect.scoped(Layer.build(NodeTasks.layerLogger({ file: { path: "/nowhere/to/be/found/a.log" } })))
      )
      assert.strictEqual(error._tag, "LogFileError")
      yield* TestClock.adjust(0)
    })
  )
})

import fs from "node:fs"
import path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Backend, Store, Task, TaskGroup } from "@effect-tasks/core"
import { NodeTasks } from "@effect-tasks/node"
import { ConfigProvider, Duration, Effect, Layer, LogLevel, Schema } from "effect"
import * as settings from "../packages/node/src/internal/settings.js"
import { patience, startPrograms } from "./fixtures/program.js"

const root = path.resolve(import.meta.dirname, "..")

const fixture = fileURLToPath(new URL("./fixtures/nodeTasks.ts", import.meta.url))

const programs = startPrograms(fixture)
const start = programs.start

afterAll(programs.killAll)

const linesOf = (text: string) => text.trimEnd().split("\n")

describe.concurrent("NodeTasks.runMain", { timeout: 2 * patience }, () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`lets a running attempt finish after the first ${signal}, and exits with 0`, async () => {
      const program = start("untilSignal", { EFFECT_TASKS_LOG_LIFECYCLE: "true" })
      await program.printed("attempt started")
      program.kill(signal)
      const { code, stderr, stdout } = await program.ended()
      assert.strictEqual(code, 0)
      assert.strictEqual(stderr, "")
      assert.match(stdout, /stopping.*\n.*attempt finished.*\n.*Work success/)
    })

    it(`ends at once after a second signal that is ${signal}, with 130`, async () => {
      const program = start("forEver")
      await program.printed("attempt started")
      program.kill("SIGTERM")
      await program.printed("stopping")
      program.kill(signal)
      const { code, stdout } = await program.ended()
      assert.strictEqual(code, 130)
      assert.notInclude(stdout, "attempt interrupted")
    })
  }

  it("interrupts an attempt that overstays the configured grace", async () => {
    const program = start("forEver", { EFFECT_TASKS_CONSUMER_GRACE: "50 millis" })
    await program.printed("attempt started")
    program.kill("SIGINT")
    const { code, stdout } = await program.ended()
    assert.strictEqual(code, 0)
    assert.include(stdout, "attempt interrupted")
  })

  it("reports a typed error in one line, and exits with 1", async () => {
    const { code, stderr, stdout } = await start("error").ended()
    assert.strictEqual(code, 1)
    assert.strictEqual(stderr, "error: Unreachable: db.example.com does not answer; is it up?\n")
    assert.strictEqual(stdout, "")
  })

  it("reports several errors in a line each", async () => {
    const { stderr } = await start("errors").ended()
    assert.deepStrictEqual(linesOf(stderr).sort(), [
      "error: Unreachable: a does not answer; is it up?",
      "error: Unreachable: b does not answer; is it up?"
    ])
  })

  it("reports a defect with its stack, and exits with 1", async () => {
    const { code, stderr } = await start("defect").ended()
    assert.strictEqual(code, 1)
    assert.match(stderr, /^error: the program died\nSyntaxError: .*\n +at JSON\.parse/)
  })

  it("names a value of the configuration that is missing or does not fit", async () => {
    const [missing, unfit] = await Promise.all([
      start("setting").ended(),
      start("talk", { EFFECT_TASKS_CONSUMER_LEASE: "soon" }).ended()
    ])
    assert.deepStrictEqual([missing.code, missing.stderr], [1, "error: SMTP_HOST: is not set\n"])
    assert.deepStrictEqual(
      [unfit.code, unfit.stderr],
      [1, 'error: EFFECT_TASKS_CONSUMER_LEASE: Expected a duration but received "soon"\n']
    )
  })

  it("reports a failure of the shutdown, and exits with 1", async () => {
    const program = start("stop")
    await program.printed("ready")
    program.kill("SIGTERM")
    const { code, stderr } = await program.ended()
    assert.strictEqual(code, 1)
    assert.match(stderr, /^error: the program died\nError: could not close\n/)
  })

  it("writes JSON lines to a pipe, from the configured level on", async () => {
    const program = start("talk", { EFFECT_TASKS_LOG_LEVEL: "debug" })
    await program.printed("several")
    program.kill("SIGTERM")
    const { stdout } = await program.ended()
    const lines = linesOf(stdout).map((line) => JSON.parse(line))
    assert.deepInclude(
      lines.map(({ annotations, logLevel, message }) => ({ annotations, logLevel, message })),
      { annotations: { who: "me" }, logLevel: "DEBUG", message: "quiet" }
    )
    assert.deepInclude(
      lines.map(({ message }) => message),
      ["with", { more: 1 }]
    )
  })

  it("writes for people, and of runs, when the environment says so", async () => {
    const program = start("talk", { EFFECT_TASKS_LOG_FORMAT: "pretty", EFFECT_TASKS_LOG_LIFECYCLE: "yes" })
    await program.printed("Work success")
    program.kill("SIGTERM")
    const { stdout } = await program.ended()
    assert.match(stdout, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO \(#\d+\): with/)
    assert.notInclude(stdout, "quiet")
  })
})

const Work = Task.make("Work")
const Group = TaskGroup.make(Work)
const WorkLive = Work.toLayer(() => Effect.void)

const withConfig = (values: Record<string, string>) =>
  Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(values)), { pathDelim: "_", seqDelim: "," }))

/** How the store sees the one consumer of a layer. */
const consumerOf = (layer: ReturnType<typeof NodeTasks.consumer<typeof Work>>, values: Record<string, string>) =>
  Effect.gen(function* () {
    const store = yield* Store.Store
    const [record] = yield* store.consumers
    return record!
  }).pipe(
    Effect.provide(
      layer.pipe(
        Layer.provide(WorkLive),
        Layer.provide(NodeTasks.manager()),
        Layer.provideMerge(Backend.layerMemory),
        Layer.provide(withConfig(values))
      )
    )
  )

describe("configuration", () => {
  it("the table of the documentation says what the code does", () => {
    const text = fs.readFileSync(path.join(root, "docs/configuration.md"), "utf8")
    const rows = text.split("\n").filter((line) => line.startsWith("| `"))
    assert.deepStrictEqual(
      rows,
      settings.all.map(({ default: otherwise, meaning, name, type }) => {
        return `| \`${name}\` | ${type} | ${otherwise} | ${meaning} |`
      })
    )
  })

  it.effect("every value has the default of the table", () =>
    Effect.gen(function* () {
      const logger = yield* NodeTasks.config.logger
      assert.deepStrictEqual(logger, {
        level: LogLevel.Info,
        format: "auto",
        lifecycle: false,
        file: undefined,
        fileMode: "rotate",
        fileMaxBytes: 10_485_760,
        fileBackups: 5
      })
      const { name, ...consumer } = yield* NodeTasks.config.consumer
      assert.match(name, new RegExp(`.-${process.pid}$`))
      assert.deepStrictEqual(consumer, {
        maxConcurrentTasks: 10,
        queues: undefined,
        lease: Duration.seconds(30),
        grace: Duration.seconds(30),
        cleanup: Duration.seconds(5),
        prefetch: 500,
        tracing: "parent",
        queueLimits: {},
        maxLogLines: 1_000
      })
      assert.deepStrictEqual(yield* NodeTasks.config.manager, { maxPayloadBytes: 1_048_576, maxLogLines: 1_000 })
    }).pipe(Effect.provide(withConfig({})))
  )

  it.effect("every value is read from its name", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* NodeTasks.config.logger, {
        level: LogLevel.Trace,
        format: "json",
        lifecycle: true,
        file: "/var/log/tasks.log",
        fileMode: "watched",
        fileMaxBytes: 1_000,
        fileBackups: 0
      })
      assert.deepStrictEqual(yield* NodeTasks.config.consumer, {
        name: "left",
        maxConcurrentTasks: 3,
        queues: ["mail", "print"],
        lease: Duration.seconds(2),
        grace: Duration.seconds(3),
        cleanup: Duration.seconds(4),
        prefetch: 0,
        tracing: "link",
        queueLimits: { mail: 5, print: 1 },
        maxLogLines: 0
      })
      assert.deepStrictEqual(yield* NodeTasks.config.manager, { maxPayloadBytes: 100, maxLogLines: 0 })
    }).pipe(
      Effect.provide(
        withConfig({
          EFFECT_TASKS_LOG_LEVEL: "trace",
          EFFECT_TASKS_MAX_LOG_LINES: "0",
          EFFECT_TASKS_LOG_FORMAT: "json",
          EFFECT_TASKS_LOG_LIFECYCLE: "true",
          EFFECT_TASKS_LOG_FILE: "/var/log/tasks.log",
          EFFECT_TASKS_LOG_FILE_MODE: "watched",
          EFFECT_TASKS_LOG_FILE_MAX_BYTES: "1000",
          EFFECT_TASKS_LOG_FILE_BACKUPS: "0",
          EFFECT_TASKS_CONSUMER_NAME: "left",
          EFFECT_TASKS_CONSUMER_CONCURRENCY: "3",
          EFFECT_TASKS_CONSUMER_QUEUES: "mail, print,",
          EFFECT_TASKS_CONSUMER_LEASE: "2 seconds",
          EFFECT_TASKS_CONSUMER_GRACE: "3 seconds",
          EFFECT_TASKS_CONSUMER_CLEANUP: "4 seconds",
          EFFECT_TASKS_CONSUMER_PREFETCH: "0",
          EFFECT_TASKS_CONSUMER_TRACING: "link",
          EFFECT_TASKS_CONSUMER_QUEUE_LIMITS: "mail=5, print=1,",
          EFFECT_TASKS_MAX_PAYLOAD_BYTES: "100"
        })
      )
    )
  )

  it.effect("a consumer and a manager take it", () =>
    Effect.gen(function* () {
      const consumer = yield* consumerOf(NodeTasks.consumer(Group), {
        EFFECT_TASKS_CONSUMER_NAME: "left",
        EFFECT_TASKS_CONSUMER_CONCURRENCY: "3",
        EFFECT_TASKS_CONSUMER_QUEUES: "mail"
      })
      assert.match(consumer.id, /^left-/)
      assert.strictEqual(consumer.maxConcurrentTasks, 3)
      assert.deepStrictEqual(consumer.queues, ["mail"])

      const Note = Task.make("Note", { payload: { text: Schema.String } })
      const error = yield* Effect.flip(Note.queue({ text: "too long" })).pipe(
        Effect.provide(
          NodeTasks.manager().pipe(
            Layer.provide(Backend.layerMemory),
            Layer.provide(withConfig({ EFFECT_TASKS_MAX_PAYLOAD_BYTES: "4" }))
          )
        )
      )
      assert.strictEqual(error._tag, "PayloadTooLarge")
    })
  )

  it.effect("what the code says wins, but for what it leaves undefined", () =>
    Effect.gen(function* () {
      const layer = NodeTasks.consumer(Group, { maxConcurrentTasks: 5, name: undefined, queues: ["print"] })
      const consumer = yield* consumerOf(layer, {
        EFFECT_TASKS_CONSUMER_NAME: "left",
        EFFECT_TASKS_CONSUMER_CONCURRENCY: "3",
        EFFECT_TASKS_CONSUMER_QUEUES: "mail"
      })
      assert.match(consumer.id, /^left-/)
      assert.strictEqual(consumer.maxConcurrentTasks, 5)
      assert.deepStrictEqual(consumer.queues, ["print"])
    })
  )

  for (const [name, value, expected] of [
    ["CONSUMER_QUEUE_LIMITS", "mail=none", "Expected limits such as mail=5,print=1"],
    ["CONSUMER_PREFETCH", "-1", "Expected an integer, 0 or more"],
    ["CONSUMER_TRACING", "both", "parent"]
  ] as const) {
    it.effect(`a ${name} that does not fit is an error that names it`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(NodeTasks.config.consumer)
        assert.include(String(error), name)
        assert.include(String(error), expected)
      }).pipe(Effect.provide(withConfig({ [`EFFECT_TASKS_${name}`]: value })))
    )
  }

  it.effect("a value that does not fit is an error that names it", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(NodeTasks.config.consumer)
      assert.include(String(error), "Expected an integer, 1 or more")
      assert.include(String(error), "CONSUMER_CONCURRENCY")
    }).pipe(Effect.provide(withConfig({ EFFECT_TASKS_CONSUMER_CONCURRENCY: "0" })))
  )
})

it("a task without its handler does not compile", () => {
  const incomplete = NodeTasks.consumer(Group).pipe(
    Layer.provide(NodeTasks.manager()),
    Layer.provide(Backend.layerMemory)
  )
  // @ts-expect-error "Work"
  const run = () => NodeTasks.runMain(incomplete)
  assert.isFunction(run)
})

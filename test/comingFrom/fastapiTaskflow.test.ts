/* What people know from fastapi-taskflow, row by row as `docs/coming-from.md` lists it. */
import fs from "node:fs"
import http from "node:http"
import path from "node:path"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  BackgroundTasks,
  Broker,
  CurrentRun,
  PayloadCipher,
  RetryPolicy,
  Store,
  Task,
  TaskConsumer,
  type TaskEvent,
  TaskEvents,
  TaskGroup,
  TaskLogger,
  TaskManager,
  TaskRun,
  TaskSchedule,
  TaskScheduler,
  TaskState,
  TaskTest
} from "@effect-tasks/core"
import { NodeLogger } from "@effect-tasks/node"
import { type Retention, SqliteBackend } from "@effect-tasks/sql"
import {
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Schedule,
  Schema,
  type Scope,
  Stream
} from "effect"
import { rules } from "../../packages/sql/src/internal/retention.js"
import * as sqlite from "../../packages/sql/src/internal/sqlite/backend.js"
import * as Transactions from "../../packages/sql/src/internal/transactions.js"
import { encodedAs } from "../conformance/encoded.js"
import { InProcess, InThread } from "../executor/tasks.js"
import { quietly } from "../fixtures/logging.js"
import { layer } from "../sharing.js"
import { begun, elsewhere, type Facts, isAlive, perform } from "./executors.js"
import {
  Add,
  all,
  becomes,
  Flaky,
  handlers,
  kit,
  Once,
  Oops,
  open,
  producer,
  Refuse,
  row,
  Slow,
  scheduling,
  started,
  Talk,
  temporaryFile,
  worker
} from "./setup.js"

const manager = TaskManager.TaskManager

/** Waits, in real time, until a file holds a text. */
const holds = (file: string, text: string) =>
  Effect.repeat(
    Effect.sync(() => fs.existsSync(file) && fs.readFileSync(file, "utf8").includes(text)),
    { until: (isThere) => isThere, schedule: Schedule.spaced("2 millis") }
  )

type App = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  BackgroundTasks.BackgroundTasks | HttpServerRequest.HttpServerRequest | TaskManager.TaskManager | Scope.Scope
>

/** A server whose requests leave work to be done, with a worker beside it; its handler may note what it does. */
const serve = (handler: (steps: Array<string>) => App) =>
  Effect.gen(function* () {
    const steps: Array<string> = []
    const app = HttpRouter.empty.pipe(HttpRouter.get("*", handler(steps)), BackgroundTasks.middleware)
    const { close, context } = yield* open(
      HttpServer.serve(app).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1" })),
        Layer.provide(BackgroundTasks.layer()),
        Layer.provideMerge(TaskConsumer.layer(all, { grace: 0 })),
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(Backend.layerMemory),
        Layer.provide(Logger.remove(Logger.defaultLogger))
      )
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    assert(address._tag === "TcpAddress")
    return { close, context, steps, url: `http://127.0.0.1:${address.port}/` }
  })

/** The body that a server answers. */
const ask = (url: string) => Effect.tryPromise(async () => (await fetch(url)).text())

describe("TaskManager", () => {
  it.scopedLive("snapshot_db", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const { id } = yield* Add.queue({ a: 1, b: 2 }).pipe(Effect.provide(producer(filename)))
      const { context } = yield* open(worker(filename))
      const run = yield* Effect.provide(Add.handle(id), context)
      assert.strictEqual(yield* run.awaitFor("10 seconds"), 3)
    })
  )

  it.effect("snapshot_backend", () =>
    Effect.gen(function* () {
      // a backend is a Layer; an application chooses one, or brings its own
      const Main = (backend: Layer.Layer<Backend.Backend, unknown>) => TaskManager.layer.pipe(Layer.provide(backend))
      const counts = Effect.flatMap(manager, ({ counts }) => counts())
      const queued = yield* Effect.forEach(
        [Backend.layerMemory, SqliteBackend.layer({ filename: ":memory:" })],
        (backend) => Effect.provide(Effect.zipRight(Add.queue({ a: 1, b: 2 }), counts), Main(backend))
      )
      assert.deepStrictEqual(
        queued.map(({ queued }) => queued),
        [1, 1]
      )
    })
  )

  it.scopedLive("snapshot_interval", () =>
    Effect.gen(function* () {
      // nothing is flushed later: another connection sees a run as soon as it is queued, and its end as soon as it has ended
      const filename = yield* temporaryFile
      const { context } = yield* open(worker(filename))
      const reader = yield* open(producer(filename))
      const { id } = yield* Add.queue({ a: 1, b: 2 }).pipe(Effect.provide(context))
      const { runs } = Context.get(reader.context, manager)
      assert.deepStrictEqual(
        (yield* runs()).items.map((run) => run.id),
        [id]
      )
      yield* Effect.flatMap(Add.handle(id), (run) => run.awaitFor("10 seconds")).pipe(Effect.provide(context))
      assert.deepStrictEqual(
        (yield* runs({ state: ["success"] })).items.map((run) => run.id),
        [id]
      )
    })
  )

  it.scopedLive("requeue_pending", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const first = yield* open(producer(filename))
      const ids = yield* Effect.gen(function* () {
        const due = yield* Add.queue({ a: 1, b: 2 })
        const later = yield* Add.queue({ a: 3, b: 4 }, { delay: "50 millis" })
        return [due.id, later.id] as const
      }).pipe(Effect.provide(first.context))
      yield* first.close // what is pending survives the restart, with its id
      const second = yield* open(worker(filename))
      const sums = yield* Effect.forEach(ids, (id) =>
        Effect.flatMap(Add.handle(id), (run) => run.awaitFor("10 seconds"))
      ).pipe(Effect.provide(second.context))
      assert.deepStrictEqual(sums, [3, 7])
    })
  )

  it.scopedLive("merged_list_ttl", () =>
    Effect.gen(function* () {
      // two runtimes on one file: each sees all runs, at once and without a cache
      const filename = yield* temporaryFile
      const one = yield* open(producer(filename))
      const two = yield* open(producer(filename))
      const queued = yield* Effect.forEach([one, two, one], ({ context }) =>
        Effect.provide(Add.queue({ a: 1, b: 2 }), context)
      )
      const ids = queued.map(({ id }) => id).sort()
      for (const { context } of [one, two]) {
        const { items } = yield* Context.get(context, manager).runs()
        assert.deepStrictEqual(items.map(({ id }) => id).sort(), ids)
      }
    })
  )

  it.effect("loggers", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const observer = (name: string): TaskLogger.Observer => ({
        name,
        onEvent: ({ state }) => Effect.sync(() => seen.push(`${name} ${state}`)),
        onLine: ({ message }) => Effect.sync(() => seen.push(`${name} ${message}`))
      })
      const broken: TaskLogger.Observer = {
        name: "broken",
        onLine: () => Effect.die("no"),
        onEvent: () => Effect.die("no")
      }
      const Main = TaskConsumer.layer(all, { grace: 0 }).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(TaskLogger.layer(observer("a"), broken, observer("b"))),
        Layer.provide(Backend.layerMemory)
      )
      yield* Effect.provide(Talk.queueAndWait({ text: "hello" }), Main)
      for (const name of ["a", "b"]) {
        assert.includeMembers(seen, [`${name} running`, `${name} hello`, `${name} success`])
      }
    })
  )

  describe("log files", () => {
    /** What is in the files of a folder when the tasks of a program have been performed with such a log file. */
    const written = <E>(
      options: Partial<NodeLogger.FileOptions>,
      program: (file: string) => Effect.Effect<unknown, E, TaskManager.TaskManager>
    ) =>
      Effect.gen(function* () {
        const file = (yield* temporaryFile).replace(/tasks\.db$/, "tasks.log")
        const Main = TaskConsumer.layer(all, { grace: 0 }).pipe(
          Layer.provide(handlers),
          Layer.provideMerge(TaskManager.layer),
          Layer.provide(NodeLogger.layerFile({ path: file, ...options })),
          Layer.provide(Backend.layerMemory),
          Layer.provide(Logger.remove(Logger.defaultLogger))
        )
        yield* Effect.provide(program(file), Main)
        const folder = path.dirname(file)
        return new Map(
          fs
            .readdirSync(folder)
            .sort()
            .map((name) => [name, fs.readFileSync(path.join(folder, name), "utf8")])
        )
      })

    const say = (text: string) => Talk.queueAndWait({ text }, { timeout: "10 seconds" })

    it.scopedLive("log_file", () =>
      Effect.gen(function* () {
        const files = yield* written({}, () => say("hello"))
        assert.deepStrictEqual([...files.keys()], ["tasks.log"])
        assert.match(files.get("tasks.log") ?? "", /^\[.+Z\] INFO \[\w{8}\] \[Talk\] hello attempt=1$/m)
      })
    )

    it.scopedLive("log_file_max_bytes", () =>
      Effect.gen(function* () {
        const files = yield* written({ maxBytes: 400, backups: 100 }, () => Effect.replicateEffect(say("hello"), 8))
        assert.isAbove(files.size, 1)
        // a file is rotated as soon as it is so long: only its last line may reach beyond
        const beforeLast = (text: string) => text.lastIndexOf("\n", text.length - 2) + 1
        assert.isTrue([...files.values()].every((text) => beforeLast(text) < 400))
        assert.lengthOf([...files.values()].join("").match(/hello/g) ?? [], 8) // no line is lost
      })
    )

    it.scopedLive("log_file_backup_count", () =>
      Effect.gen(function* () {
        const files = yield* written({ maxBytes: 200, backups: 2 }, () =>
          Effect.forEach([1, 2, 3, 4, 5, 6], (n) => say(`number ${n}`))
        )
        assert.deepStrictEqual([...files.keys()], ["tasks.log", "tasks.log.1", "tasks.log.2"])
        assert.include([...files.values()].join(""), "number 6")
      })
    )

    it.scopedLive("log_file_mode", () =>
      Effect.gen(function* () {
        const files = yield* written({ mode: "watched" }, (file) =>
          Effect.gen(function* () {
            yield* say("first")
            yield* holds(file, "first")
            fs.renameSync(file, `${file}.moved`) // as logrotate does
            yield* say("second")
          })
        )
        assert.deepStrictEqual([...files.keys()], ["tasks.log", "tasks.log.moved"])
        assert.notInclude(files.get("tasks.log"), "first")
        assert.include(files.get("tasks.log"), "second")
      })
    )

    it.scopedLive("log_lifecycle", () =>
      Effect.gen(function* () {
        const withEnds = yield* written({}, () => say("hello"))
        const without = yield* written({ lifecycle: false }, () => say("hello"))
        assert.include(withEnds.get("tasks.log"), "[Talk] success")
        assert.include(without.get("tasks.log"), "[Talk] hello")
        assert.notInclude(without.get("tasks.log"), "success")
      })
    )

    it.scopedLive("FileLogger", () =>
      Effect.gen(function* () {
        const files = yield* written({ format: "json", minLevel: LogLevel.Warning }, () =>
          Effect.zipRight(say("too quiet"), Effect.exit(Refuse.queueAndWait({ code: 5 })))
        )
        const lines = (files.get("tasks.log") ?? "").trimEnd().split("\n")
        assert.deepInclude(
          lines.map((line) => JSON.parse(line)).find(({ task }) => task === "Refuse"),
          { level: "WARN" }
        )
        assert.lengthOf(lines, 1)
      })
    )
  })

  it.scopedLive("encrypt_args_key", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const key = yield* PayloadCipher.generateKey
      const Main = TaskConsumer.layer(all, { grace: 0 }).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(PayloadCipher.layer({ keys: [{ id: "one", key }], logs: true })),
        Layer.provide(SqliteBackend.layer({ filename })),
        Layer.provide(Logger.remove(Logger.defaultLogger))
      )
      const { context, close } = yield* open(Main)
      const { id } = yield* Effect.provide(
        Effect.tap(Talk.queue({ text: "4111 1111" }), (run) => run.awaitFor("10 seconds")),
        context
      )
      // above the cipher nothing changes
      assert.deepStrictEqual((yield* Context.get(context, manager).get(id)).payload, { text: "4111 1111" })
      yield* close
      const folder = path.dirname(filename)
      const bytes = Buffer.concat(fs.readdirSync(folder).map((name) => fs.readFileSync(path.join(folder, name))))
      assert.isTrue(bytes.includes("~1.one."))
      assert.isFalse(bytes.includes("4111"))
    })
  )

  it.scopedLive("fernet", () =>
    Effect.gen(function* () {
      // keys have ids, so they can be changed; without its key a run fails by itself, and is not lost
      const memory = yield* Layer.build(Backend.layerMemory)
      const [one, two] = yield* Effect.all([PayloadCipher.generateKey, PayloadCipher.generateKey])
      const old = { id: "one", key: one }
      const Main = (...keys: ReadonlyArray<PayloadCipher.Key>) =>
        TaskConsumer.layer(all, { grace: 0 }).pipe(
          Layer.provide(handlers),
          Layer.provideMerge(TaskManager.layer),
          Layer.provide(PayloadCipher.layer({ keys })),
          Layer.provide(Layer.succeedContext(memory))
        )
      const { close, context } = yield* open(
        TaskManager.layer.pipe(
          Layer.provide(PayloadCipher.layer({ keys: [old] }).pipe(Layer.provide(Layer.succeedContext(memory))))
        )
      )
      const { id } = yield* Effect.provide(Add.queue({ a: 1, b: 2 }), context)
      yield* close
      const awaited = Effect.flatMap(Add.handle(id), (run) => run.awaitFor("10 seconds"))
      const error = yield* Effect.flip(Effect.provide(awaited, Main({ id: "two", key: two })))
      assert.deepInclude(error, { _tag: "RunUndecryptable", keyId: "one" })
      const again = Effect.gen(function* () {
        const run = yield* Add.handle(yield* (yield* manager).retry(id))
        return yield* run.awaitFor("10 seconds")
      })
      assert.strictEqual(yield* Effect.provide(again, Main({ id: "two", key: two }, old)), 3)
    })
  )

  it.effect("max_concurrent_tasks", () =>
    Effect.gen(function* () {
      yield* Slow.queueAll(Array.from({ length: 3 }, () => ({ seconds: 1 })))
      yield* TaskTest.drain()
      // a run that waits for a place is not shown as running
      const { queued, running } = yield* (yield* manager).counts()
      assert.deepStrictEqual({ queued, running }, { queued: 1, running: 2 })
      yield* TaskTest.drain({ scheduled: true })
    }).pipe(
      Effect.provide(
        kit(TaskGroup.make(Slow), { Slow: () => Effect.sleep("1 second") }, { maxConcurrentTasks: 2, prefetch: 0 })
      )
    )
  )

  it.effect("get_tasks and background_tasks, outside of a request", () =>
    Effect.gen(function* () {
      // a task is a value with accessors, so whoever has the manager in its context can add a run
      const signUp: Effect.Effect<unknown, unknown, TaskManager.TaskManager> = Talk.queue({ text: "welcome" })
      yield* signUp
      yield* TaskTest.assertQueued(Talk, ({ text }) => text === "welcome")
    }).pipe(Effect.provide(TaskTest.layer))
  )

  describe("after the response", () => {
    it.scopedLive("get_tasks(background_tasks)", () =>
      Effect.gen(function* () {
        const { context, url } = yield* serve((steps) =>
          Effect.gen(function* () {
            const tasks = yield* BackgroundTasks.BackgroundTasks
            const id = yield* tasks.add(Talk, { text: "welcome" })
            steps.push("answered")
            return yield* HttpServerResponse.json({ id })
          })
        )
        const { id } = JSON.parse(yield* ask(url)) as { readonly id: TaskRun.RunId }
        const run = yield* Effect.provide(Talk.handle(id), context)
        // it is queued as soon as the client has its answer
        yield* Effect.retry(run.poll, Schedule.spaced("2 millis"))
        yield* run.awaitFor("10 seconds")
      })
    )

    it.scopedLive("background_tasks", () =>
      Effect.gen(function* () {
        const { close, steps, url } = yield* serve((steps) =>
          Effect.gen(function* () {
            const { run } = yield* BackgroundTasks.BackgroundTasks
            yield* run(Effect.sync(() => steps.push("first")))
            yield* run(Effect.fail("one that fails harms nothing"))
            yield* run(Effect.sync(() => steps.push("second")))
            const body = Stream.make("hello").pipe(Stream.ensuring(Effect.sync(() => steps.push("sent"))))
            return HttpServerResponse.stream(Stream.encodeText(body))
          })
        )
        assert.strictEqual(yield* ask(url), "hello")
        yield* close
        assert.deepStrictEqual(steps, ["sent", "first", "second"])
      }).pipe(quietly)
    )

    it.scopedLive("install(app)", () =>
      Effect.gen(function* () {
        // each request has its own; one that fails leaves nothing to be done
        const { close, steps, url } = yield* serve((steps) =>
          Effect.gen(function* () {
            const { run } = yield* BackgroundTasks.BackgroundTasks
            const { url } = yield* HttpServerRequest.HttpServerRequest
            yield* run(Effect.sync(() => steps.push(url)))
            return url === "/bad" ? HttpServerResponse.empty({ status: 500 }) : HttpServerResponse.empty()
          })
        )
        for (const name of ["good", "bad", "other"]) {
          yield* ask(`${url}${name}`)
        }
        yield* close
        assert.deepStrictEqual(steps.sort(), ["/good", "/other"])
      }).pipe(quietly)
    )

    it.scopedLive("init_app(app)", () =>
      Effect.gen(function* () {
        // the end of the application waits for what requests have left
        const { close, steps, url } = yield* serve((steps) =>
          Effect.gen(function* () {
            const { run } = yield* BackgroundTasks.BackgroundTasks
            yield* run(
              Effect.zipRight(
                Effect.sleep("50 millis"),
                Effect.sync(() => steps.push("done"))
              )
            )
            return HttpServerResponse.empty()
          })
        )
        yield* ask(url)
        yield* close
        assert.deepStrictEqual(steps, ["done"])
        assert.isTrue(Exit.isFailure(yield* Effect.exit(ask(url))))
      })
    )

    it.scopedLive("add_task(eager)", () =>
      Effect.gen(function* () {
        const { url } = yield* serve(() =>
          Effect.gen(function* () {
            const tasks = yield* BackgroundTasks.BackgroundTasks
            const found = (id: TaskRun.RunId) => Effect.isSuccess(Effect.flatMap(manager, ({ get }) => get(id)))
            const later = yield* tasks.add(Talk, { text: "later" })
            const now = yield* tasks.add(Talk, { text: "now" }, { mode: "now" })
            return yield* HttpServerResponse.json([yield* found(later), yield* found(now)])
          })
        )
        assert.deepStrictEqual(JSON.parse(yield* ask(url)), [false, true])
      })
    )
  })

  it.scoped("startup()", () =>
    Effect.gen(function* () {
      const { context } = yield* open(kit(TaskGroup.make(Add), { Add: ({ a, b }) => Effect.succeed(a + b) }))
      assert.isTrue(yield* Context.get(context, TaskConsumer.TaskConsumer).alive)
      assert.strictEqual(yield* Effect.provide(Add.queueAndWait({ a: 1, b: 2 }), context), 3)
    })
  )

  it.scoped("shutdown()", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const observer: TaskLogger.Observer = {
        name: "slow",
        onEvent: ({ state }) =>
          Effect.zipRight(
            Effect.yieldNow(),
            Effect.sync(() => told.push(state))
          )
      }
      const { close, context } = yield* open(
        TaskConsumer.layer(all, { grace: 0 }).pipe(
          Layer.provide(handlers),
          Layer.provideMerge(TaskManager.layer),
          Layer.provide(TaskLogger.layer(observer)),
          Layer.provide(Backend.layerMemory)
        )
      )
      yield* Effect.provide(Add.queueAndWait({ a: 1, b: 2 }), context)
      yield* close // the observers have seen everything when it returns
      assert.deepStrictEqual(told, ["init", "queued", "running", "success"])
    })
  )

  it.effect("registry", () =>
    Effect.sync(() =>
      assert.deepStrictEqual(
        all.tasks.map(({ name, requeueOnInterrupt }) => [name, requeueOnInterrupt]),
        [
          ["Add", true],
          ["Refuse", true],
          ["Flaky", true],
          ["Slow", true],
          ["Once", false],
          ["Talk", true]
        ]
      )
    )
  )

  row("store", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 })
      const { get, counts } = yield* manager
      assert.strictEqual((yield* get(run.id)).state, "queued")
      yield* TaskTest.drain()
      assert.deepInclude(yield* counts(), { queued: 0, success: 1 })
    })
  )

  it.effect("logger", () =>
    Effect.gen(function* () {
      const observers = yield* TaskLogger.TaskLogger
      assert.deepStrictEqual(
        observers.map(({ name }) => name),
        ["console", "mine"]
      )
    }).pipe(Effect.provide(TaskLogger.layer(TaskLogger.console, { name: "mine" })))
  )

  it.scopedLive("_scheduler", () =>
    Effect.gen(function* () {
      // there is no flush to schedule: what a failed run has come to stands in the file when its end is told
      const filename = yield* temporaryFile
      const { context } = yield* open(worker(filename))
      const { id } = yield* Effect.provide(
        Effect.tap(Refuse.queue({ code: 9 }), (run) => Effect.exit(run.awaitFor("10 seconds"))),
        context
      )
      const reader = yield* open(producer(filename))
      const { outcome } = yield* Context.get(reader.context, manager).get(id)
      assert.deepInclude(outcome, { _tag: "Failure", error: { _tag: "Oops", code: 9 } })
    })
  )

  it.effect("schedule(every, cron, …)", () =>
    Effect.gen(function* () {
      const seen: Array<readonly [string | null, number | null]> = []
      const note = Effect.map(CurrentRun.CurrentRun, ({ schedule, scheduledFor }) =>
        seen.push([schedule, scheduledFor])
      )
      const Sweep = Task.make("Sweep", { schedule: TaskSchedule.every("5 minutes") })
      const Hourly = Task.make("Hourly", { schedule: TaskSchedule.cron("7 * * * *") })
      const Main = scheduling(TaskGroup.make(Sweep, Hourly), { Sweep: () => note, Hourly: () => note })
      yield* Effect.provide(TaskTest.advance("10 minutes"), Main)
      assert.deepStrictEqual(seen, [
        ["Sweep", 300_000],
        ["Hourly", 420_000],
        ["Sweep", 600_000]
      ])
    })
  )

  row("schedule_once(func, run_at, run_key)", () =>
    Effect.gen(function* () {
      const scheduler = yield* TaskScheduler.TaskScheduler
      yield* scheduler.once("trial of a", { task: Talk, payload: { text: "too early" }, at: 10_000 })
      // the same key: another moment and payload, still one run
      yield* scheduler.once("trial of a", { task: Talk, payload: { text: "in time" }, at: 20_000 })
      yield* Talk.queue({ text: "without a key" }, { at: 15_000 })
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual(
        (yield* TaskTest.lines).map(({ at, message }) => [at, message]),
        [
          [15_000, "without a key"],
          [20_000, "in time"]
        ]
      )
    }).pipe(Effect.provide(TaskScheduler.client))
  )

  row("cancel_scheduled(run_key)", () =>
    Effect.gen(function* () {
      const scheduler = yield* TaskScheduler.TaskScheduler
      yield* scheduler.once("trial of a", { task: Talk, payload: { text: "never" }, at: 10_000 })
      assert.deepStrictEqual(
        [yield* scheduler.cancelOnce("trial of a"), yield* scheduler.cancelOnce("trial of a")],
        [true, false]
      )
      yield* TaskTest.advance("1 minute")
      assert.deepStrictEqual(yield* TaskTest.lines, [])
    }).pipe(Effect.provide(TaskScheduler.client))
  )

  row("list_scheduled(before)", () =>
    Effect.gen(function* () {
      const scheduler = yield* TaskScheduler.TaskScheduler
      const talk = (text: string) => ({ task: Talk, payload: { text } })
      yield* scheduler.add("hourly", { ...talk("tick"), schedule: TaskSchedule.every("1 hour") })
      yield* scheduler.once("late", { ...talk("late"), at: 90_000 })
      yield* scheduler.once("soon", { ...talk("soon"), at: 30_000 })
      assert.deepStrictEqual(
        (yield* scheduler.list).map(({ name, nextAt }) => [name, nextAt]),
        [["hourly", 3_600_000]]
      )
      const once = yield* scheduler.listOnce // by their time
      assert.deepStrictEqual(
        once.map(({ key }) => key),
        ["soon", "late"]
      )
      assert.deepStrictEqual(
        once.filter(({ at }) => at < 60_000).map(({ key }) => key),
        ["soon"]
      )
    }).pipe(Effect.provide(TaskScheduler.client))
  )

  it.scopedLive("merged_list()", () =>
    Effect.gen(function* () {
      // history is one for all instances, and outlives them
      const filename = yield* temporaryFile
      const one = yield* open(worker(filename))
      yield* Effect.provide(Add.queueAndWait({ a: 1, b: 2 }, { timeout: "10 seconds" }), one.context)
      yield* one.close
      const two = yield* open(worker(filename))
      yield* Effect.provide(Add.queueAndWait({ a: 3, b: 4 }, { timeout: "10 seconds" }), two.context)
      const { items } = yield* Context.get(two.context, manager).runs({ task: "Add", state: ["success"] })
      assert.deepStrictEqual(
        items.map(({ outcome }) => outcome),
        [7, 3].map((value) => ({ _tag: "Success" as const, value }))
      )
    })
  )

  it.effect("queue_stats()", () =>
    Effect.gen(function* () {
      yield* Add.queueAll([
        { a: 1, b: 2 },
        { a: 3, b: 4 }
      ])
      const [stats] = yield* (yield* Store.Store).queues
      assert.deepStrictEqual(stats, { queue: "default", queued: 2, scheduled: 0, running: 0, oldestDueAt: 0 })
    }).pipe(Effect.provide(TaskTest.layer))
  )

  row("update_queue_config(name, concurrency, max_size)", () =>
    Effect.gen(function* () {
      // what an operator changes while everything runs: a queue rests, and goes on
      const { pause, resume } = yield* manager
      yield* pause({ queue: "default" })
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual((yield* run.poll).state, "queued")
      yield* resume({ queue: "default" })
      yield* TaskTest.drain()
      assert.strictEqual((yield* run.poll).state, "success")
    })
  )

  it.effect("queues and QueueConfig(concurrency, max_size)", () =>
    Effect.gen(function* () {
      const runs = yield* Effect.forEach(["mail", "mail", "reports"], (queue) => Slow.queue({ seconds: 1 }, { queue }))
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual(
        yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ endedAt }) => endedAt)),
        [1_000, 2_000, 1_000]
      )
      yield* Slow.queue({ seconds: 1 }, { queue: "mail", maxQueued: 1, delay: "1 hour" })
      const full = yield* Effect.flip(Slow.queue({ seconds: 1 }, { queue: "mail", maxQueued: 1 }))
      assert.strictEqual(full._tag, "QueueFull")
    }).pipe(
      Effect.provide(
        kit(
          TaskGroup.make(Slow),
          { Slow: () => Effect.sleep("1 second") },
          { queues: ["mail", "reports"], queueLimits: { mail: 1 } }
        )
      )
    )
  )

  it.scopedLive("retention_days", () =>
    Effect.gen(function* () {
      const client = yield* SqliteClient.SqliteClient
      const retention: Retention.Retention = { success: "1 milli", failure: "forever" }
      const { store } = yield* sqlite.make({
        client,
        transactions: Transactions.make(client.withTransaction),
        prefix: "task_",
        migrate: true,
        watchInterval: Duration.seconds(1),
        rules: rules(retention),
        pruneInterval: Duration.millis(5) // 10 seconds, unless a test is in a hurry
      })
      const ended = (n: number, state: "success" | "failure") => ({
        run: encodedAs(TaskRun.RunId.make(`00000000-0000-7000-8000-00000000000${n}`), { state, endedAt: 0, fence: 1 }),
        logs: []
      })
      yield* store.record([ended(1, "success"), ended(2, "failure"), ended(3, "success")])
      const states = Effect.map(store.runs({ limit: 10 }), (runs) => runs.map(({ state }) => state))
      yield* states.pipe(
        Effect.repeat({ until: (kept) => kept.length === 1, schedule: Schedule.spaced("5 millis") }),
        Effect.timeout("10 seconds")
      )
      assert.deepStrictEqual(yield* states, ["failure"])
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )

  row("retry_replaces_original", () =>
    Effect.gen(function* () {
      const run = yield* Refuse.queue({ code: 1 })
      yield* TaskTest.drain()
      const { get, retry } = yield* manager
      const again = yield* retry(run.id)
      yield* TaskTest.drain()
      assert.strictEqual((yield* get(run.id)).state, "failure") // the original stands
      assert.deepInclude(yield* get(again), { state: "failure", retryOf: run.id })
    })
  )

  it.scopedLive("instance_url, registry_ttl and registry_heartbeat", () =>
    Effect.gen(function* () {
      // instances need not know of one another: each writes a record of itself beside the runs
      const filename = yield* temporaryFile
      const one = yield* open(worker(filename))
      const two = yield* open(worker(filename))
      const store = Context.get(two.context, Store.Store)
      assert.lengthOf(yield* store.consumers, 2)
      yield* one.close
      assert.lengthOf(yield* store.consumers, 1)
    })
  )
})

describe("task()", () => {
  /** When the attempts of a run that fails for good have ended, in seconds. */
  const attemptsOf = (policy: RetryPolicy.Options<Task.Failure<Oops>>) => {
    const task = Task.make("Failing", { error: Oops, retry: RetryPolicy.make(policy) })
    return Effect.gen(function* () {
      const run = yield* task.queue()
      yield* TaskTest.drain({ scheduled: true })
      return (yield* run.poll).attempts.map(({ endedAt }) => endedAt / 1_000)
    }).pipe(Effect.provide(kit(TaskGroup.make(task), { Failing: () => new Oops({ code: 1 }) })))
  }

  it.effect("retries", () =>
    Effect.map(attemptsOf({ retries: 2, delay: 0 }), (ends) => assert.deepStrictEqual(ends, [0, 0, 0]))
  )

  it.effect("delay", () =>
    Effect.map(attemptsOf({ retries: 2, delay: "3 seconds" }), (ends) => assert.deepStrictEqual(ends, [0, 3, 6]))
  )

  it.effect("backoff", () =>
    Effect.map(attemptsOf({ retries: 3, delay: "1 second", backoff: 2 }), (ends) =>
      assert.deepStrictEqual(ends, [0, 1, 3, 7])
    )
  )

  it.scopedLive("persist", () =>
    Effect.gen(function* () {
      // every run is as durable as the backend is
      const filename = yield* temporaryFile
      yield* Effect.provide(Talk.queue({ text: "keep me" }), producer(filename))
      const { context } = yield* open(producer(filename))
      assert.strictEqual((yield* Context.get(context, manager).counts()).queued, 1)
    })
  )

  it.effect("name", () =>
    Effect.gen(function* () {
      const sendWelcome = Task.make("emails.welcome", { error: Oops })
      yield* Effect.gen(function* () {
        const run = yield* sendWelcome.queue()
        yield* TaskTest.drain()
        yield* (yield* manager).retry(run.id) // found by the same name again
        yield* TaskTest.drain()
        const { items } = yield* (yield* manager).runs({ task: "emails.welcome" })
        assert.lengthOf(items, 2)
      }).pipe(Effect.provide(kit(TaskGroup.make(sendWelcome), { "emails.welcome": () => new Oops({ code: 1 }) })))
    })
  )

  it.scopedLive("requeue_on_interrupt", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const long = { seconds: 3_600 }
      const first = yield* open(worker(filename))
      const [again, once] = yield* Effect.provide(
        Effect.all([started(Slow.queue(long)), started(Once.queue(long))]),
        first.context
      )
      yield* first.close
      const second = yield* open(worker(filename))
      const handles = yield* Effect.provide(Effect.all([Slow.handle(again.id), Once.handle(once.id)]), second.context)
      const taken = yield* becomes(handles[0], "running") // from the start, under its id, with no attempt burned
      assert.deepInclude(taken, { attempt: 0, crashes: 0 })
      assert.deepInclude(yield* handles[1].poll, { state: "interrupted" })
    })
  )

  row("eager", () =>
    Effect.gen(function* () {
      // every run begins at once, not after something else has ended
      yield* Slow.queue({ seconds: 60 })
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.deepInclude(yield* run.poll, { state: "success", startedAt: 0 })
      yield* TaskTest.drain({ scheduled: true })
    })
  )

  it.effect("priority", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const Main = kit(
        TaskGroup.make(Talk),
        { Talk: ({ text }) => Effect.sync(() => void order.push(text)) },
        { maxConcurrentTasks: 1, prefetch: 0 }
      )
      yield* Effect.gen(function* () {
        const { pause, resume } = yield* manager
        yield* pause({ task: "Talk" })
        yield* Talk.queue({ text: "low" }, { priority: "low" })
        yield* Talk.queue({ text: "first" })
        yield* Talk.queue({ text: "second" })
        yield* Talk.queue({ text: "nine" }, { priority: 9 })
        yield* resume({ task: "Talk" })
        yield* TaskTest.drain()
      }).pipe(Effect.provide(Main))
      assert.deepStrictEqual(order, ["nine", "first", "second", "low"])
    })
  )

  it.effect("queue", () =>
    Effect.gen(function* () {
      const Mail = Task.make("Mail", { queue: "mail" })
      const own = yield* Mail.queue()
      const other = yield* Mail.queue(undefined, { queue: "bulk" })
      assert.deepStrictEqual([(yield* own.poll).queue, (yield* other.poll).queue], ["mail", "bulk"])
    }).pipe(Effect.provide(TaskTest.layer))
  )
})

describe("add_task()", () => {
  row("add_task(func, *args, **kwargs)", () =>
    Effect.gen(function* () {
      const { id } = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.strictEqual((yield* (yield* manager).get(id)).state, "success")
    })
  )

  row("add_task(idempotency_key)", () =>
    Effect.gen(function* () {
      const key = { idempotencyKey: { key: "k", hold: "forever" } } as const
      const first = yield* Add.queue({ a: 1, b: 2 }, key)
      const second = yield* Add.queue({ a: 1, b: 2 }, key)
      assert.deepStrictEqual([second.id, second.existing], [first.id, true])
      yield* TaskTest.drain()
      assert.strictEqual((yield* Add.queue({ a: 1, b: 2 }, key)).id, first.id) // a success holds it
      // a failed and a cancelled run free it
      const failed = yield* Refuse.queue({ code: 1 }, key)
      yield* TaskTest.drain()
      assert.isFalse((yield* Refuse.queue({ code: 1 }, key)).existing)
      assert.strictEqual((yield* failed.poll).state, "failure")
      const cancelled = yield* Talk.queue({ text: "x" }, { ...key, delay: "1 hour" })
      yield* cancelled.cancel()
      assert.isFalse((yield* Talk.queue({ text: "x" }, key)).existing)
    })
  )

  row("add_task(tags)", () =>
    Effect.gen(function* () {
      yield* Talk.queue({ text: "x" }, { tags: ["tenant:7"] })
      assert.lengthOf((yield* (yield* manager).runs({ tag: "tenant:7" })).items, 1)
    })
  )

  row("add_task(priority, queue)", () =>
    Effect.gen(function* () {
      const run = yield* Talk.queue({ text: "x" }, { priority: 5, queue: "bulk" })
      assert.deepInclude(yield* run.poll, { priority: 5, queue: "bulk" })
    })
  )

  row("TaskArgumentError", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Add.queue({ a: 1, b: "two" as never }))
      assert.strictEqual(error._tag, "ParseError")
      assert.isEmpty((yield* (yield* manager).runs()).items) // nothing was stored
    })
  )

  it.effect("QueueFullError", () =>
    Effect.gen(function* () {
      const Narrow = Task.make("Narrow", { maxQueued: 2 })
      yield* Narrow.queueAll([undefined, undefined])
      const error = yield* Effect.flip(Narrow.queue())
      assert.deepInclude(error, { _tag: "QueueFull" })
      assert.lengthOf((yield* (yield* manager).runs()).items, 2)
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("trace propagation", () =>
    Effect.gen(function* () {
      const Traced = Task.make("Traced", { success: Schema.String })
      const traceId = Effect.map(Effect.orDie(Effect.currentSpan), (span) => span.traceId)
      yield* Effect.gen(function* () {
        const [run, expected] = yield* Effect.withSpan(Effect.all([Traced.queue(), traceId] as const), "request")
        yield* TaskTest.drain()
        assert.strictEqual(yield* run.await, expected)
      }).pipe(Effect.provide(kit(TaskGroup.make(Traced), { Traced: () => traceId })))
    })
  )
})

describe("records", () => {
  it.effect("TaskStatus", () =>
    Effect.sync(() =>
      assert.includeMembers(
        [...TaskState.all],
        ["queued", "running", "success", "failure", "interrupted", "cancelled", "rejected"]
      )
    )
  )

  row("TaskRecord", () =>
    Effect.gen(function* () {
      const run = yield* Flaky.queue({ until: 2 }, { tags: ["t"], priority: 3 })
      yield* TaskTest.drain({ scheduled: true })
      const record = yield* run.poll
      assert.deepInclude(record, {
        id: run.id,
        task: "Flaky",
        state: "success",
        payload: { until: 2 },
        createdAt: 0,
        startedAt: 1_000,
        endedAt: 1_000,
        attempt: 1,
        priority: 3,
        queue: "default",
        idempotencyKey: null
      })
      const [first] = record.attempts
      assert.strictEqual(first?.outcome._tag, "Failure")
      assert.include(first?.outcome._tag === "Failure" ? first.outcome.cause : "", "Oops") // with its stack
    })
  )

  row("task_log(message, level, **extra)", () =>
    Effect.gen(function* () {
      const Logs = Task.make("Logs")
      const handler = Effect.annotateLogs(Effect.logWarning("half full"), { disk: "/data" })
      yield* Effect.gen(function* () {
        const run = yield* Logs.queue()
        yield* TaskTest.drain()
        const lines = yield* (yield* manager).logs(run.id)
        assert.deepStrictEqual(
          lines.map(({ annotations, attempt, level, message }) => ({ annotations, attempt, level, message })),
          [{ annotations: { disk: "/data" }, attempt: 1, level: "WARN", message: "half full" }]
        )
      }).pipe(Effect.provide(kit(TaskGroup.make(Logs), { Logs: () => handler })))
    })
  )

  it.effect("get_task_context()", () =>
    Effect.gen(function* () {
      const Look = Task.make("Look", { success: Schema.Unknown, tags: ["here"] })
      const handler = Effect.map(CurrentRun.CurrentRun, ({ attempt, id, tags, task }) => ({ attempt, id, tags, task }))
      yield* Effect.gen(function* () {
        const run = yield* Look.queue()
        yield* TaskTest.drain()
        assert.deepStrictEqual(yield* run.await, { attempt: 1, id: run.id, tags: ["here"], task: "Look" })
      }).pipe(Effect.provide(kit(TaskGroup.make(Look), { Look: () => handler })))
    })
  )

  it.effect("TaskObserver(min_level)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const strict: TaskLogger.Observer = {
        name: "strict",
        minLevel: LogLevel.Warning,
        onLine: ({ message }) => Effect.sync(() => seen.push(message))
      }
      const Both = Task.make("Both")
      const Main = TaskConsumer.layer(TaskGroup.make(Both), { grace: 0 }).pipe(
        Layer.provide(Both.toLayer(() => Effect.zipRight(Effect.log("fine"), Effect.logError("not fine")))),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(TaskLogger.layer(strict)),
        Layer.provide(Backend.layerMemory)
      )
      yield* Effect.provide(Both.queueAndWait(), Main)
      assert.deepStrictEqual(seen, ["not fine"])
    })
  )

  row("LogEvent", () =>
    Effect.gen(function* () {
      const lines = yield* TaskEvents.lines({ task: "Talk" }).pipe(Stream.take(1), Stream.runCollect, Effect.fork)
      yield* TaskTest.drain()
      const run = yield* Talk.queue({ text: "live" })
      yield* TaskTest.drain()
      const [line] = [...(yield* Fiber.join(lines))]
      assert.deepInclude(line, { runId: run.id, attempt: 1, level: "INFO", message: "live", seq: 0 })
    })
  )

  row("LifecycleEvent", () =>
    Effect.gen(function* () {
      const events: Array<TaskEvent.TaskEvent> = []
      yield* TaskEvents.on("all", (event) => Effect.sync(() => events.push(event)))
      yield* Flaky.queue({ until: 2 })
      yield* TaskTest.drain({ scheduled: true })
      // each retry is told of
      assert.deepStrictEqual(
        events.map(({ at, previous, state }) => [previous, state, at]),
        [
          [null, "init", 0],
          ["init", "queued", 0],
          ["queued", "running", 0],
          ["running", "scheduled", 0],
          ["scheduled", "queued", 1_000],
          ["queued", "running", 1_000],
          ["running", "success", 1_000]
        ]
      )
    })
  )

  it.effect("StdoutLogger", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(
        ({ logLevel, message }) => void lines.push(`${logLevel.label} ${message}`)
      )
      const Main = TaskConsumer.layer(all, { grace: 0 }).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(TaskLogger.layer(TaskLogger.console)),
        Layer.provide(Backend.layerMemory),
        Layer.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      yield* Effect.provide(Effect.exit(Refuse.queueAndWait({ code: 1 })), Main)
      assert.include(lines, "WARN Refuse failure")
    })
  )

  it.effect("InMemoryLogger", () =>
    Effect.gen(function* () {
      const memory = yield* TaskLogger.memory()
      const Main = TaskConsumer.layer(all, { grace: 0 }).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(TaskLogger.layer(memory)),
        Layer.provide(Backend.layerMemory),
        Layer.provide(Logger.remove(Logger.defaultLogger))
      )
      yield* Effect.provide(Talk.queueAndWait({ text: "hello" }), Main)
      assert.deepStrictEqual(
        (yield* memory.events).map(({ state }) => state),
        ["init", "queued", "running", "success"]
      )
      assert.deepStrictEqual(
        (yield* memory.lines).map(({ message }) => message),
        ["hello"]
      )
      yield* memory.clear
      assert.deepStrictEqual([yield* memory.events, yield* memory.lines], [[], []])
    })
  )

  it.effect("LoggerChain", () =>
    Effect.gen(function* () {
      const names = Effect.map(TaskLogger.TaskLogger, (observers) => observers.map(({ name }) => name))
      const Both = TaskLogger.layer({ name: "second" }).pipe(Layer.provideMerge(TaskLogger.layer({ name: "first" })))
      assert.deepStrictEqual(yield* Effect.provide(names, Both), ["first", "second"])
    })
  )

  it.scoped("SnapshotBackend", () =>
    Effect.gen(function* () {
      // whoever writes a backend makes these two services, or changes those of another
      const stored: Array<string> = []
      const Mine = Backend.layer(
        Effect.gen(function* () {
          const memory = yield* Layer.build(Backend.layerMemory)
          const store = Context.get(memory, Store.Store)
          const noting: typeof store = {
            ...store,
            record: (runs) => {
              stored.push(...runs.map(({ run }) => run.state))
              return store.record(runs)
            }
          }
          return { broker: Context.get(memory, Broker.Broker), store: noting }
        })
      )
      const Main = handlers.pipe(Layer.provideMerge(TaskManager.layer), Layer.provide(Mine))
      yield* Effect.provide(Add.execute({ a: 1, b: 2 }), Main)
      assert.deepStrictEqual(stored, ["success"])
    })
  )
})

describe("what the HTTP endpoints do, as calls of the manager", () => {
  row("GET /tasks/metrics", () =>
    Effect.gen(function* () {
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* Effect.exit(Refuse.queueAndWait({ code: 1 }))
      assert.deepInclude(yield* (yield* manager).counts(), { success: 1, failure: 1, running: 0, queued: 0 })
      assert.deepInclude(yield* (yield* manager).counts({ task: "Add" }), { success: 1, failure: 0 })
    })
  )

  row("POST /tasks/{id}/retry", () =>
    Effect.gen(function* () {
      const { get, retry } = yield* manager
      const waiting = yield* Add.queue({ a: 1, b: 2 }, { delay: "1 hour" })
      assert.strictEqual((yield* Effect.flip(retry(waiting.id)))._tag, "RunNotFinished")
      const run = yield* Refuse.queue({ code: 1 })
      yield* TaskTest.drain()
      assert.deepInclude(yield* get(yield* retry(run.id)), { state: "queued", payload: { code: 1 }, retryOf: run.id })
    })
  )

  row("POST /tasks/{id}/cancel", () =>
    Effect.gen(function* () {
      const waiting = yield* Add.queue({ a: 1, b: 2 }, { delay: "1 hour" })
      const running = yield* Slow.queue({ seconds: 60 })
      yield* TaskTest.drain()
      assert.strictEqual(yield* waiting.cancel("not needed"), "cancelled")
      assert.strictEqual(yield* running.cancel("not needed"), "requested")
      yield* TaskTest.drain()
      assert.deepStrictEqual([(yield* waiting.poll).state, (yield* running.poll).state], ["cancelled", "cancelled"])
      assert.strictEqual(yield* running.cancel(), "ended")
    })
  )

  row("POST /tasks/bulk-retry", () =>
    Effect.gen(function* () {
      const { retry } = yield* manager
      const failed = yield* Refuse.queue({ code: 1 })
      const fine = yield* Add.queue({ a: 1, b: 2 }, { delay: "1 hour" })
      yield* TaskTest.drain()
      const [first, second] = yield* Effect.forEach([failed.id, fine.id], (id) => Effect.exit(retry(id)))
      assert.deepStrictEqual([Exit.isSuccess(first!), Exit.isSuccess(second!)], [true, false])
    })
  )

  row("POST /tasks/retry-failed", () =>
    Effect.gen(function* () {
      yield* Refuse.queueAll([{ code: 1 }, { code: 2 }])
      yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      const { retryAll } = yield* manager
      assert.strictEqual(yield* retryAll({ task: "Refuse", state: ["failure"], createdFrom: 0 }), 2)
      assert.strictEqual(yield* retryAll({ task: "Add" }), 0) // a success is not repeated
    })
  )

  row("DELETE /tasks/history", () =>
    Effect.gen(function* () {
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* TaskTest.advance("2 hours")
      yield* Add.queueAndWait({ a: 1, b: 2 })
      const running = yield* Slow.queue({ seconds: 1 })
      yield* TaskTest.drain()
      const { count, purge } = yield* manager
      assert.strictEqual(yield* purge({ endedBefore: 3_600_000 }), 1)
      assert.strictEqual(yield* purge({}), 1)
      assert.strictEqual(yield* count({}), 1) // what has not ended is never removed
      assert.strictEqual((yield* running.poll).state, "running")
      yield* TaskTest.drain({ scheduled: true })
    })
  )
})

// one thread and one process for all of them
layer(elsewhere({ grace: "50 millis", process: { killAfter: "100 millis" } }), { excludeTestServices: true })(
  "executors",
  (it) => {
    it.effect("executor", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(
          [Add, InThread, InProcess].map(({ executor }) => executor),
          ["inline", "thread", "process"]
        )
        const thread = (yield* perform(InThread, { _tag: "Facts" })) as Facts
        const child = (yield* perform(InProcess, { _tag: "Facts" })) as Facts
        assert.deepStrictEqual([thread.pid === process.pid, thread.isMainThread], [true, false])
        assert.deepStrictEqual([child.pid === process.pid, child.isMainThread], [false, true])
      })
    )

    it.effect("max_sync_threads", () =>
      Effect.gen(function* () {
        const first = yield* InThread.queue({ deed: { _tag: "Wait" } })
        yield* begun(first)
        const second = yield* InThread.queue({ deed: { _tag: "Facts" } })
        yield* perform(InProcess, { _tag: "Facts" }) // meanwhile a second thread would have performed it
        assert.isNull((yield* second.poll).endedAt)
        yield* first.cancel()
        yield* second.awaitFor("30 seconds")
      })
    )

    it.effect("max_process_workers and process_shutdown_timeout", () =>
      Effect.gen(function* () {
        const marks = yield* temporaryFile
        const run = yield* InProcess.queue({ deed: { _tag: "Hang", file: marks } }) // it ignores SIGTERM
        const pid = yield* begun(run)
        assert.isTrue(isAlive(pid))
        yield* run.cancel()
        assert.deepInclude(yield* Effect.flip(run.awaitFor("30 seconds")), { _tag: "TaskCancelled" })
        assert.isFalse(isAlive(pid))
      }).pipe(Effect.scoped)
    )
  }
)

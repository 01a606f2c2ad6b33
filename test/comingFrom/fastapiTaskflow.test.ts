/* What people know from fastapi-taskflow, row by row as `docs/coming-from.md` lists it. */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Broker,
  CurrentRun,
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
  TaskState,
  TaskTest
} from "@effect-tasks/core"
import { type Retention, SqliteBackend } from "@effect-tasks/sql"
import { Context, Duration, Effect, Exit, Fiber, Layer, Logger, LogLevel, Schedule, Schema, Stream } from "effect"
import { rules } from "../../packages/sql/src/internal/retention.js"
import * as sqlite from "../../packages/sql/src/internal/sqlite/backend.js"
import * as Transactions from "../../packages/sql/src/internal/transactions.js"
import { encodedAs } from "../conformance/encoded.js"
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
  started,
  Talk,
  temporaryFile,
  worker
} from "./setup.js"

const manager = TaskManager.TaskManager

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

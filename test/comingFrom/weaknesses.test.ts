/* Where the systems that people come from are weak, and what happens here instead: the second part of each section of `docs/coming-from.md`. */
import fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  CurrentRun,
  PayloadCipher,
  RetryPolicy,
  Store,
  Task,
  TaskConsumer,
  TaskEvents,
  TaskGroup,
  TaskManager,
  type TaskRun,
  TaskSchedule,
  TaskScheduler,
  TaskTest
} from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Context, Effect, Layer, Metric, Option, Schema, TestClock } from "effect"
import { InThread } from "../executor/tasks.js"
import { quietly } from "../fixtures/logging.js"
import { begun, elsewhere, type Facts, perform } from "./executors.js"
import {
  Add,
  becomes,
  eventually,
  Flaky,
  handlers,
  kit,
  mortal,
  Oops,
  open,
  producer,
  Refuse,
  row,
  Slow,
  scheduling,
  started,
  statesOf,
  Talk,
  temporaryFile,
  worker
} from "./setup.js"

const manager = TaskManager.TaskManager

const handle = <T extends Task.Any>(task: T, id: TaskRun.RunId) =>
  Effect.map(manager, (manager) => manager.handle(task, id))

/** A process that dies while it performs one run and another waits, and what the next process finds. */
const afterKill = Effect.gen(function* () {
  const filename = yield* temporaryFile
  const dying = yield* mortal(SqliteBackend.layer({ filename }))
  const running = yield* Effect.provide(started(Slow.queue({ seconds: 3_600 })), dying.context)
  const waiting = yield* Effect.provide(Add.queue({ a: 1, b: 2 }, { delay: "20 millis" }), dying.context)
  yield* dying.kill
  yield* TestClock.adjust("31 seconds") // its lease has ended
  const { context } = yield* open(worker(filename))
  const [taken, performed] = yield* Effect.provide(
    Effect.all([handle(Slow, running.id), handle(Add, waiting.id)] as const),
    context
  )
  return { taken, performed, get: Context.get(context, manager).get }
})

const takenOver = <E, R>(poll: Effect.Effect<TaskRun.TaskRun, E, R>) =>
  eventually(poll, ({ crashes, state }) => crashes === 1 && state === "running")

/** The ticks, in seconds, for which a task's schedule has queued runs. */
const ticksOf = (task: Task.Any) =>
  Effect.map(TaskTest.queued(task), (runs) =>
    runs
      .flatMap(({ tags }) => tags.filter((tag) => tag.startsWith("tick:")))
      .map((tag) => Date.parse(tag.slice("tick:".length)) / 1_000)
      .sort((a, b) => a - b)
  )

/** A consumer of one task with a retry policy. */
const failing = (policy: RetryPolicy.Options<Task.Failure<Oops>>, code = 1) => {
  const task = Task.make("Failing", { error: Oops, retry: RetryPolicy.make(policy) })
  return { task, Main: kit(TaskGroup.make(task), { Failing: () => new Oops({ code }) }) }
}

describe("aio-fluid", () => {
  it.scoped("A crash loses the run, and its record stays running", () =>
    Effect.gen(function* () {
      const { get, taken } = yield* afterKill
      const again = yield* takenOver(get(taken.id))
      assert.strictEqual(again.attempt, 0)
      assert.deepStrictEqual(
        again.attempts.map(({ outcome }) => outcome._tag),
        ["Crashed"]
      )
    })
  )

  it.scopedLive("An interrupted run is not queued again", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const first = yield* open(worker(filename))
      const { id } = yield* Effect.provide(started(Slow.queue({ seconds: 3_600 })), first.context)
      yield* first.close
      const between = yield* open(producer(filename))
      assert.strictEqual((yield* Context.get(between.context, manager).get(id)).state, "queued")
      const second = yield* open(worker(filename))
      yield* becomes(Context.get(second.context, manager).handle(Slow, id), "running")
    })
  )

  it.scopedLive("A delayed retry is lost with the process", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const first = yield* open(worker(filename))
      const run = yield* Effect.provide(Flaky.queue({ until: 2 }), first.context)
      yield* becomes(run, "scheduled")
      yield* first.close
      const second = yield* open(worker(filename))
      const again = Context.get(second.context, manager).handle(Flaky, run.id)
      assert.strictEqual(yield* again.awaitFor("10 seconds"), 2)
    })
  )

  it.effect("Timeouts are never retried", () =>
    Effect.gen(function* () {
      const Stalls = Task.make("Stalls", {
        success: Schema.Number,
        timeout: "1 minute",
        retry: RetryPolicy.make({ retries: 1, delay: "1 second" })
      })
      const handler = Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
        attempt === 1 ? Effect.never : Effect.succeed(attempt)
      )
      yield* Effect.gen(function* () {
        const run = yield* Stalls.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.strictEqual(yield* run.await, 2)
        assert.strictEqual((yield* run.poll).attempts[0]?.outcome._tag, "Timeout")
      }).pipe(Effect.provide(kit(TaskGroup.make(Stalls), { Stalls: () => handler })))
    })
  )

  row("A failing event handler breaks queueing, the run, or later events", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TaskEvents.on("all", () => Effect.die("a handler that always dies"))
      yield* TaskEvents.on("all", ({ state }) =>
        Effect.zipRight(
          Effect.sync(() => seen.push(state)),
          Effect.fail("a handler that always fails")
        )
      )
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.strictEqual(yield* run.await, 3)
      assert.deepStrictEqual(seen, ["init", "queued", "running", "success"])
    })
  )

  it.effect("A timeout leaves the run running", () =>
    Effect.gen(function* () {
      const Stalls = Task.make("Stalls", { timeout: "1 minute" })
      yield* Effect.gen(function* () {
        const run = yield* Stalls.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepInclude(yield* run.poll, { state: "failure", startedAt: 0, endedAt: 60_000 })
      }).pipe(Effect.provide(kit(TaskGroup.make(Stalls), { Stalls: () => Effect.never })))
    })
  )

  it.effect("A retry or a limited run waits for at least five seconds", () =>
    Effect.gen(function* () {
      const { Main, task } = failing({ retries: 2, delay: "10 millis" })
      const Alone = Task.make("Alone", { maxConcurrency: 1 })
      yield* Effect.gen(function* () {
        const run = yield* task.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.strictEqual((yield* run.poll).endedAt, 20)
      }).pipe(Effect.provide(Main))
      yield* Effect.gen(function* () {
        const runs = yield* Effect.replicateEffect(Alone.queue(), 3)
        const [first] = runs
        yield* TaskTest.drain({ scheduled: true })
        const spent = yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ endedAt }) => endedAt))
        const begun = (yield* first!.poll).createdAt
        assert.deepStrictEqual(
          spent.map((at) => at! - begun),
          [5, 10, 15]
        )
      }).pipe(Effect.provide(kit(TaskGroup.make(Alone), { Alone: () => Effect.sleep("5 millis") })))
    })
  )

  it.effect("Low priority starves", () =>
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
        yield* TaskTest.advance("19 minutes")
        yield* Talk.queue({ text: "high, in time" }, { priority: "high" })
        yield* TaskTest.advance("2 minutes")
        yield* Talk.queue({ text: "high, too late" }, { priority: "high" })
        yield* resume({ task: "Talk" })
        yield* TaskTest.drain()
      }).pipe(Effect.provide(Main))
      assert.deepStrictEqual(order, ["high, in time", "low", "high, too late"])
    })
  )

  it.effect("Queue lengths are given under the wrong names", () =>
    Effect.gen(function* () {
      yield* Talk.queueAll([{ text: "a" }, { text: "b" }], { queue: "second" })
      yield* Talk.queue({ text: "c" }, { queue: "first" })
      const { counts } = yield* manager
      const queued = yield* Effect.forEach(["first", "second"], (queue) =>
        Effect.map(counts({ queue }), ({ queued }) => queued)
      )
      assert.deepStrictEqual(queued, [1, 2])
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("Several schedulers fire twice, a restart fires again, missed firings are forgotten", () =>
    Effect.gen(function* () {
      const Tick = Task.make("Tick", {
        schedule: TaskSchedule.every("10 seconds", { catchUp: "all", overlap: "allow" })
      })
      const start = TaskScheduler.make(TaskGroup.make(Tick))
      const firedAt = Effect.map(TaskTest.queued(Tick), (runs) => runs.map(({ createdAt }) => createdAt / 1_000))
      yield* Effect.gen(function* () {
        yield* Effect.scoped(Effect.zipRight(Effect.all([start, start]), TaskTest.advance("20 seconds")))
        assert.deepStrictEqual(yield* firedAt, [10, 20])
        yield* Effect.scoped(Effect.zipRight(start, TaskTest.advance("5 seconds")))
        assert.deepStrictEqual(yield* firedAt, [10, 20]) // a restart fires nothing again
        yield* TaskTest.advance("30 seconds") // nobody is there
        yield* Effect.scoped(Effect.zipRight(start, TaskTest.advance("1 second")))
        assert.deepStrictEqual(yield* firedAt, [10, 20, 55, 55, 55]) // what was missed is fired later
        assert.deepStrictEqual(yield* ticksOf(Tick), [10, 20, 30, 40, 50])
      }).pipe(Effect.provide(TaskTest.layer))
    })
  )

  row("A run cannot be cancelled", () =>
    Effect.gen(function* () {
      const run = yield* Slow.queue({ seconds: 60 })
      yield* TaskTest.drain()
      assert.strictEqual(yield* run.cancel("enough"), "requested")
      yield* TaskTest.drain()
      assert.deepInclude(yield* run.poll, { state: "cancelled", outcome: { _tag: "Cancelled", reason: "enough" } })
    })
  )

  row("Runs can only be listed with a database", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 })
      const { items } = yield* (yield* manager).runs({ task: "Add" }) // in memory
      assert.deepStrictEqual(
        items.map(({ id }) => id),
        [run.id]
      )
    })
  )

  row("Neither logs nor results are kept", () =>
    Effect.gen(function* () {
      const sum = yield* Add.queue({ a: 1, b: 2 })
      const talk = yield* Talk.queue({ text: "kept" })
      yield* TaskTest.drain()
      const { get, logs } = yield* manager
      assert.deepStrictEqual((yield* get(sum.id)).outcome, { _tag: "Success", value: 3 })
      assert.deepStrictEqual(
        (yield* logs(talk.id)).map(({ message }) => message),
        ["kept"]
      )
    })
  )

  row("There is no idempotency key", () =>
    Effect.gen(function* () {
      const both = yield* Effect.all(
        [Talk, Talk].map((task) => task.queue({ text: "x" }, { idempotencyKey: "k" })),
        {
          concurrency: 2
        }
      )
      assert.deepStrictEqual(both.map(({ existing }) => existing).sort(), [false, true])
      assert.strictEqual(both[0]!.id, both[1]!.id)
    })
  )

  row("There are no metrics", () =>
    Effect.gen(function* () {
      yield* Add.queueAndWait({ a: 1, b: 2 })
      const names = new Set((yield* Metric.snapshot).map(({ metricKey }) => metricKey.name))
      assert.isAbove([...names].filter((name) => name.startsWith("effect_tasks_")).length, 3)
    })
  )

  row("Idle workers ask again and again", () =>
    Effect.gen(function* () {
      yield* TaskTest.drain()
      const { calls } = yield* TaskTest.Recorded
      const before = (yield* calls).made
      yield* TaskTest.advance("10 minutes")
      // leases and the consumer's record are kept alive; nobody asks for work that is not there
      assert.isBelow((yield* calls).made - before, 200)
    })
  )

  it.effect("Retries overwrite the history", () =>
    Effect.gen(function* () {
      const { Main, task } = failing({ retries: 2, delay: "1 second" }, 7)
      yield* Effect.gen(function* () {
        const run = yield* task.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepStrictEqual(
          (yield* run.poll).attempts.map(({ endedAt, number, outcome }) => [number, endedAt, outcome._tag]),
          [
            [1, 0, "Failure"],
            [2, 1_000, "Failure"],
            [3, 2_000, "Failure"]
          ]
        )
        assert.strictEqual((yield* Effect.flip(run.await))._tag, "Oops") // the last error, typed
      }).pipe(Effect.provide(Main))
    })
  )

  it.effect("Pages repeat or lose runs of the same moment", () =>
    Effect.gen(function* () {
      const queued = yield* Talk.queueAll(Array.from({ length: 25 }, (_, i) => ({ text: `${i}` })))
      const { runs } = yield* manager
      const seen: Array<string> = []
      let page = yield* runs({ limit: 10 })
      seen.push(...page.items.map(({ id }) => id))
      while (page.next !== null) {
        page = yield* runs({ limit: 10, before: page.next })
        seen.push(...page.items.map(({ id }) => id))
      }
      assert.deepStrictEqual(seen, queued.map(({ id }) => id as string).reverse())
    }).pipe(Effect.provide(TaskTest.layer))
  )
})

describe("fastapi-taskflow", () => {
  it.effect("A cancelled pending task runs all the same", () =>
    Effect.gen(function* () {
      const performed: Array<string> = []
      const Main = kit(
        TaskGroup.make(Talk),
        {
          Talk: ({ text }) =>
            Effect.zipRight(
              Effect.sleep("1 second"),
              Effect.sync(() => void performed.push(text))
            )
        },
        { maxConcurrentTasks: 1 }
      )
      yield* Effect.gen(function* () {
        const [, second] = yield* Talk.queueAll([{ text: "first" }, { text: "second" }])
        yield* TaskTest.drain()
        assert.strictEqual(yield* second!.cancel(), "cancelled")
        yield* TaskTest.drain({ scheduled: true })
        assert.strictEqual((yield* second!.poll).state, "cancelled")
        assert.notInclude(yield* statesOf(second!), "success")
      }).pipe(Effect.provide(Main))
      assert.deepStrictEqual(performed, ["first"])
    })
  )

  it.scopedLive("Repeating an encrypted task calls it without arguments", () =>
    Effect.gen(function* () {
      const memory = yield* Layer.build(Backend.layerMemory)
      const heard: Array<string> = []
      const Pay = Task.make("Pay", { payload: { card: Schema.String }, error: Oops })
      const Main = TaskConsumer.layer(TaskGroup.make(Pay), { grace: 0 }).pipe(
        Layer.provide(
          Pay.toLayer(({ card }) =>
            Effect.zipRight(
              Effect.sync(() => heard.push(card)),
              new Oops({ code: 1 })
            )
          )
        ),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(PayloadCipher.layer({ keys: [{ id: "one", key: yield* PayloadCipher.generateKey }] })),
        Layer.provide(Layer.succeedContext(memory))
      )
      const ids = yield* Effect.gen(function* () {
        const run = yield* Pay.queue({ card: "4111" })
        yield* Effect.exit(run.awaitFor("10 seconds"))
        const again = yield* (yield* manager).retry(run.id)
        yield* Effect.exit((yield* Pay.handle(again)).awaitFor("10 seconds"))
        return [run.id, again]
      }).pipe(Effect.provide(Main))
      assert.deepStrictEqual(heard, ["4111", "4111"])
      const payloads = (yield* Context.get(memory, Store.Store).get(ids)).flatMap(
        Option.match({ onNone: () => [], onSome: ({ payload }) => [payload] })
      )
      // what is repeated was encrypted anew, for its own run
      assert.isTrue(payloads.every((payload) => !payload.includes("4111")))
      assert.lengthOf(new Set(payloads), 2)
    })
  )

  it.scopedLive("A task with another name than its function is not found again", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const sendWelcome = Task.make("emails/welcome", { payload: { to: Schema.String }, success: Schema.String })
      const group = TaskGroup.make(sendWelcome)
      const { id } = yield* Effect.provide(sendWelcome.queue({ to: "ada" }), producer(filename))
      const { context } = yield* open(
        TaskConsumer.layer(group, { grace: 0 }).pipe(
          Layer.provide(sendWelcome.toLayer(({ to }) => Effect.succeed(to))),
          Layer.provideMerge(producer(filename))
        )
      )
      const { handle, retry } = Context.get(context, manager)
      assert.strictEqual(yield* handle(sendWelcome, id).awaitFor("10 seconds"), "ada")
      assert.strictEqual(yield* handle(sendWelcome, yield* retry(id)).awaitFor("10 seconds"), "ada")
    })
  )

  it.scopedLive("Arguments that JSON does not know come back as text", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const fields = {
        when: Schema.Date,
        big: Schema.BigInt,
        seats: Schema.ReadonlyMap({ key: Schema.String, value: Schema.Number })
      }
      const Book = Task.make("Book", { payload: fields, success: Schema.Struct(fields) })
      const payload = { when: new Date(1e12), big: 12345678901234567890n, seats: new Map([["a", 1]]) }
      const { id } = yield* Effect.provide(Book.queue(payload), producer(filename))
      const { context } = yield* open(
        TaskConsumer.layer(TaskGroup.make(Book), { grace: 0 }).pipe(
          Layer.provide(Book.toLayer(Effect.succeed)),
          Layer.provideMerge(producer(filename))
        )
      )
      assert.deepStrictEqual(yield* Context.get(context, manager).handle(Book, id).awaitFor("10 seconds"), payload)
    })
  )

  it.scoped("A hard kill loses pending and running tasks", () =>
    Effect.gen(function* () {
      const { get, performed, taken } = yield* afterKill
      assert.strictEqual(yield* performed.awaitFor("10 seconds"), 3)
      assert.strictEqual((yield* takenOver(get(taken.id))).state, "running")
    })
  )

  it.scoped("Failures since the last flush vanish", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const dying = yield* mortal(SqliteBackend.layer({ filename }))
      const run = yield* Effect.provide(Refuse.queue({ code: 3 }), dying.context)
      yield* Effect.exit(run.awaitFor("10 seconds"))
      yield* dying.kill
      const { context } = yield* open(producer(filename))
      assert.strictEqual((yield* Context.get(context, manager).get(run.id)).state, "failure")
    })
  )

  row("A task that waits for its retry cannot be cancelled", () =>
    Effect.gen(function* () {
      const run = yield* Flaky.queue({ until: 2 })
      yield* TaskTest.drain()
      assert.strictEqual((yield* run.poll).state, "scheduled")
      assert.strictEqual(yield* run.cancel(), "cancelled")
      yield* TaskTest.drain({ scheduled: true })
      assert.deepInclude(yield* run.poll, { state: "cancelled", attempt: 1 })
    })
  )

  it.scopedLive("A cancelled function goes on in its thread", () =>
    Effect.gen(function* () {
      const marks = yield* temporaryFile
      const run = yield* InThread.queue({ deed: { _tag: "Spin", file: marks } }) // it never gives way
      const thread = yield* begun(run)
      // it is at it when it has left its first mark
      const isAtIt = Effect.delay(
        Effect.sync(() => fs.existsSync(marks)),
        "5 millis"
      )
      yield* Effect.repeat(isAtIt, { until: (begun) => begun })
      yield* run.cancel()
      yield* Effect.exit(run.awaitFor("30 seconds"))
      assert.strictEqual((yield* run.poll).state, "cancelled")
      const written = fs.statSync(marks).size
      const { threadId } = (yield* perform(InThread, { _tag: "Facts" })) as Facts
      assert.notStrictEqual(threadId, thread) // another one has taken its place
      assert.strictEqual(fs.statSync(marks).size, written)
    }).pipe(Effect.provide(elsewhere({ grace: "50 millis" })))
  )

  it.scopedLive("A second instance that stops wipes what the first has saved", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const ids = []
      for (const process of [yield* open(worker(filename)), yield* open(worker(filename))]) {
        const { id } = yield* Effect.provide(started(Slow.queue({ seconds: 3_600 })), process.context)
        ids.push(id)
        yield* process.close
      }
      const { context } = yield* open(producer(filename))
      const { items } = yield* Context.get(context, manager).runs({ state: ["queued"] })
      assert.deepStrictEqual(items.map(({ id }) => id).sort(), ids.sort())
    })
  )

  it.effect("Schedules of equal names block each other, overlap and drift", () =>
    Effect.gen(function* () {
      const tick = (overlap: TaskSchedule.Overlap) => TaskSchedule.every("10 seconds", { overlap })
      const Long = Task.make("Long", { schedule: tick("skip") })
      const Late = Task.make("Late", { schedule: tick("allow") })
      const group = TaskGroup.make(Long, Late)
      const handlers = { Long: () => Effect.sleep("15 seconds"), Late: () => Effect.sleep("3333 millis") }
      yield* Effect.gen(function* () {
        const scheduler = yield* TaskScheduler.TaskScheduler
        const taken = yield* Effect.flip(scheduler.add("Late", { task: Late, schedule: tick("skip") }))
        assert.strictEqual(taken._tag, "ScheduleExists")
        yield* TaskTest.advance("60 seconds")
        assert.deepStrictEqual(yield* ticksOf(Long), [10, 30, 50]) // never beside one that goes on
        assert.deepStrictEqual(yield* ticksOf(Late), [10, 20, 30, 40, 50, 60]) // on the grid, however late a run ends
      }).pipe(Effect.provide(scheduling(group, handlers)), quietly)
    })
  )

  it.effect("The store grows without bound", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(Array.from({ length: 20 }), () => Add.execute({ a: 1, b: 2 }))
      assert.lengthOf((yield* (yield* manager).runs()).items, 5)
    }).pipe(
      Effect.provide(
        handlers.pipe(Layer.provideMerge(TaskManager.layer), Layer.provide(Backend.layerMemoryWith({ keepEnded: 5 })))
      )
    )
  )

  it.effect("A list has no pages", () =>
    Effect.gen(function* () {
      yield* Talk.queueAll(Array.from({ length: 60 }, (_, i) => ({ text: `${i}` })))
      const { runs } = yield* manager
      const first = yield* runs()
      assert.lengthOf(first.items, 50)
      const rest = yield* runs({ before: first.next! })
      assert.lengthOf(rest.items, 10)
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("A limit that is changed while tasks run is exceeded", () =>
    Effect.gen(function* () {
      const wide = Task.make("Limited", { maxConcurrency: 2 })
      const narrow = Task.make("Limited", { maxConcurrency: 1 })
      const consumerOf = (task: typeof wide) =>
        TaskConsumer.make(TaskGroup.make(task), { grace: 0, prefetch: 0 }).pipe(
          Effect.provide(task.toLayer(() => Effect.sleep("1 minute")))
        )
      const old = yield* consumerOf(wide)
      const runs = yield* Effect.replicateEffect(wide.queue(), 3)
      yield* TaskTest.drain()
      yield* old.remove(wide).pipe(Effect.fork) // a deployment replaces the old consumer; what it performs goes on
      yield* consumerOf(narrow)
      yield* TaskTest.drain()
      const { counts } = yield* manager
      assert.strictEqual((yield* counts()).running, 2)
      yield* TaskTest.drain({ scheduled: true })
      const starts = yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ startedAt }) => startedAt))
      assert.deepStrictEqual(starts, [0, 0, 60_000])
    }).pipe(Effect.scoped, Effect.provide(TaskTest.layer))
  )

  it.effect("A bulk retry into a full queue raises half way", () =>
    Effect.gen(function* () {
      const Narrow = Task.make("Narrow", { maxQueued: 2, error: Oops })
      yield* Effect.gen(function* () {
        for (let i = 0; i < 5; i++) {
          yield* Narrow.queue()
          yield* TaskTest.drain()
        }
        const { counts, pause, retryAll } = yield* manager
        yield* pause({ task: "Narrow" })
        assert.strictEqual(yield* retryAll({ task: "Narrow" }), 5) // what was accepted once is accepted again
        assert.strictEqual((yield* counts()).queued, 5)
      }).pipe(Effect.provide(kit(TaskGroup.make(Narrow), { Narrow: () => new Oops({ code: 1 }) })))
    })
  )

  it.effect("A task has no time limit of its own", () =>
    Effect.gen(function* () {
      const Stalls = Task.make("Stalls", { timeout: "5 seconds" })
      yield* Effect.gen(function* () {
        const run = yield* Stalls.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepInclude(yield* Effect.flip(run.await), { _tag: "TaskTimeout", timeoutMillis: 5_000 })
      }).pipe(Effect.provide(kit(TaskGroup.make(Stalls), { Stalls: () => Effect.never })))
    })
  )

  it.effect("Retries know no filter, no jitter and no cap", () =>
    Effect.gen(function* () {
      const { Main, task } = failing({
        retries: 6,
        delay: "1 second",
        backoff: 10,
        maxDelay: "10 seconds",
        jitter: 0.5,
        while: (failure) => failure._tag === "Oops"
      })
      yield* Effect.gen(function* () {
        const run = yield* task.queue()
        yield* TaskTest.drain({ scheduled: true })
        const ends = (yield* run.poll).attempts.map(({ endedAt }) => endedAt)
        const delays = ends.slice(1).map((at, i) => at - ends[i]!)
        assert.lengthOf(delays, 6)
        assert.isTrue(delays.slice(1).every((delay) => delay >= 5_000 && delay <= 15_000))
        assert.isAbove(new Set(delays.slice(1)).size, 1)
      }).pipe(Effect.provide(Main))
      const filtered = failing({ retries: 6, while: (failure) => failure._tag !== "Oops" })
      yield* Effect.gen(function* () {
        const run = yield* filtered.task.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.lengthOf((yield* run.poll).attempts, 1)
      }).pipe(Effect.provide(filtered.Main))
    })
  )

  it.effect("There is no result, no progress and no chain", () =>
    Effect.gen(function* () {
      const Parent = Task.make("Parent", { success: Schema.String })
      const handler = Effect.gen(function* () {
        yield* CurrentRun.progress(0.5, "half way")
        yield* Talk.queue({ text: "child" })
        return "done"
      })
      yield* Effect.gen(function* () {
        const run = yield* Parent.queue()
        yield* TaskTest.drain()
        assert.strictEqual(yield* run.await, "done")
        assert.deepStrictEqual((yield* run.poll).progress, { value: 0.5, message: "half way" })
        const [child] = (yield* (yield* manager).runs({ rootId: run.id, task: "Talk" })).items
        assert.strictEqual(child?.parentId, run.id)
      }).pipe(Effect.provide(kit(TaskGroup.make(Parent), { Parent: () => handler })))
    })
  )

  it.effect("Hooks are not called when the application has a lifespan of its own", () =>
    Effect.gen(function* () {
      // there is no hook: an application is a Layer, and whoever builds it has started and stops all of it
      const steps: Array<string> = []
      const Application = Layer.scopedDiscard(
        Effect.acquireRelease(
          Effect.sync(() => steps.push("begun")),
          () => Effect.sync(() => steps.push("ended"))
        )
      ).pipe(Layer.provideMerge(kit(TaskGroup.make(Add), { Add: ({ a, b }) => Effect.succeed(a + b) })))
      const sum = yield* Effect.provide(
        Effect.zipRight(
          Effect.sync(() => steps.push("at work")),
          Add.queueAndWait({ a: 1, b: 2 })
        ),
        Application
      )
      assert.deepStrictEqual([sum, steps], [3, ["begun", "at work", "ended"]])
    })
  )
})

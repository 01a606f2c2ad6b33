/* What people know from aio-fluid, row by row as `docs/coming-from.md` lists it. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Broker,
  CurrentRun,
  Limit,
  PayloadCipher,
  RetryPolicy,
  Store,
  Task,
  TaskConsumer,
  TaskEvents,
  TaskGroup,
  TaskLock,
  TaskManager,
  TaskPriority,
  type TaskRun,
  TaskSchedule,
  TaskScheduler,
  TaskState,
  TaskTest
} from "@effect-tasks/core"
import { NodeTasks } from "@effect-tasks/node"
import { SqliteBackend } from "@effect-tasks/sql"
import {
  Clock,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Ref,
  Schema,
  Stream,
  TestClock
} from "effect"
import { bundle } from "../executor/bundle.js"
import { InProcess, InThread } from "../executor/tasks.js"
import { startPrograms } from "../fixtures/program.js"
import * as tasks from "../fixtures/tasks.js"
import { layer } from "../sharing.js"
import { elsewhere, type Facts, perform } from "./executors.js"
import {
  Add,
  all,
  Flaky,
  handlers,
  kit,
  Once,
  Oops,
  open,
  Refuse,
  row,
  Slow,
  scheduling,
  statesOf,
  Talk,
  temporaryFile
} from "./setup.js"

/** A service of an application. */
class Counter extends Context.Tag("comingFrom/Counter")<Counter, Ref.Ref<number>>() {
  static readonly layer = Layer.effect(Counter, Ref.make(0))
}

const Count = Task.make("Count", { success: Schema.Number })
const CountLive = Count.toLayer(() =>
  Effect.flatMap(
    Counter,
    Ref.updateAndGet((n) => n + 1)
  )
)

/** A consumer of `Count`, with the service that its handler needs. */
const counting = TaskTest.consumer(TaskGroup.make(Count)).pipe(
  Layer.provide(CountLive),
  Layer.provideMerge(Counter.layer),
  Layer.provideMerge(TaskTest.layer)
)

/** Layers that note when they are opened and closed. */
const noted = (steps: Array<string>, name: string) =>
  Layer.scopedDiscard(
    Effect.acquireRelease(
      Effect.sync(() => steps.push(`${name} opens`)),
      () => Effect.sync(() => steps.push(`${name} closes`))
    )
  )

const environment = (values: Readonly<Record<string, string>>) =>
  ConfigProvider.fromMap(new Map(Object.entries(values)), { pathDelim: "_", seqDelim: "," })

const millis = (run: TaskRun.TaskRun) => [run.createdAt, run.startedAt, run.endedAt]

const manager = TaskManager.TaskManager
const consumer = TaskConsumer.TaskConsumer

describe("TaskManager", () => {
  it.scoped("TaskManager(**config)", () =>
    Effect.gen(function* () {
      const Main = TaskManager.layerWith({ maxPayloadBytes: 20 }).pipe(Layer.provide(Backend.layerMemory))
      const error = yield* Effect.flip(Effect.provide(Talk.queue({ text: "more than twenty bytes" }), Main))
      assert.strictEqual(error._tag, "PayloadTooLarge")
    })
  )

  it.effect("state", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Count.queueAndWait(), 1)
      assert.strictEqual(yield* Count.queueAndWait(), 2)
      assert.strictEqual(yield* Ref.get(yield* Counter), 2)
    }).pipe(Effect.provide(counting))
  )

  it.effect("config", () =>
    Effect.gen(function* () {
      const { grace, maxConcurrentTasks } = yield* NodeTasks.config.consumer
      assert.deepStrictEqual([maxConcurrentTasks, Duration.toSeconds(grace)], [3, 30])
    }).pipe(Effect.withConfigProvider(environment({ EFFECT_TASKS_CONSUMER_CONCURRENCY: "3" })))
  )

  it.effect("deps", () =>
    Effect.gen(function* () {
      // without Counter.layer, the handler's Layer cannot be provided: its requirement says so
      const needs: Layer.Layer<Task.Handler<"Count">, never, Counter> = CountLive
      assert.strictEqual(
        yield* Count.execute().pipe(Effect.provide(needs), Effect.provideService(Counter, yield* Ref.make(41))),
        42
      )
    }).pipe(Effect.provide(TaskTest.layer))
  )

  row("dispatcher", () =>
    Effect.gen(function* () {
      const states = yield* TaskEvents.stream({ task: "Add" }).pipe(
        Stream.take(4),
        Stream.map(({ state }) => state),
        Stream.runCollect,
        Effect.fork
      )
      yield* TestClock.adjust(0)
      yield* Add.queue({ a: 1, b: 2 })
      assert.deepStrictEqual([...(yield* Fiber.join(states))], ["init", "queued", "running", "success"])
    })
  )

  it.effect("broker", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      assert.strictEqual(broker.name, "memory")
      yield* Talk.queue({ text: "x" })
      const [waiting] = yield* (yield* Store.Store).queues
      assert.deepInclude(waiting, { queue: "default", queued: 1 })
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("registry", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(
        [...(yield* TaskGroup.byName(all)).keys()],
        all.tasks.map(({ name }) => name)
      )
      const error = yield* Effect.flip(TaskGroup.byName(TaskGroup.make(Add, Task.make("Add"))))
      assert.deepInclude(error, { _tag: "DuplicateTask", task: "Add" })
    })
  )

  it.scoped("type", () =>
    Effect.gen(function* () {
      const worker = yield* TaskConsumer.make(all, { name: "mailer", grace: 0 })
      assert.match(worker.id, /^mailer-/)
    }).pipe(Effect.provide(handlers.pipe(Layer.provideMerge(TaskTest.layer))))
  )

  it.effect("enter_async_context(cm)", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const Main = TaskTest.consumer(all).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskTest.layer),
        Layer.provideMerge(noted(steps, "second")),
        Layer.provideMerge(noted(steps, "first"))
      )
      yield* Effect.provide(
        Effect.sync(() => steps.push("works")),
        Main
      )
      assert.deepStrictEqual(steps, ["first opens", "second opens", "works", "second closes", "first closes"])
    })
  )

  it.effect("on_shutdown()", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const farewell = Effect.flatMap(consumer, ({ status }) =>
        Effect.addFinalizer(() => Effect.map(status, ({ phase }) => steps.push(`still ${phase}`)))
      )
      const Main = Layer.scopedDiscard(farewell).pipe(
        Layer.provide(TaskTest.consumer(all)),
        Layer.provide(handlers),
        Layer.provide(noted(steps, "connection")),
        Layer.provide(TaskTest.layer)
      )
      yield* Effect.scoped(Layer.build(Main))
      assert.deepStrictEqual(steps, ["connection opens", "still running", "connection closes"])
    })
  )

  row("execute(task, **params)", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Add.execute({ a: 1, b: 2 }), 3)
      assert.deepStrictEqual(yield* Effect.flip(Refuse.execute({ code: 7 })), new Oops({ code: 7 }))
      const { items } = yield* (yield* manager).runs({ state: ["success"] })
      assert.deepStrictEqual(
        items.map(({ attempts, task }) => [task, attempts[0]?.consumer]),
        [["Add", "inline"]]
      )
    })
  )

  it("execute_sync(task, **params)", async () => {
    // one run in a process of its own, which ends with it
    const { killAll, start } = startPrograms(fileURLToPath(new URL("../fixtures/executeTasks.ts", import.meta.url)))
    try {
      const [good, bad] = await Promise.all([start("json").ended(), start("failure").ended()])
      assert.deepStrictEqual([good.code, JSON.parse(good.stdout).text], [0, "hello a"])
      assert.deepStrictEqual([bad.code, bad.stdout], [1, ""])
      assert.match(bad.stderr, /^error: Refused/m)
    } finally {
      killAll()
    }
  })

  it.effect("register_task(task)", () =>
    Effect.gen(function* () {
      const Late = Task.make("Late")
      const worker = yield* consumer
      const run = yield* Late.queue()
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual((yield* run.poll).state, "queued")
      yield* worker.add(TaskGroup.make(Late)).pipe(Effect.provide(Late.toLayer(() => Effect.void)))
      yield* TaskTest.drain()
      assert.strictEqual((yield* run.poll).state, "success")
      assert.deepStrictEqual(
        TaskGroup.make(Add)
          .add(Late)
          .tasks.map(({ name }) => name),
        ["Add", "Late"]
      )
    }).pipe(Effect.provide(kit(TaskGroup.make(Count), { Count: () => Effect.succeed(0) })))
  )

  it.effect("register_from_module(module)", () =>
    Effect.gen(function* () {
      const group = TaskGroup.fromModule(tasks)
      assert.sameMembers(
        group.tasks.map(({ name }) => name),
        ["Greet", "Clean"]
      )
      const Main = kit(group, { Greet: ({ name }) => Effect.succeed(`hello ${name}`), Clean: () => Effect.void })
      assert.strictEqual(yield* Effect.provide(tasks.Greet.queueAndWait({ name: "a" }), Main), "hello a")
    })
  )

  it("register_from_dict(data)", () => {
    // what is no task is left out, and so is a name that begins with _; a task with two names is there once
    const group = TaskGroup.fromModule({ Add, again: Add, _Talk: Talk, retries: 3 })
    assert.deepStrictEqual(group.tasks, [Add])
  })

  row("create_task_run(task, run_id, priority, **params)", () =>
    Effect.gen(function* () {
      const { counts, queueRun, runs } = yield* manager
      const made = yield* Add.createRun({ a: 1, b: 2 }, { priority: "high" })
      assert.deepInclude(made.record, { id: made.id, state: "init", priority: 10 })
      yield* TaskTest.drain()
      assert.deepStrictEqual((yield* runs()).items, [])
      // it is handed over once, however often that is said
      yield* queueRun(made)
      const run = yield* queueRun(made)
      yield* TaskTest.drain()
      assert.deepStrictEqual([run.id, yield* run.await], [made.id, 3])
      assert.deepInclude(yield* counts(), { queued: 0, success: 1 })
    })
  )

  row("queue(task, priority, **params)", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 }, { priority: "high" })
      assert.deepInclude(yield* run.poll, { state: "queued", priority: 10, payload: { a: 1, b: 2 } })
      yield* TaskTest.drain()
      assert.deepStrictEqual(yield* statesOf(run), ["init", "queued", "running", "success"])
      assert.strictEqual(yield* run.await, 3)
    })
  )

  row("register_async_handler(event, handler)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TaskEvents.on("success", ({ run }) => Effect.sync(() => seen.push(`${run.task} ${run.state}`)))
      yield* Add.queue({ a: 1, b: 2 })
      yield* Refuse.queue({ code: 1 })
      yield* TaskTest.drain()
      assert.deepStrictEqual(seen, ["Add success"])
    })
  )

  row("register_async_handler with a tag", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (who: string) => () => Effect.sync(() => seen.push(who))
      yield* TaskEvents.on("success", note("first"), { tag: "mine" })
      yield* TaskEvents.on("success", note("other"), { tag: "other" })
      yield* TaskEvents.on("success", note("second"), { tag: "mine" }) // takes the place of the first
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.deepStrictEqual(seen.sort(), ["other", "second"])
    })
  )

  row("unregister_async_handler(event)", () =>
    Effect.gen(function* () {
      let seen = 0
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* TaskEvents.on("success", () => Effect.sync(() => seen++))
          yield* Add.queue({ a: 1, b: 2 })
          yield* TaskTest.drain()
        })
      )
      yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.strictEqual(seen, 1)
    })
  )

  row("unregister_async_handler with a tag", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (who: string) => () => Effect.sync(() => seen.push(who))
      yield* TaskEvents.on("success", note("mine"), { tag: "mine" })
      yield* TaskEvents.on("success", note("other"), { tag: "other" })
      assert.deepStrictEqual(
        [yield* TaskEvents.off("success", "mine"), yield* TaskEvents.off("success", "mine")],
        [true, false]
      )
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.deepStrictEqual(seen, ["other"])
    })
  )

  it.effect("with_plugin(plugin)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      // a plugin is a Layer over the events of the runtime
      const Plugin = Layer.scopedDiscard(TaskEvents.on("all", ({ state }) => Effect.sync(() => seen.push(state))))
      const Main = Plugin.pipe(Layer.provideMerge(kit(TaskGroup.make(Count), { Count: () => Effect.succeed(1) })))
      yield* Effect.provide(Effect.zipRight(Count.queue(), TaskTest.drain()), Main)
      assert.deepStrictEqual(seen, ["init", "queued", "running", "success"])
    })
  )
})

describe("TaskConsumer", () => {
  it.effect("TaskConsumer(**config)", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Add.queueAndWait({ a: 1, b: 2 }), 3)
    }).pipe(
      Effect.provide(
        TaskConsumer.layer(all, { grace: 0 }).pipe(
          Layer.provide(handlers),
          Layer.provideMerge(TaskManager.layer),
          Layer.provide(Backend.layerMemory)
        )
      )
    )
  )

  it.effect("max_concurrent_tasks", () =>
    Effect.gen(function* () {
      yield* Slow.queueAll(Array.from({ length: 5 }, () => ({ seconds: 1 })))
      yield* TaskTest.drain()
      assert.strictEqual(yield* (yield* consumer).running, 2)
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual(yield* Clock.currentTimeMillis, 3_000)
    }).pipe(
      Effect.provide(kit(TaskGroup.make(Slow), { Slow: () => Effect.sleep("1 second") }, { maxConcurrentTasks: 2 }))
    )
  )

  it.effect("consume_tasks", () =>
    Effect.gen(function* () {
      // a program without a consumer only queues, and needs no handler
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.advance("1 hour")
      assert.strictEqual((yield* run.poll).state, "queued")
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("schedule_tasks", () =>
    Effect.gen(function* () {
      const Tick = Task.make("Tick", { schedule: TaskSchedule.every("20 minutes") })
      const group = TaskGroup.make(Tick)
      const handlers = { Tick: () => Effect.void }
      const firedInAnHour = Effect.zipRight(TaskTest.advance("1 hour"), TaskTest.queued(Tick))
      assert.lengthOf(yield* Effect.provide(firedInAnHour, kit(group, handlers)), 0)
      assert.lengthOf(yield* Effect.provide(firedInAnHour, scheduling(group, handlers)), 3)
    })
  )

  row("sleep_millis", () =>
    Effect.gen(function* () {
      // nothing is asked again and again: a consumer is woken, so no time passes between queueing and the end
      yield* TaskTest.advance("1 hour")
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.deepStrictEqual(millis(yield* run.poll), [3_600_000, 3_600_000, 3_600_000])
    })
  )

  it.scoped("broker_url", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const Tasks = SqliteBackend.layerConfig({ filename: Schema.Config("TASKS_DATABASE", Schema.String) })
      yield* Effect.scoped(Layer.build(Tasks)).pipe(
        Effect.withConfigProvider(environment({ TASKS_DATABASE: filename }))
      )
      assert.isTrue(yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.exists(filename)))
    }).pipe(Effect.provide(NodeContext.layer))
  )

  row("worker_name", () =>
    Effect.gen(function* () {
      const { loops } = yield* (yield* consumer).status
      assert.includeMembers(
        loops.map(({ name }) => name),
        ["exchange", "leases", "presence"]
      )
    })
  )

  row("num_workers", () =>
    Effect.gen(function* () {
      const [record] = yield* (yield* Store.Store).consumers
      assert.deepInclude(record, { maxConcurrentTasks: 10, running: 0 })
    })
  )

  row("running", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      assert.strictEqual((yield* worker.status).phase, "running")
      yield* worker.gracefullyStop
      assert.strictEqual((yield* worker.status).phase, "stopped")
    })
  )

  row("is_running()", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* TaskTest.drain()
      assert.deepStrictEqual([yield* worker.alive, yield* worker.ready], [true, true])
      yield* worker.gracefullyStop
      assert.deepStrictEqual([yield* worker.alive, yield* worker.ready], [false, false])
    })
  )

  it.effect("is_stopping()", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* Slow.queue({ seconds: 5 })
      yield* TaskTest.drain()
      const stopping = yield* Effect.fork(worker.gracefullyStop)
      yield* TaskTest.advance("1 second")
      assert.strictEqual((yield* worker.status).phase, "stopping")
      assert.deepStrictEqual([yield* worker.alive, yield* worker.ready], [true, false])
      yield* TaskTest.advance("4 seconds")
      assert.strictEqual((yield* Fiber.join(stopping)).finished, 1)
    }).pipe(
      Effect.provide(kit(TaskGroup.make(Slow), { Slow: () => Effect.sleep("5 seconds") }, { grace: "30 seconds" }))
    )
  )

  row("status()", () =>
    Effect.gen(function* () {
      yield* Slow.queue({ seconds: 1 })
      yield* TaskTest.drain()
      const status = yield* (yield* consumer).status
      assert.deepInclude(status, { phase: "running", alive: true, ready: true, running: 1, stuck: [] })
      assert.isTrue(status.loops.every(({ failures, state }) => state === "working" && failures === 0))
      yield* TaskTest.drain({ scheduled: true })
    })
  )

  row("num_concurrent_tasks", () =>
    Effect.gen(function* () {
      yield* Slow.queueAll([{ seconds: 1 }, { seconds: 2 }])
      yield* TaskTest.drain()
      assert.strictEqual(yield* (yield* consumer).running, 2)
      yield* TaskTest.advance("1 second")
      assert.strictEqual(yield* (yield* consumer).running, 1)
      yield* TaskTest.advance("1 second")
    })
  )

  row("num_concurrent_tasks_for(task_name)", () =>
    Effect.gen(function* () {
      yield* Slow.queueAll([{ seconds: 1 }, { seconds: 1 }])
      yield* Once.queue({ seconds: 1 })
      yield* TaskTest.drain()
      const worker = yield* consumer
      assert.deepStrictEqual([yield* worker.runningOf(Slow), yield* worker.runningOf(Once)], [2, 1])
      yield* TaskTest.drain({ scheduled: true })
    })
  )

  row("queue_and_wait(task, timeout, **params)", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Add.queueAndWait({ a: 1, b: 2 }), 3)
      assert.deepStrictEqual(yield* Effect.flip(Refuse.queueAndWait({ code: 4 })), new Oops({ code: 4 }))
      const waiting = yield* Effect.fork(Effect.flip(Slow.queueAndWait({ seconds: 60 }, { timeout: "2 seconds" })))
      yield* TaskTest.advance("2 seconds")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "WaitTimeout")
      yield* TaskTest.drain({ scheduled: true })
      const [slow] = yield* TaskTest.ended(Slow)
      assert.strictEqual(slow?.state, "success") // only the wait has ended, the run went on
    })
  )

  row("sync_queue(task)", () =>
    Effect.gen(function* () {
      // code that is no Effect calls a plain function, which returns at once
      const queue = yield* TaskManager.runtimeQueue({ capacity: 2 })
      const said = ["first", "second", "third"].map((text) => queue(Talk, { text }))
      assert.deepStrictEqual(said, ["accepted", "accepted", "full"])
      yield* queue.flush
      yield* TaskTest.drain()
      assert.deepStrictEqual(
        (yield* TaskTest.lines).map(({ message }) => message),
        ["first", "second"]
      )
    })
  )

  it.scoped("sync_priority_queue(task)", () =>
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
        const queue = yield* TaskManager.runtimeQueue()
        queue(Talk, { text: "usual" })
        queue(Talk, { text: "urgent" }, { priority: "high" })
        yield* queue.flush
        yield* resume({ task: "Talk" })
        yield* TaskTest.drain()
      }).pipe(Effect.provide(Main))
      assert.deepStrictEqual(order, ["urgent", "usual"])
    })
  )

  it.effect("run()", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const Main = TaskTest.consumer(all).pipe(
        Layer.provide(handlers),
        Layer.provide(TaskTest.layer),
        Layer.provide(noted(steps, "backend"))
      )
      const launched = yield* Effect.fork(Layer.launch(Main))
      yield* TestClock.adjust("1 hour")
      assert.isTrue(Option.isNone(yield* Fiber.poll(launched)))
      yield* Fiber.interrupt(launched)
      assert.deepStrictEqual(steps, ["backend opens", "backend closes"])
    })
  )

  it.scoped("startup()", () =>
    Effect.gen(function* () {
      const { context } = yield* open(kit(TaskGroup.make(Count), { Count: () => Effect.succeed(1) }))
      const worker = Context.get(context, consumer)
      assert.isTrue(yield* worker.alive)
      yield* Effect.provide(TaskTest.drain(), context)
      assert.isTrue(yield* worker.ready) // once the backend has answered
    })
  )

  it.effect("start_running()", () =>
    Effect.gen(function* () {
      // one Layer, however often it is used, is one consumer
      const Workers = TaskTest.consumer(all).pipe(Layer.provide(handlers))
      const Main = Layer.merge(Workers, Workers).pipe(Layer.provideMerge(TaskTest.layer))
      const consumers = Effect.flatMap(Store.Store, (store) => store.consumers)
      assert.lengthOf(yield* Effect.provide(consumers, Main), 1)
    })
  )

  it.scoped("wait_for_exit()", () =>
    Effect.gen(function* () {
      const { context } = yield* open(kit(TaskGroup.make(Count), { Count: () => Effect.succeed(1) }))
      const worker = Context.get(context, consumer)
      const report = yield* worker.gracefullyStop
      assert.deepStrictEqual(report, { finished: 0, givenBack: [], interrupted: [], overran: [] })
      assert.deepStrictEqual(yield* worker.gracefullyStop, report)
    })
  )

  it.effect("shutdown()", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* Slow.queueAll([{ seconds: 5 }, { seconds: 60 }])
      yield* TaskTest.drain()
      const stopping = yield* Effect.fork(worker.gracefullyStop)
      yield* TaskTest.advance("10 seconds")
      const report = yield* Fiber.join(stopping)
      assert.strictEqual(report.finished, 1)
      assert.deepStrictEqual(
        report.givenBack.map(({ task }) => task),
        ["Slow"]
      )
    }).pipe(
      Effect.provide(
        kit(
          TaskGroup.make(Slow),
          { Slow: ({ seconds }) => Effect.sleep(Duration.seconds(seconds)) },
          { grace: "10 seconds" }
        )
      )
    )
  )

  row("gracefully_stop()", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* worker.gracefullyStop
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.advance("1 hour")
      assert.strictEqual((yield* run.poll).state, "queued")
    })
  )

  it.effect("bail_out(reason, code)", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const Main = Layer.scopedDiscard(Effect.fail("the license has expired")).pipe(
        Layer.provide(TaskTest.consumer(all)),
        Layer.provide(handlers),
        Layer.provide(TaskTest.layer),
        Layer.provide(noted(steps, "backend"))
      )
      assert.strictEqual(yield* Effect.flip(Layer.launch(Main)), "the license has expired")
      assert.deepStrictEqual(steps, ["backend opens", "backend closes"])
    })
  )

  it.effect("safe_run()", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* TaskTest.advance("2 minutes")
      assert.deepStrictEqual([yield* worker.alive, yield* worker.ready], [true, false])
      yield* TaskTest.advance("2 minutes")
      assert.deepStrictEqual([yield* worker.alive, yield* worker.ready], [true, true])
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.strictEqual((yield* run.poll).state, "success")
    }).pipe(
      Effect.provide(
        TaskTest.consumer(all).pipe(
          Layer.provide(handlers),
          Layer.provideMerge(
            TaskTest.layerWith({ chaos: { seed: 1, partition: [{ from: "1 minute", to: "3 minutes" }] } })
          )
        )
      )
    )
  )

  it.effect("add_workers(*workers)", () =>
    Effect.gen(function* () {
      // a worker is any effect that a Layer forks; a failing one is begun again as its author says
      let rounds = 0
      const Worker = Layer.scopedDiscard(
        Effect.sync(() => rounds++).pipe(Effect.zipRight(Effect.sleep("10 seconds")), Effect.forever, Effect.forkScoped)
      )
      const Main = Layer.merge(Worker, TaskTest.consumer(all).pipe(Layer.provide(handlers))).pipe(
        Layer.provideMerge(TaskTest.layer)
      )
      yield* Effect.provide(TaskTest.advance("25 seconds"), Main)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(rounds, 3)
    })
  )

  row("remove_workers(*workers)", () =>
    Effect.gen(function* () {
      const worker = yield* consumer
      yield* worker.remove(Add)
      const run = yield* Add.queue({ a: 1, b: 2 })
      const other = yield* Talk.queue({ text: "still served" })
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual([(yield* run.poll).state, (yield* other.poll).state], ["queued", "success"])
    })
  )

  it.scoped("create_task(worker)", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const Worker = Layer.scopedDiscard(
        Effect.never.pipe(
          Effect.onInterrupt(() => Effect.sync(() => steps.push("interrupted"))),
          Effect.forkScoped
        )
      )
      const { close } = yield* open(Worker)
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(steps, [])
      yield* close
      assert.deepStrictEqual(steps, ["interrupted"])
    })
  )

  row("register_callback(callback, seconds)", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const note = Effect.map(Clock.currentTimeMillis, (now) => calls.push(now))
      const callback = yield* (yield* consumer).registerCallback(note, { every: "10 seconds", once: true })
      yield* TaskTest.advance("35 seconds")
      assert.deepStrictEqual(calls, [10_000])
      yield* callback.unregister
    })
  )

  row("register_callback(jitter)", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const note = Effect.map(Clock.currentTimeMillis, (now) => calls.push(now))
      yield* (yield* consumer).registerCallback(note, { every: "10 seconds", jitter: "2 seconds" })
      yield* TaskTest.advance("2 minutes")
      const intervals = calls.map((at, i) => at - (calls[i - 1] ?? 0))
      assert.isAtLeast(intervals.length, 9)
      assert.isTrue(intervals.every((interval) => interval >= 8_000 && interval <= 12_000))
      assert.isAbove(new Set(intervals).size, 1)
    })
  )

  row("register_callback(periodic)", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const failing = Effect.flatMap(Clock.currentTimeMillis, (now) => {
        calls.push(now)
        return Effect.fail("no") // told in the status; neither the callback nor the consumer stops
      })
      yield* (yield* consumer).registerCallback(failing, { every: "10 seconds" })
      yield* TaskTest.advance("35 seconds")
      assert.deepStrictEqual(calls, [10_000, 20_000, 30_000])
      assert.isTrue(yield* (yield* consumer).alive)
    })
  )
})

describe("Task", () => {
  it.effect("@task", () =>
    Effect.gen(function* () {
      const Double = Task.make("Double", { payload: { n: Schema.Number }, success: Schema.Number })
      const Main = kit(TaskGroup.make(Double), { Double: ({ n }) => Effect.succeed(2 * n) })
      assert.strictEqual(yield* Effect.provide(Double.queueAndWait({ n: 21 }), Main), 42)
    })
  )

  row("name", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 })
      assert.deepStrictEqual([Add.name, (yield* run.poll).task], ["Add", "Add"])
      const error = yield* Effect.flip(Task.make("").queue())
      assert.strictEqual(error._tag, "InvalidOption")
    })
  )

  it.effect("description and short_description", () =>
    Effect.sync(() => assert.strictEqual(Add.description, "Adds two numbers.\nSlowly, if need be."))
  )

  row("params_model", () =>
    Effect.gen(function* () {
      const At = Task.make("At", { payload: { when: Schema.DateFromString, times: Schema.Int } })
      const error = yield* Effect.flip(At.queue({ when: new Date(0), times: 0.5 }))
      assert.strictEqual(error._tag, "ParseError")
      const run = yield* At.queue({ when: new Date(0), times: 1 })
      assert.deepStrictEqual((yield* run.poll).payload, { when: "1970-01-01T00:00:00.000Z", times: 1 })
    })
  )

  it.effect("priority", () =>
    Effect.gen(function* () {
      const Urgent = Task.make("Urgent", { priority: "high" })
      const run = yield* Urgent.queue()
      const low = yield* Urgent.queue(undefined, { priority: "low" })
      assert.deepStrictEqual([(yield* run.poll).priority, (yield* low.poll).priority], [10, -10])
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("max_concurrency", () =>
    Effect.gen(function* () {
      const Alone = Task.make("Alone", { maxConcurrency: 1 })
      const group = TaskGroup.make(Alone)
      let most = 0
      let now = 0
      const handler = Effect.acquireUseRelease(
        Effect.sync(() => (most = Math.max(most, ++now))),
        () => Effect.sleep("1 second"),
        () => Effect.sync(() => now--)
      )
      const Two = Layer.merge(Layer.fresh(TaskTest.consumer(group)), Layer.fresh(TaskTest.consumer(group))).pipe(
        Layer.provide(Alone.toLayer(() => handler)),
        Layer.provideMerge(TaskTest.layer)
      )
      yield* Effect.gen(function* () {
        const runs = yield* Effect.replicateEffect(Alone.queue(), 3)
        yield* TaskTest.drain({ scheduled: true })
        // the one over the limit waits for its turn, it is not refused
        assert.deepStrictEqual(
          yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ endedAt }) => endedAt)),
          [1_000, 2_000, 3_000]
        )
      }).pipe(Effect.provide(Two))
      assert.strictEqual(most, 1)
    })
  )

  it.effect("timeout_seconds", () =>
    Effect.gen(function* () {
      const Stall = Task.make("Stall", { timeout: "60 seconds" })
      let cleaned = false
      const handler = Effect.ensuring(
        Effect.never,
        Effect.sync(() => (cleaned = true))
      )
      yield* Effect.gen(function* () {
        const run = yield* Stall.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepInclude(yield* run.poll, { state: "failure", endedAt: 60_000 })
        assert.strictEqual((yield* Effect.flip(run.await))._tag, "TaskTimeout")
      }).pipe(Effect.provide(kit(TaskGroup.make(Stall), { Stall: () => handler })))
      assert.isTrue(cleaned)
    })
  )

  row("tags", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 }, { tags: ["urgent"] })
      yield* Talk.queue({ text: "x" })
      const { items } = yield* (yield* manager).runs({ tag: "math" })
      assert.deepStrictEqual(
        items.map(({ id, tags }) => [id, tags]),
        [[run.id, ["math", "urgent"]]]
      )
    })
  )

  row("retry", () =>
    Effect.gen(function* () {
      const run = yield* Flaky.queue({ until: 3 })
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual(yield* run.await, 3)
      // the same id all the time, the delays 1 and 2 seconds
      assert.deepInclude(yield* run.poll, { attempt: 2, endedAt: 3_000 })
    })
  )

  it.effect("rate_limit_retry", () =>
    Effect.gen(function* () {
      const Waits = Task.make("Waits", { limit: Limit.fixedWindow({ limit: 1, window: "1 minute" }) })
      const Refused = Task.make("Refused", {
        limit: Limit.fixedWindow({ limit: 1, window: "1 minute", onLimit: "refuse" })
      })
      yield* Effect.gen(function* () {
        const waiting = yield* Effect.replicateEffect(Waits.queue(), 2)
        const refused = yield* Effect.replicateEffect(Refused.queue(), 2)
        yield* TaskTest.drain({ scheduled: true })
        const ends = (runs: ReadonlyArray<TaskRun.Handle<Task.Any>>) =>
          Effect.forEach(runs, (run) => Effect.map(run.poll, ({ endedAt, state }) => [state, endedAt]))
        assert.deepStrictEqual(yield* ends(waiting), [
          ["success", 0],
          ["success", 60_000]
        ])
        assert.deepStrictEqual(yield* ends(refused), [
          ["success", 0],
          ["rate_limited", 0]
        ])
      }).pipe(
        Effect.provide(kit(TaskGroup.make(Waits, Refused), { Waits: () => Effect.void, Refused: () => Effect.void }))
      )
    })
  )

  it.effect("schedule", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const note = Effect.map(CurrentRun.CurrentRun, ({ schedule, scheduledFor }) =>
        seen.push([schedule, scheduledFor])
      )
      const Often = Task.make("Often", { schedule: TaskSchedule.every("40 seconds") })
      const Minute = Task.make("Minute", { schedule: TaskSchedule.cron("* * * * *") })
      const Main = scheduling(TaskGroup.make(Often, Minute), { Often: () => note, Minute: () => note })
      yield* Effect.provide(TaskTest.advance("90 seconds"), Main)
      assert.deepStrictEqual(seen, [
        ["Often", 40_000],
        ["Minute", 60_000],
        ["Often", 80_000]
      ])
    })
  )

  it.effect("randomize", () =>
    Effect.gen(function* () {
      const Tick = Task.make("Tick", { schedule: TaskSchedule.every("1 minute", { jitter: "10 seconds" }) })
      const firings = Effect.gen(function* () {
        yield* TaskTest.advance("10 minutes")
        return (yield* TaskTest.ended(Tick)).map(({ createdAt }) => createdAt % 60_000)
      })
      const delays = yield* Effect.provide(firings, scheduling(TaskGroup.make(Tick), { Tick: () => Effect.void }))
      assert.isAtLeast(delays.length, 9)
      assert.isTrue(delays.every((delay) => delay < 10_000))
      assert.isAbove(new Set(delays).size, 1)
    })
  )

  it.effect("k8s_config", () =>
    Effect.gen(function* () {
      // a queue of its own for heavy work, so that a deployment of its own can serve it
      const Heavy = Task.make("Heavy", { queue: "heavy" })
      yield* Effect.gen(function* () {
        const here = yield* Heavy.queue(undefined, { queue: "light" })
        const there = yield* Heavy.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepStrictEqual([(yield* here.poll).state, (yield* there.poll).state], ["success", "queued"])
      }).pipe(Effect.provide(kit(TaskGroup.make(Heavy), { Heavy: () => Effect.void }, { queues: ["light"] })))
    })
  )

  row("Task.logger", () =>
    Effect.gen(function* () {
      const run = yield* Talk.queue({ text: "hello" })
      yield* TaskTest.drain()
      const lines = yield* (yield* manager).logs(run.id)
      assert.deepStrictEqual(
        lines.map(({ attempt, level, message }) => [attempt, level, message]),
        [[1, "INFO", "hello"]]
      )
    })
  )

  it.effect("Task.info()", () =>
    Effect.sync(() => {
      const { maxConcurrency, name, priority, queueName, retry, tags, timeout } = Add
      assert.deepStrictEqual(
        { maxConcurrency, name, priority, queueName, retry, tags, timeout },
        {
          maxConcurrency: undefined,
          name: "Add",
          priority: 0,
          queueName: "default",
          retry: undefined,
          tags: ["math"],
          timeout: undefined
        }
      )
    })
  )
})

describe("RetryPolicy", () => {
  /** When the attempts of a run that fails for good have ended, in seconds. */
  const attemptsOf = (policy: RetryPolicy.Options<Task.Failure<Oops>>, code = 1) => {
    const Failing = Task.make("Failing", { error: Oops, retry: RetryPolicy.make<Task.Failure<Oops>>(policy) })
    return Effect.gen(function* () {
      const run = yield* Failing.queue()
      yield* TaskTest.drain({ scheduled: true })
      const { attempts, createdAt } = yield* run.poll
      return attempts.map(({ endedAt }) => (endedAt - createdAt) / 1_000)
    }).pipe(Effect.provide(kit(TaskGroup.make(Failing), { Failing: () => new Oops({ code }) })))
  }

  it.effect("RetryPolicy.max_attempts", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* attemptsOf({ retries: 2, delay: "1 second" }), [0, 1, 2])
      assert.deepStrictEqual(yield* attemptsOf({ retries: 0 }), [0])
    })
  )

  it.effect("RetryPolicy.wait", () =>
    Effect.map(attemptsOf({ retries: 1, delay: "7 seconds" }), (ends) => assert.deepStrictEqual(ends, [0, 7]))
  )

  it.effect("RetryPolicy.backoff", () =>
    Effect.map(attemptsOf({ retries: 3, delay: "1 second", backoff: 3 }), (ends) =>
      assert.deepStrictEqual(ends, [0, 1, 4, 13])
    )
  )

  it.effect("RetryPolicy.max_wait", () =>
    Effect.map(attemptsOf({ retries: 3, delay: "1 second", backoff: 3, maxDelay: "2 seconds" }), (ends) =>
      assert.deepStrictEqual(ends, [0, 1, 3, 5])
    )
  )

  it.effect("RetryPolicy.exceptions", () =>
    Effect.gen(function* () {
      const policy: RetryPolicy.Options<Task.Failure<Oops>> = {
        retries: 1,
        delay: "1 second",
        while: (failure) => failure._tag === "Oops" && failure.code >= 500
      }
      assert.deepStrictEqual(yield* attemptsOf(policy, 503), [0, 1])
      assert.deepStrictEqual(yield* attemptsOf(policy, 404), [0])
    })
  )
})

describe("enums and errors", () => {
  it.effect("TaskPriority", () =>
    Effect.sync(() => {
      const byName = (["high", "medium", "low"] as const).map(TaskPriority.toNumber)
      assert.deepStrictEqual(byName, [10, 0, -10])
      assert.isTrue(TaskPriority.isTaskPriority(500))
    })
  )

  it.effect("TaskState", () =>
    Effect.sync(() =>
      assert.includeMembers(
        [...TaskState.all],
        ["init", "queued", "running", "success", "failure", "aborted", "rate_limited", "interrupted"]
      )
    )
  )

  it.effect("TaskState.is_done and is_failure", () =>
    Effect.sync(() => {
      const known: ReadonlyArray<TaskState.TaskState> = ["success", "failure", "aborted", "rate_limited", "interrupted"]
      assert.isTrue(known.every(TaskState.isFinal))
      assert.isFalse((["init", "queued", "running"] as const).some(TaskState.isFinal))
    })
  )

  it.effect("UnknownTaskError", () =>
    Effect.gen(function* () {
      // tasks are values, so no name can be wrong at a call; a run that nobody here serves waits for one who does
      const run = yield* Talk.queue({ text: "x" })
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual((yield* run.poll).state, "queued")
    }).pipe(Effect.provide(kit(TaskGroup.make(Count), { Count: () => Effect.succeed(0) })))
  )

  row("DisabledTaskError", () =>
    Effect.gen(function* () {
      yield* (yield* manager).disable("Add")
      const run = yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.strictEqual((yield* run.poll).state, "aborted")
      assert.strictEqual((yield* Effect.flip(run.await))._tag, "TaskAborted")
    })
  )

  row("TaskParamsError", () =>
    Effect.gen(function* () {
      const Other = Task.make("Add", { payload: Schema.Unknown })
      const run = yield* Other.queue({ a: "one" }) // an application of yesterday has queued it
      yield* TaskTest.drain()
      assert.strictEqual((yield* Effect.flip(run.await))._tag, "PayloadInvalid")
      assert.deepStrictEqual((yield* run.poll).payload, { a: "one" })
      assert.strictEqual(yield* Add.queueAndWait({ a: 1, b: 2 }), 3) // the consumer goes on
    })
  )

  it.effect("TaskRunError", () =>
    Effect.sync(() => {
      const path = TaskState.path("success", "running")
      assert.isTrue(Either.isLeft(path) && path.left._tag === "InvalidTransition")
    })
  )

  it.effect("TaskAbortedError", () =>
    Effect.gen(function* () {
      const Quits = Task.make("Quits", { retry: RetryPolicy.make({ retries: 5 }) })
      const Main = kit(TaskGroup.make(Quits), { Quits: () => CurrentRun.abort("nothing to do") })
      yield* Effect.gen(function* () {
        const error = yield* Effect.flip(Quits.queueAndWait())
        assert.deepInclude(error, { _tag: "TaskAborted", reason: "nothing to do" })
        const [run] = (yield* (yield* manager).runs()).items
        assert.strictEqual(run?.attempts.length, 1) // never retried
      }).pipe(Effect.provide(Main))
    })
  )

  it.effect("TaskDecoratorError", () =>
    Effect.gen(function* () {
      const Wrong = Add.toLayer(
        // @ts-expect-error a handler that gives another value than the task says does not compile
        () => Effect.succeed("three")
      ) as Layer.Layer<Task.Handler<"Add">>
      const error = yield* Effect.flip(Effect.provide(Add.execute({ a: 1, b: 2 }), Wrong))
      assert.strictEqual(error._tag, "ResultInvalid")
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.scopedLive("CpuBoundEntryPointError", () =>
    Effect.gen(function* () {
      // the entry of threads and processes serves handlers; started as a program it starts no consumer, and says what is wrong
      const entry = fileURLToPath((yield* bundle)("worker"))
      const alone = yield* Effect.promise(
        () =>
          new Promise<{ readonly code: unknown; readonly stderr: string }>((resolve) =>
            execFile(process.execPath, [entry], (error, _, stderr) => resolve({ code: error?.code, stderr }))
          )
      )
      assert.strictEqual(alone.code, 1)
      assert.match(alone.stderr, /^error: this module is the entry of NodeExecutor.layer/)
    })
  )

  it.effect("WorkerStartError", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(TaskConsumer.make(all, { maxConcurrentTasks: 0 })))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "maxConcurrentTasks" })
    }).pipe(Effect.provide(handlers.pipe(Layer.provideMerge(TaskTest.layer))))
  )
})

describe("TaskRun", () => {
  const Look = Task.make("Look", { success: Schema.Unknown })

  /** What the handler of a run sees. */
  const looking = <A, E, R>(look: Effect.Effect<A, E, R>) =>
    kit(TaskGroup.make(Look), { Look: () => Effect.orDie(look) })

  row("TaskRun.id", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 })
      assert.strictEqual((yield* (yield* manager).get(run.id)).id, run.id)
      yield* TaskTest.drain()
      assert.strictEqual(yield* Effect.flatMap(Add.handle(run.id), (handle) => handle.await), 3)
    })
  )

  it.effect("TaskRun.task, name and name_id", () =>
    Effect.gen(function* () {
      const run = yield* Look.queue()
      yield* TaskTest.drain()
      assert.deepStrictEqual(yield* run.await, ["Look", run.id])
      assert.strictEqual(run.task, Look)
    }).pipe(Effect.provide(looking(Effect.map(CurrentRun.CurrentRun, ({ id, task }) => [task, id]))))
  )

  row("TaskRun.params", () =>
    Effect.gen(function* () {
      yield* Add.queue({ a: 1, b: 2 })
      const [run] = yield* TaskTest.queued(Add)
      assert.deepStrictEqual(run?.payload, { a: 1, b: 2 })
    })
  )

  row("TaskRun.priority", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 }, { priority: 7, delay: "1 hour" })
      assert.strictEqual((yield* run.poll).priority, 7)
      assert.strictEqual(yield* (yield* manager).edit(run.id, { priority: "low" }), "edited")
      assert.strictEqual((yield* run.poll).priority, -10)
    })
  )

  row("TaskRun.state, is_done and is_failure", () =>
    Effect.gen(function* () {
      const run = yield* Refuse.queue({ code: 1 })
      assert.isFalse(TaskState.isFinal((yield* run.poll).state))
      yield* TaskTest.drain()
      const { state } = yield* run.poll
      assert.deepStrictEqual([state, TaskState.isFinal(state)], ["failure", true])
    })
  )

  row("TaskRun.queued, start and end", () =>
    Effect.gen(function* () {
      const run = yield* Slow.queue({ seconds: 5 }, { delay: "1 minute" })
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual(millis(yield* run.poll), [0, 60_000, 65_000])
    })
  )

  it.effect("TaskRun.in_queue, duration and total", () =>
    Effect.gen(function* () {
      yield* Slow.queueAll([{ seconds: 3 }, { seconds: 3 }])
      yield* TaskTest.drain({ scheduled: true })
      const { items } = yield* (yield* manager).runs()
      const times = items.map(({ createdAt, endedAt, startedAt }) => ({
        inQueue: startedAt! - createdAt,
        duration: endedAt! - startedAt!,
        total: endedAt! - createdAt
      }))
      assert.deepStrictEqual(times, [
        { inQueue: 3_000, duration: 3_000, total: 6_000 },
        { inQueue: 0, duration: 3_000, total: 3_000 }
      ])
    }).pipe(
      Effect.provide(kit(TaskGroup.make(Slow), { Slow: () => Effect.sleep("3 seconds") }, { maxConcurrentTasks: 1 }))
    )
  )

  row("TaskRun.execute_after", () =>
    Effect.gen(function* () {
      const run = yield* Add.queue({ a: 1, b: 2 }, { delay: "30 millis" })
      assert.deepInclude(yield* run.poll, { state: "scheduled", dueAt: 30 })
      const at = yield* Add.queue({ a: 1, b: 2 }, { at: new Date(3_600_000) })
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual([(yield* run.poll).startedAt, (yield* at.poll).startedAt], [30, 3_600_000])
    })
  )

  row("TaskRun.retry_attempt", () =>
    Effect.gen(function* () {
      // the handler reads it from CurrentRun: it gives the attempt on which it succeeds
      assert.strictEqual(yield* Flaky.execute({ until: 1 }), 1)
      const run = yield* Flaky.queue({ until: 2 })
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual(yield* run.await, 2)
      assert.strictEqual((yield* run.poll).attempt, 1)
    })
  )

  it.effect("TaskRun.rate_limit_attempt", () =>
    Effect.gen(function* () {
      let calls = 0
      const Calls = Task.make("Calls")
      const handler = Effect.suspend(() => (++calls < 3 ? CurrentRun.rateLimited("30 seconds") : Effect.void))
      yield* Effect.gen(function* () {
        const run = yield* Calls.queue()
        yield* TaskTest.drain({ scheduled: true })
        assert.deepInclude(yield* run.poll, { state: "success", snoozes: 2, attempt: 0, endedAt: 60_000 })
      }).pipe(Effect.provide(kit(TaskGroup.make(Calls), { Calls: () => handler })))
    })
  )

  it.effect("TaskRun.from_run_id and root_run_id", () =>
    Effect.gen(function* () {
      const Chain = Task.make("Chain", { payload: { left: Schema.Number } })
      const Main = kit(TaskGroup.make(Chain), {
        Chain: ({ left }) => (left === 0 ? Effect.void : Effect.asVoid(Chain.queue({ left: left - 1 })))
      })
      yield* Effect.gen(function* () {
        yield* Chain.queue({ left: 2 })
        yield* TaskTest.drain()
        const [third, second, first] = (yield* (yield* manager).runs()).items
        assert.deepStrictEqual(
          [first, second, third].map((run) => [run?.parentId, run?.rootId]),
          [
            [null, null],
            [first?.id, first?.id],
            [second?.id, first?.id]
          ]
        )
      }).pipe(Effect.provide(Main))
    })
  )

  it.effect("TaskRun.deps", () =>
    Effect.gen(function* () {
      yield* Count.queueAndWait()
      assert.strictEqual(yield* Ref.get(yield* Counter), 1)
    }).pipe(Effect.provide(counting))
  )

  it.effect("TaskRun.logger", () =>
    Effect.gen(function* () {
      const run = yield* Look.queue()
      yield* TaskTest.drain()
      const [line] = yield* (yield* manager).logs(run.id)
      assert.deepInclude(line, { level: "WARN", message: "careful", annotations: { file: "a.csv" } })
    }).pipe(Effect.provide(looking(Effect.annotateLogs(Effect.logWarning("careful"), { file: "a.csv" }))))
  )

  it.effect("TaskRun.abort(reason)", () =>
    Effect.gen(function* () {
      const run = yield* Look.queue()
      yield* TaskTest.drain()
      assert.deepStrictEqual((yield* run.poll).outcome, { _tag: "Aborted", reason: "enough" })
      assert.deepStrictEqual(yield* statesOf(run), ["init", "queued", "running", "aborted"])
    }).pipe(Effect.provide(looking(CurrentRun.abort("enough"))))
  )

  it.effect("TaskRun.queue(task)", () =>
    Effect.gen(function* () {
      const run = yield* Look.queue()
      yield* TaskTest.drain()
      const { items } = yield* (yield* manager).runs({ parentId: run.id })
      assert.deepStrictEqual(
        items.map(({ payload, rootId, task }) => [task, payload, rootId]),
        [["Talk", { text: "child" }, run.id]]
      )
    }).pipe(Effect.provide(looking(Effect.asVoid(Talk.queue({ text: "child" })))))
  )

  it.effect("TaskRun.lock(timeout, name)", () =>
    Effect.gen(function* () {
      const Alone = Task.make("Alone", { payload: { account: Schema.String } })
      const handler = ({ account }: { readonly account: string }) =>
        Effect.zipRight(CurrentRun.lock(account), Effect.sleep("10 seconds"))
      yield* Effect.gen(function* () {
        yield* Alone.queueAll([{ account: "a" }, { account: "a" }, { account: "b" }])
        yield* TaskTest.drain({ scheduled: true })
        // of one name one at a time, released with the attempt
        assert.deepStrictEqual(
          (yield* TaskTest.ended(Alone)).map(({ endedAt, payload }) => [payload.account, endedAt]).sort(),
          [
            ["a", 10_000],
            ["a", 20_000],
            ["b", 10_000]
          ]
        )
      }).pipe(Effect.provide(kit(TaskGroup.make(Alone), { Alone: handler })))
    })
  )

  it.scopedLive("secret params", () =>
    Effect.gen(function* () {
      const memory = yield* Layer.build(Backend.layerMemory)
      const key = yield* PayloadCipher.generateKey
      const heard: Array<string> = []
      const Main = TaskConsumer.layer(TaskGroup.make(Talk), { grace: 0 }).pipe(
        Layer.provide(
          Talk.toLayer(({ text }) =>
            Effect.zipRight(
              Effect.sync(() => heard.push(text)),
              Effect.log(text)
            )
          )
        ),
        Layer.provideMerge(TaskManager.layer),
        Layer.provide(PayloadCipher.layer({ keys: [{ id: "one", key }], logs: true })),
        Layer.provide(Layer.succeedContext(memory)),
        Layer.provide(Logger.remove(Logger.defaultLogger))
      )
      const { id } = yield* Effect.provide(
        Effect.tap(Talk.queue({ text: "4111 1111" }), (run) => run.awaitFor("10 seconds")),
        Main
      )
      const stored = Context.get(memory, Store.Store)
      const seen = JSON.stringify([yield* stored.get([id]), yield* stored.logs(id, { fromSeq: 0, limit: 10 })])
      assert.deepStrictEqual(heard, ["4111 1111"])
      assert.include(seen, "~1.one.")
      assert.notInclude(seen, "4111")
    })
  )

  it.effect("TaskRun.set_state(state)", () =>
    Effect.sync(() => {
      assert.deepStrictEqual(Either.getOrThrow(TaskState.path("running", "running")), [])
      assert.deepStrictEqual(Either.getOrThrow(TaskState.path("init", "success")), ["queued", "running", "success"])
      assert.isTrue(Either.isLeft(TaskState.path("failure", "queued")))
    })
  )
})

describe("TaskBroker", () => {
  it.scoped("TaskBroker.from_url(url)", () =>
    Effect.gen(function* () {
      const names = yield* Effect.forEach(
        [Backend.layerMemory, SqliteBackend.layer({ filename: ":memory:" })],
        (layer) =>
          Effect.provide(
            Effect.map(Broker.Broker, ({ name }) => name),
            layer
          )
      )
      assert.strictEqual(new Set(names).size, 2)
    })
  )

  it.scoped("TaskBroker.register_broker(scheme, cls)", () =>
    Effect.gen(function* () {
      let enqueued = 0
      const Mine = Backend.layer(
        Effect.gen(function* () {
          const memory = yield* Layer.build(Backend.layerMemory)
          const broker = Context.get(memory, Broker.Broker)
          const counted: typeof broker = {
            ...broker,
            enqueue: (...args) => {
              enqueued++
              return broker.enqueue(...args)
            }
          }
          return { broker: counted, store: Context.get(memory, Store.Store) }
        })
      )
      yield* Effect.provide(Add.queue({ a: 1, b: 2 }), TaskManager.layer.pipe(Layer.provide(Mine)))
      assert.strictEqual(enqueued, 1)
    })
  )

  it.scoped("broker_url name=", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const under = (prefix: string) =>
        Effect.provide(TaskManager.layer.pipe(Layer.provide(SqliteBackend.layer({ filename, prefix }))))
      yield* Add.queue({ a: 1, b: 2 }).pipe(under("one_"))
      const waiting = Effect.flatMap(manager, (manager) => Effect.map(manager.counts(), ({ queued }) => queued))
      assert.deepStrictEqual([yield* waiting.pipe(under("one_")), yield* waiting.pipe(under("two_"))], [1, 0])
    })
  )

  it.effect("broker_url queues=", () =>
    Effect.gen(function* () {
      const [served, other] = yield* Effect.forEach(["mail", "reports"], (queue) =>
        Add.queue({ a: 1, b: 2 }, { queue })
      )
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual([(yield* served!.poll).state, (yield* other!.poll).state], ["success", "queued"])
    }).pipe(
      Effect.provide(kit(TaskGroup.make(Add), { Add: ({ a, b }) => Effect.succeed(a + b) }, { queues: ["mail"] }))
    )
  )

  it.effect("queue_length()", () =>
    Effect.gen(function* () {
      yield* Add.queue({ a: 1, b: 2 }, { queue: "mail" })
      yield* Add.queue({ a: 1, b: 2 }, { queue: "reports", delay: "1 hour" })
      const queues = yield* (yield* Store.Store).queues
      assert.deepStrictEqual(queues.map(({ queue, queued, scheduled }) => [queue, queued, scheduled]).sort(), [
        ["mail", 1, 0],
        ["reports", 0, 1]
      ])
      assert.strictEqual((yield* (yield* manager).counts({ queue: "mail" })).queued, 1)
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("clear_queue(*priorities)", () =>
    Effect.gen(function* () {
      const { clear } = yield* manager
      yield* Add.queueAll([
        { a: 1, b: 2 },
        { a: 3, b: 4 }
      ])
      yield* Add.queue({ a: 1, b: 2 }, { priority: "high" })
      const { byPriority, total } = yield* clear("default")
      assert.strictEqual(total, 3)
      assert.deepStrictEqual([...byPriority].sort(), [
        [0, 2],
        [10, 1]
      ])
    }).pipe(Effect.provide(TaskTest.layer))
  )

  row("get_tasks_info(*names)", () =>
    Effect.gen(function* () {
      yield* Slow.queue({ seconds: 2 })
      yield* TaskTest.drain({ scheduled: true })
      const { items } = yield* (yield* manager).runs({ task: "Slow", limit: 1 })
      const [last] = items
      assert.deepStrictEqual(
        { state: last?.state, end: last?.endedAt, duration: last!.endedAt! - last!.startedAt! },
        { state: "success", end: 2_000, duration: 2_000 }
      )
    })
  )

  row("enable_task(name, enable)", () =>
    Effect.gen(function* () {
      const { controls, disable, enable } = yield* manager
      yield* disable("Add")
      assert.deepStrictEqual(yield* controls, [{ of: "task", name: "Add", state: "disabled" }])
      yield* enable("Add")
      assert.deepStrictEqual(yield* controls, [])
      assert.strictEqual(yield* Add.queueAndWait({ a: 1, b: 2 }), 3)
    })
  )

  it.effect("filter_tasks(scheduled, enabled)", () =>
    Effect.gen(function* () {
      yield* (yield* manager).disable("Often")
      assert.deepStrictEqual(
        (yield* (yield* TaskScheduler.TaskScheduler).list).map(({ name }) => name),
        ["Often"]
      )
      assert.deepStrictEqual(yield* (yield* manager).controls, [{ of: "task", name: "Often", state: "disabled" }])
    }).pipe(
      Effect.provide(
        scheduling(TaskGroup.make(Task.make("Often", { schedule: TaskSchedule.every("1 minute") }), Add), {
          Often: () => Effect.void,
          Add: ({ a, b }) => Effect.succeed(a + b)
        })
      )
    )
  )

  row("current_task_runs(name)", () =>
    Effect.gen(function* () {
      const run = yield* Slow.queue({ seconds: 1 })
      yield* TaskTest.drain()
      const { items } = yield* (yield* manager).runs({ task: "Slow", state: ["running"] })
      assert.deepStrictEqual(
        items.map(({ id }) => id),
        [run.id]
      )
      yield* TaskTest.drain({ scheduled: true })
    })
  )

  row("get_all_manager_statuses()", () =>
    Effect.gen(function* () {
      const records = yield* (yield* Store.Store).consumers
      assert.deepStrictEqual(
        records.map(({ stopping, tasks }) => [stopping, tasks]),
        [[false, all.tasks.map(({ name }) => name)]]
      )
    })
  )

  row("broker.lock(name)", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const use = (who: string) =>
        TaskLock.withLock("the index")(
          Effect.sync(() => steps.push(`${who} begins`)).pipe(
            Effect.zipRight(Effect.sleep("1 minute")),
            Effect.zipRight(Effect.sync(() => steps.push(`${who} ends`)))
          )
        )
      const both = yield* Effect.fork(Effect.all([use("one"), use("two")], { concurrency: 2 }))
      yield* TaskTest.advance("10 seconds")
      const late = yield* Effect.flip(TaskLock.withLock("the index", { wait: 0 })(Effect.void))
      assert.strictEqual(late._tag, "LockTimeout")
      yield* TaskTest.advance("2 minutes")
      yield* Fiber.join(both)
      assert.deepStrictEqual(steps, ["one begins", "one ends", "two begins", "two ends"])
    })
  )

  row("broker.clear()", () =>
    Effect.gen(function* () {
      const { cancelAll, count, purge } = yield* manager
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* Add.queue({ a: 1, b: 2 }, { delay: "1 day" })
      assert.deepStrictEqual(yield* cancelAll({ task: "Add" }), { cancelled: 1, requested: 0 })
      assert.strictEqual(yield* purge({}), 2)
      assert.strictEqual(yield* count({}), 0)
    })
  )

  it.scoped("broker.close()", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const { close, context } = yield* open(TaskManager.layer.pipe(Layer.provide(SqliteBackend.layer({ filename }))))
      yield* close
      const exit = yield* Effect.exit(Effect.provide(Add.queue({ a: 1, b: 2 }), context))
      assert.isTrue(Exit.isFailure(exit))
      const fs = yield* FileSystem.FileSystem
      assert.isFalse(yield* fs.exists(`${filename}-wal`)) // closed in order: nothing is left beside the file
    }).pipe(Effect.provide(NodeContext.layer))
  )

  row("new_uuid()", () =>
    Effect.gen(function* () {
      const runs = yield* Add.queueAll(Array.from({ length: 10 }, () => ({ a: 1, b: 2 })))
      const ids = runs.map(({ id }) => id)
      assert.isTrue(ids.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id)))
      assert.deepStrictEqual([...ids].sort(), ids)
    })
  )
})

describe("scheduler", () => {
  it.effect("TaskScheduler(**config)", () =>
    Effect.gen(function* () {
      const Tick = Task.make("Tick", { schedule: TaskSchedule.every("10 seconds") })
      yield* Effect.gen(function* () {
        yield* TaskTest.advance("30 seconds")
        const [record, ...others] = yield* (yield* TaskScheduler.TaskScheduler).list
        assert.deepInclude(record, { name: "Tick", source: "code", lastTick: 30_000, nextTick: 40_000 })
        assert.deepStrictEqual(others, [])
        assert.lengthOf(yield* TaskTest.ended(Tick), 3)
      }).pipe(Effect.provide(scheduling(TaskGroup.make(Tick), { Tick: () => Effect.void })))
    })
  )

  it.effect("crontab(minute, hour, day, month, day_of_week, tz)", () =>
    Effect.gen(function* () {
      const mornings = TaskSchedule.cron("30 9 * * MON-FRI", { timeZone: "Europe/London" })
      const ticks = yield* TaskSchedule.preview(mornings, { from: new Date("2030-03-28T12:00Z"), count: 2 })
      assert.deepStrictEqual(
        ticks.map((at) => new Date(at).toISOString()),
        // a weekend and a change of the clock later it is summer time
        ["2030-03-29T09:30:00.000Z", "2030-04-01T08:30:00.000Z"]
      )
      for (const wrong of [TaskSchedule.cron("60 * * * *"), TaskSchedule.cron("* * * * *", { timeZone: "Nowhere" })]) {
        assert.strictEqual((yield* Effect.flip(TaskSchedule.validate(wrong)))._tag, "InvalidSchedule")
        const declared = TaskScheduler.layer(TaskGroup.make(Task.make("Tick", { schedule: wrong })))
        const error = yield* Effect.flip(Effect.scoped(Layer.build(declared)))
        assert.strictEqual(error._tag, "InvalidSchedule")
      }
    }).pipe(Effect.provide(TaskTest.layer))
  )

  it.effect("every(delta, delay, jitter)", () =>
    Effect.gen(function* () {
      const ticksOf = (options: TaskSchedule.EveryOptions) => {
        const Tick = Task.make("Tick", { schedule: TaskSchedule.every("10 seconds", options) })
        return Effect.gen(function* () {
          const from = yield* Clock.currentTimeMillis
          yield* TaskTest.advance("30 seconds")
          return (yield* TaskTest.queued(Tick)).map(({ createdAt }) => createdAt - from)
        }).pipe(Effect.provide(scheduling(TaskGroup.make(Tick), { Tick: () => Effect.void })))
      }
      assert.deepStrictEqual(yield* ticksOf({}), [10_000, 20_000, 30_000])
      assert.deepStrictEqual(yield* ticksOf({ immediately: true }), [0, 10_000, 20_000, 30_000])
      const now = yield* Clock.currentTimeMillis
      assert.deepStrictEqual(yield* ticksOf({ startAt: now + 5_000 }), [5_000, 15_000, 25_000])
      const late = yield* ticksOf({ jitter: "5 seconds" })
      assert.isTrue(late.every((at) => at % 10_000 < 5_000) && late.some((at) => at % 10_000 > 0))
    })
  )

  it.effect("Scheduler", () =>
    Effect.gen(function* () {
      const scheduler = yield* TaskScheduler.TaskScheduler
      const texts = Effect.map(TaskTest.queued(Talk), (runs) => runs.map(({ payload }) => payload.text))
      yield* scheduler.add("hello", {
        task: Talk,
        payload: { text: "old" },
        schedule: TaskSchedule.every("10 seconds")
      })
      assert.deepStrictEqual(yield* scheduler.preview("hello", 2), [10_000, 20_000])
      yield* TaskTest.advance("10 seconds")
      yield* scheduler.edit("hello", { task: Talk, payload: { text: "new" }, schedule: TaskSchedule.every("1 minute") })
      yield* TaskTest.advance("50 seconds")
      yield* scheduler.pause("hello")
      yield* TaskTest.advance("10 minutes")
      assert.deepStrictEqual(yield* texts, ["old", "new"])
      yield* scheduler.trigger("hello") // now, also while it is paused
      yield* scheduler.resume("hello")
      yield* TaskTest.advance("1 minute")
      assert.deepStrictEqual(yield* texts, ["old", "new", "new", "new"])
      yield* scheduler.remove("hello")
      yield* TaskTest.advance("10 minutes")
      assert.lengthOf(yield* texts, 4)
    }).pipe(Effect.provide(scheduling(TaskGroup.make(Talk), { Talk: () => Effect.void })))
  )
})

describe("history", () => {
  row("TaskDbPlugin", () =>
    Effect.gen(function* () {
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* Effect.exit(Refuse.queueAndWait({ code: 1 }))
      yield* Slow.queue({ seconds: 1 })
      yield* TaskTest.drain()
      const { items } = yield* (yield* manager).runs()
      assert.deepStrictEqual(
        items.map(({ endedAt, payload, state, task }) => [task, state, payload, endedAt]),
        [
          ["Slow", "running", { seconds: 1 }, null],
          ["Refuse", "failure", { code: 1 }, 0],
          ["Add", "success", { a: 1, b: 2 }, 0]
        ]
      )
      yield* TaskTest.drain({ scheduled: true })
    })
  )

  row("TaskDbPlugin(skip_db_tag)", () =>
    Effect.gen(function* () {
      // what need not be kept is removed by a filter; by age the retention of the SQL backends does it, per task
      yield* Talk.queueAndWait({ text: "x" })
      yield* Add.queueAndWait({ a: 1, b: 2 })
      const { purge, runs } = yield* manager
      assert.strictEqual(yield* purge({ task: "Talk", state: ["success"] }), 1)
      assert.deepStrictEqual(
        (yield* runs()).items.map(({ task }) => task),
        ["Add"]
      )
    })
  )

  row("task history filters", () =>
    Effect.gen(function* () {
      yield* Add.queueAndWait({ a: 1, b: 2 })
      yield* TestClock.adjust("1 hour")
      yield* Effect.exit(Refuse.queueAndWait({ code: 1 }))
      const { runs } = yield* manager
      const tasks = (query: TaskManager.RunsQuery) =>
        Effect.map(runs(query), ({ items }) => items.map(({ task }) => task))
      assert.deepStrictEqual(yield* tasks({ task: "Add" }), ["Add"])
      assert.deepStrictEqual(yield* tasks({ createdFrom: 1, createdTo: 3_600_001 }), ["Refuse"])
      assert.deepStrictEqual(yield* tasks({ state: ["failure", "aborted"] }), ["Refuse"])
      assert.deepStrictEqual(yield* tasks({ tag: "math", state: ["failure"] }), [])
      assert.deepStrictEqual(yield* tasks({ limit: 1 }), ["Refuse"])
    })
  )

  row("task history cursor", () =>
    Effect.gen(function* () {
      yield* Add.queueAll(Array.from({ length: 5 }, (_, a) => ({ a, b: 0 })))
      const { runs } = yield* manager
      const first = yield* runs({ limit: 3 })
      const second = yield* runs({ limit: 3, before: first.next! })
      assert.deepStrictEqual(
        [...first.items, ...second.items].map(({ payload }) => (payload as { readonly a: number }).a),
        [4, 3, 2, 1, 0]
      )
      assert.isNull(second.next)
    })
  )
})

describe("workers and tools", () => {
  row("WorkerFunction(fn, heartbeat)", () =>
    Effect.gen(function* () {
      let beats = 0
      yield* (yield* consumer).registerCallback(
        Effect.sync(() => beats++),
        { every: "1 second" }
      )
      yield* TaskTest.advance("5 seconds")
      assert.strictEqual(beats, 5)
    })
  )

  row("QueueConsumerWorker and AsyncConsumer", () =>
    Effect.gen(function* () {
      // a listener has a buffer and a fiber of its own, so it may be slow
      const seen: Array<string> = []
      yield* TaskEvents.on("success", ({ run }) =>
        Effect.zipRight(
          Effect.sleep("1 minute"),
          Effect.sync(() => seen.push(run.task))
        )
      )
      assert.strictEqual(yield* Add.queueAndWait({ a: 1, b: 2 }), 3)
      assert.deepStrictEqual(seen, [])
      yield* TaskTest.advance("1 minute")
      assert.deepStrictEqual(seen, ["Add"])
    })
  )

  it.effect("Workers(*workers)", () =>
    Effect.gen(function* () {
      // consumers are values of Layers: two in one application end together
      const Two = Layer.mergeAll(
        TaskTest.consumer(TaskGroup.make(Add), { name: "one" }).pipe(Layer.provide(handlers)),
        Layer.fresh(TaskTest.consumer(TaskGroup.make(Slow), { name: "two" })).pipe(Layer.provide(handlers))
      ).pipe(Layer.provideMerge(TaskTest.layer))
      const { consumers } = yield* Effect.provide(Store.Store, Two)
      const during = yield* Effect.provide(
        Effect.flatMap(Store.Store, (store) => store.consumers),
        Two
      )
      assert.lengthOf(during, 2)
      assert.lengthOf(yield* consumers, 0)
    })
  )

  row("Dispatcher and Event", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (who: string) => () => Effect.sync(() => seen.push(who))
      yield* TaskEvents.on("queued", note("first"))
      yield* TaskEvents.on("queued", note("second")) // a second one stands beside the first
      yield* Add.queue({ a: 1, b: 2 })
      yield* TaskTest.drain()
      assert.deepStrictEqual(seen.sort(), ["first", "second"])
    })
  )

  row("wait_for(assertion, timeout)", () =>
    Effect.gen(function* () {
      // a test need not wait: it says how much time has passed, or performs all that is due
      const run = yield* Slow.queue({ seconds: 60 })
      yield* TaskTest.drain({ scheduled: true })
      assert.strictEqual((yield* run.poll).state, "success")
    })
  )

  it.effect("FLUID_* environment variables", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(NodeTasks.config.consumer)
      assert.match(String(error), /CONSUMER.GRACE/)
    }).pipe(Effect.withConfigProvider(environment({ EFFECT_TASKS_CONSUMER_GRACE: "soon" })))
  )
})

// one thread and one process for all of them
layer(elsewhere({ process: { env: { GREETING: "hello" } } }), { excludeTestServices: true })("executors", (it) => {
  it.effect("cpu_bound", () =>
    Effect.gen(function* () {
      const thread = (yield* perform(InThread, { _tag: "Facts" })) as Facts
      const child = (yield* perform(InProcess, { _tag: "Facts" })) as Facts
      assert.deepStrictEqual([thread.pid === process.pid, thread.isMainThread], [true, false])
      assert.deepStrictEqual([child.pid === process.pid, child.isMainThread], [false, true])
    })
  )

  it.effect("env", () =>
    Effect.map(perform(InProcess, { _tag: "Environment", name: "GREETING" }), (environment) =>
      assert.deepInclude(environment, { value: "hello" })
    )
  )

  it.effect("set_task_aborted and get_task_aborted", () =>
    Effect.gen(function* () {
      for (const task of [InThread, InProcess]) {
        const run = yield* task.queue({ deed: { _tag: "Abort" } })
        assert.deepInclude(yield* Effect.flip(run.awaitFor("30 seconds")), { _tag: "TaskAborted", reason: "no use" })
        assert.strictEqual((yield* run.poll).state, "aborted")
      }
    })
  )
})

import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Broker,
  Store,
  Task,
  TaskConsumer,
  TaskGroup,
  TaskManager,
  type TaskRun,
  TaskTest
} from "@effect-tasks/core"
import { Clock, Context, Effect, Exit, Fiber, Layer, Option, Queue, Scope, TestClock } from "effect"

/*
 * The chaos layer of the test kit, fault by fault.
 */

const Note = Task.make("Note")

const open = (options: Omit<TaskTest.ChaosOptions, "seed"> & { readonly seed?: number }) =>
  TaskTest.layerWith({ chaos: { seed: 1, ...options } })

const exchange = (broker: typeof Broker.Broker.Service, now: number, consumer = "a") =>
  broker.exchange({
    settlements: [],
    claim: {
      consumer,
      queues: ["default"],
      tasks: [{ name: "Note", maxConcurrency: null }],
      limit: 1,
      now,
      leaseUntil: now + 30_000
    }
  })

const stateOf = Effect.map(TaskTest.queued(Note), (runs) => runs.map(({ state }) => state))

describe("TaskTest.chaos", () => {
  it.effect("fails calls before they take effect", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Note.queue())
      assert.deepInclude(error, { _tag: "BackendError", operation: "enqueue", transient: true })
      assert.isEmpty(yield* stateOf)
      const broker = yield* Broker.Broker
      const chaos = yield* TaskTest.Chaos
      yield* chaos.calm
      yield* Note.queue()
      yield* chaos.resume
      assert.strictEqual((yield* Effect.flip(exchange(broker, 0))).operation, "exchange")
      assert.deepStrictEqual(yield* stateOf, ["queued"])
      assert.strictEqual((yield* Effect.flip((yield* Store.Store).counts({}))).operation, "counts")
      assert.deepInclude(yield* chaos.counts, { failEnqueue: 1, failClaim: 1, failOther: 1, failSettle: 0 })
    }).pipe(Effect.provide(open({ failEnqueue: 1, failClaim: 1, failOther: 1 })))
  )

  it.effect("loses answers of calls that took effect", () =>
    Effect.gen(function* () {
      yield* Effect.flip(Note.queue())
      assert.deepStrictEqual(yield* stateOf, ["queued"])
      yield* Effect.flip(exchange(yield* Broker.Broker, 0))
      assert.deepStrictEqual(yield* stateOf, ["running"])
    }).pipe(Effect.provide(open({ loseAnswer: 1 })))
  )

  it.effect("lets virtual time pass on the way there and on the way back", () =>
    Effect.gen(function* () {
      const queueing = yield* Effect.fork(Note.queue())
      yield* TaskTest.advance(1_999)
      assert.isEmpty(yield* stateOf)
      yield* TaskTest.advance(1)
      assert.deepStrictEqual(yield* stateOf, ["queued"])
      yield* TaskTest.advance(1_999)
      assert.isTrue(Option.isNone(yield* Fiber.poll(queueing)))
      yield* TaskTest.advance(1)
      assert.isTrue(Option.isSome(yield* Fiber.poll(queueing)))
    }).pipe(Effect.provide(open({ latency: { min: "2 seconds", max: "2 seconds" } })))
  )

  it.effect("cuts leases short, so that a run is delivered twice; the fence holds", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* Note.queue()
      const first = (yield* exchange(broker, 0, "a")).claimed!.runs[0]!
      const second = (yield* exchange(broker, 10_000, "b")).claimed!.runs[0]!
      assert.deepStrictEqual([second.run.id, second.previous, second.run.fence], [first.run.id, "running", 2])
      const settled = yield* Broker.settle(broker, [
        { run: { ...first.run, state: "success", endedAt: 10_000 }, now: 10_000, logs: [], holdTaskUntil: null }
      ])
      assert.deepStrictEqual(settled, [{ _tag: "Lost" }])
    }).pipe(Effect.provide(open({ duplicateDelivery: 1 })))
  )

  it.effect("does not answer heartbeats that it drops", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const extending = yield* Effect.fork(broker.extend({ claims: [], leaseUntil: 1, now: 0 }))
      yield* TaskTest.advance("1 hour")
      assert.isTrue(Option.isNone(yield* Fiber.poll(extending)))
      yield* Fiber.interrupt(extending)
    }).pipe(Effect.provide(open({ dropHeartbeat: 1 })))
  )

  it.effect("drops signals, and then asks again", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const signals = yield* broker.signals
      yield* Note.queue()
      yield* TaskTest.advance(1)
      assert.strictEqual(yield* Queue.size(signals), 0)
      yield* (yield* TaskTest.Chaos).calm
      yield* Note.queue()
      yield* TaskTest.advance(1)
      assert.strictEqual(yield* Queue.size(signals), 1)
    }).pipe(Effect.scoped, Effect.provide(open({ dropSignal: 1 })))
  )

  it.effect("cuts a process off for a while", () =>
    Effect.gen(function* () {
      yield* Note.queue()
      yield* TestClock.adjust("1 minute")
      yield* Effect.flip(Note.queue())
      yield* TestClock.adjust("1 minute")
      yield* Note.queue()
      assert.lengthOf(yield* stateOf, 2)
      assert.strictEqual((yield* (yield* TaskTest.Chaos).counts).partition, 1)
    }).pipe(Effect.provide(open({ partition: [{ from: "1 minute", to: "2 minutes" }] })))
  )

  it.effect("kills a process: its calls never return, and another one takes its runs over", () =>
    Effect.gen(function* () {
      const backend = Layer.succeedContext(yield* Layer.build(Backend.layerMemory))
      const process = (options: TaskTest.ChaosOptions, performs: Effect.Effect<void>) =>
        TaskConsumer.layer(TaskGroup.make(Note), { grace: 0 }).pipe(
          Layer.provide(Note.toLayer(() => performs)),
          Layer.provideMerge(TaskManager.layer),
          Layer.provideMerge(TaskTest.chaos(options)),
          Layer.provide(backend)
        )
      // never closed: what is dead closes nothing
      const dead = yield* Layer.buildWithScope(
        process({ seed: 1, killAt: "5 seconds" }, Effect.sleep("10 seconds")),
        yield* Scope.make()
      )
      const run = yield* Effect.provide(Note.queue(), dead)
      yield* TestClock.adjust("6 seconds")
      const queueing = yield* Effect.fork(Effect.provide(Note.queue(), dead))
      const alive = yield* Layer.build(process({ seed: 2 }, Effect.void))
      yield* TestClock.adjust("1 minute")
      const manager = Context.get(alive, TaskManager.TaskManager)
      const { crashes, state } = yield* manager.get(run.id)
      assert.deepStrictEqual([state, crashes], ["success", 1])
      assert.lengthOf((yield* manager.runs()).items, 1)
      assert.isTrue(Option.isNone(yield* Fiber.poll(queueing)))
      assert.strictEqual((yield* Context.get(dead, TaskTest.Chaos).counts).kill, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("does the same for the same seed, and something else for another one", () => {
    const outcomes = (seed: number) =>
      Effect.forEach(Array(50).fill(undefined), () => Effect.exit(Note.queue())).pipe(
        Effect.map((exits) => exits.map(Exit.isSuccess).join()),
        Effect.provide(open({ seed, failEnqueue: 0.5 }))
      )
    return Effect.gen(function* () {
      assert.strictEqual(yield* outcomes(1), yield* outcomes(1))
      assert.notStrictEqual(yield* outcomes(1), yield* outcomes(2))
    })
  })

  it.effect("disturbs operations that it does not know", () =>
    Effect.gen(function* () {
      const memory = yield* Layer.build(Backend.layerMemory)
      const broker = Object.assign({}, Context.get(memory, Broker.Broker), { novelty: () => Effect.succeed(1) })
      const novel = Layer.succeedContext(Context.add(memory, Broker.Broker, broker))
      const disturbed = yield* Layer.build(Layer.provide(TaskTest.chaos({ seed: 1, failOther: 1 }), novel))
      const call = (Context.get(disturbed, Broker.Broker) as typeof broker).novelty()
      assert.isTrue(Exit.isFailure(yield* Effect.exit(call)))
      assert.strictEqual(yield* Context.get(disturbed, Broker.Broker).now, yield* Clock.currentTimeMillis)
    }).pipe(Effect.scoped)
  )

  it.effect("refuses what is no probability", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.provide(Note.queue(), open({ failEnqueue: 2 })))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "failEnqueue" })
    })
  )
})

describe("tasks in a storm", () => {
  it.effect("are performed all the same", () => {
    const Storm = TaskTest.consumer(TaskGroup.make(Note)).pipe(
      Layer.provide(Note.toLayer(() => Effect.sleep("10 seconds"))),
      Layer.provideMerge(
        TaskTest.layerWith({
          chaos: {
            seed: 5,
            calm: true,
            latency: "200 millis",
            failClaim: 0.2,
            failSettle: 0.2,
            loseAnswer: 0.2,
            dropHeartbeat: 0.2,
            duplicateDelivery: 0.2
          }
        })
      )
    )
    return Effect.gen(function* () {
      yield* (yield* TaskTest.Chaos).resume
      const queueing = yield* Effect.fork(
        Effect.forEach(Array(20).fill(undefined), () => Effect.ignore(Note.queue()), { concurrency: "unbounded" })
      )
      yield* TaskTest.advance("1 hour")
      yield* Fiber.join(queueing)
      const states = yield* stateOf
      assert.lengthOf(states, 20)
      assert.deepStrictEqual(
        states.filter((state) => state !== "success" && state !== "failure"),
        []
      )
      const ids: ReadonlyArray<TaskRun.RunId> = (yield* TaskTest.queued(Note)).map(({ id }) => id)
      const ends = (yield* TaskTest.events).filter(({ state }) => state === "success" || state === "failure")
      assert.deepStrictEqual(ends.map(({ run }) => run.id).sort(), [...ids].sort())
      yield* (yield* TaskTest.Chaos).calm
    }).pipe(Effect.provide(Storm))
  })
})

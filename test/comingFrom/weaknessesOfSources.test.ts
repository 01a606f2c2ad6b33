/* The second tables of `docs/coming-from.md`, for the systems whose sources and pulls are other people's. */
import { assert, describe, it } from "@effect/vitest"
import { Subscription, TaskSource } from "@effect-tasks/core"
import { Cause, Effect, Fiber, Schedule, Stream, TestClock } from "effect"
import { makeBroker, startedFleet } from "../fixtures/messages.js"
import { consuming, held, isDone, settle } from "../fixtures/sources.js"

const exponential = Schedule.exponential("1 second")

/** A source that is asked every second, and how often it was. */
const polled = <P extends TaskSource.Produced, E>(
  produce: (poll: number) => Effect.Effect<P, E>,
  backoff?: Schedule.Schedule<unknown, E>
) => {
  const count = { polls: 0 }
  const source = TaskSource.polling({
    interval: "1 second",
    produce: Effect.suspend(() => produce(++count.polls)),
    backoff
  })
  return { count, source }
}

describe("fastpubsub", () => {
  it.scoped("Equal names hide a dead task", () =>
    Effect.gen(function* () {
      const { die, fleet } = yield* startedFleet(() => Effect.void, { isFatal: () => true })
      const twin = Subscription.make("orders", { pull: Stream.never, handle: () => Effect.void })
      const error = yield* Effect.flip(fleet.create(twin))
      assert.deepInclude(error, { _tag: "DuplicateSubscription", subscription: "orders" })
      yield* die
      assert.deepStrictEqual([yield* fleet.alive, yield* fleet.isAlive], [{ orders: false }, false])
    })
  )

  it.scoped("Waiting for an acknowledgement blocks the loop", () =>
    Effect.gen(function* () {
      const { log, send, state, status } = yield* startedFleet(() => Effect.void, {
        maxMessages: 1,
        ackTimeout: "10 seconds"
      })
      state.ack = Effect.never
      yield* send("a")
      state.ack = Effect.void
      yield* send("b", "c")
      assert.deepStrictEqual(log, ["ack b", "ack c"])
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* status, { acked: 2, unsettled: 1, inFlight: 0 })
    })
  )

  it.scoped("A dead stream is not begun again", () =>
    Effect.gen(function* () {
      const { die, fleet, log, send, state } = yield* startedFleet(() => Effect.void, { restart: exponential })
      state.isDown = true
      yield* die
      assert.deepStrictEqual([yield* fleet.isAlive, yield* fleet.isReady], [true, false])
      yield* TestClock.adjust("2 seconds")
      state.isDown = false
      yield* TestClock.adjust("1 second") // tried after one second, and again two later
      assert.deepStrictEqual([state.opened, yield* fleet.isReady], [3, true])
      yield* send("a")
      assert.deepStrictEqual(log, ["ack a"])
    })
  )

  it.scoped("A partial start is not rolled back", () =>
    Effect.gen(function* () {
      const { first, second } = yield* Effect.all({ first: makeBroker, second: makeBroker })
      const fleet = yield* Subscription.manager
      yield* fleet.create(Subscription.make("first", { pull: first.pull, handle: () => Effect.void }))
      yield* fleet.create(Subscription.make("second", { pull: second.pull, handle: () => Effect.void }))
      second.state.isDown = true
      const error = yield* Effect.flip(fleet.start)
      assert.deepInclude(error, { _tag: "SubscriptionNotStarted", subscription: "second" })
      assert.deepStrictEqual([first.state.opened, first.state.closed], [1, 1])
      assert.deepStrictEqual(yield* fleet.alive, { first: false, second: false })
    })
  )

  it.scoped("A shutdown that runs out of time forgets which task hung", () =>
    Effect.gen(function* () {
      const { fleet, send } = yield* startedFleet((id) =>
        id === "hangs" ? Effect.never : Effect.uninterruptible(Effect.never)
      )
      yield* send("hangs", "is deaf")
      const shutdown = yield* Effect.fork(fleet.shutdown("10 seconds"))
      yield* TestClock.adjust("15 seconds") // the default of `cleanup` is 5 seconds
      assert.deepStrictEqual(yield* Fiber.join(shutdown), {
        drained: [],
        interrupted: [{ subscription: "orders", messageId: "hangs" }],
        overran: [{ subscription: "orders", messageId: "is deaf" }]
      })
    })
  )

  it.scoped("The shutdown timeout must be below the grace of the platform", () =>
    Effect.gen(function* () {
      const { fleet, log, send } = yield* startedFleet(() => Effect.never, { maxMessages: 1 })
      yield* send("begun")
      yield* send("waits") // it stays with the broker
      yield* fleet.shutdown(0)
      assert.deepStrictEqual(log, ["nack begun"])
    })
  )
})

describe("Launchpad", () => {
  it.effect("A consumer serves a single time", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 1 })
      const reports = yield* Effect.forEach([2, 3], (tasks) =>
        consumer.consume(polled((poll) => Effect.succeed(poll <= tasks ? Effect.void : undefined)).source)
      )
      assert.deepStrictEqual(
        reports.map(({ started }) => started),
        [2, 3]
      )
    })
  )

  it.effect("Nothing can be cancelled", () =>
    Effect.gen(function* () {
      const { running, task } = yield* held // counts in a finalizer what runs
      const { count, source } = polled(() => Effect.succeed(task))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const fiber = yield* Effect.fork(consumer.consume(source))
      yield* settle
      assert.strictEqual(running.now, 2)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(running.now, 0)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count.polls, 2)
    })
  )

  it.effect("A task has no time limit", () =>
    Effect.gen(function* () {
      const fiber = yield* Stream.make(Effect.never, Effect.void).pipe(
        TaskSource.drain({ workerLimit: 1, timeout: "1 hour" }),
        Effect.fork
      )
      yield* TestClock.adjust("1 hour")
      const { failures, succeeded } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([succeeded, failures.map(Cause.squash).map(Cause.isTimeoutException)], [1, [true]])
    })
  )

  it.effect("Failures are invisible to the caller", () =>
    Effect.gen(function* () {
      const report = yield* Stream.make(Effect.void, Effect.fail("no"), Effect.die("a bug")).pipe(
        TaskSource.drain({ workerLimit: 1 })
      )
      assert.deepInclude(report, { started: 3, succeeded: 1, failed: 2 })
      assert.deepStrictEqual(report.failures.map(Cause.squash), ["no", "a bug"])
    })
  )

  it.effect("Errors of the consumer are swallowed", () =>
    Effect.gen(function* () {
      // what a consumption cannot begin with is its error; a source that dies ends it, and is told of
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 1 })
      const refused = consumer.consume(TaskSource.polling({ interval: 0, produce: Effect.succeed(undefined) }))
      assert.deepInclude(yield* Effect.flip(refused), { _tag: "InvalidOption", option: "interval" })
      const broken = TaskSource.make<never, never, never, never>(
        Effect.succeed({ start: () => Effect.die("a bug of the source"), stop: Effect.succeed(true) })
      )
      const exit = yield* Effect.exit(consumer.consume(broken))
      assert.isTrue(exit._tag === "Failure" && Cause.squash(exit.cause) === "a bug of the source")
      // and it is free again
      const { productionFailures } = yield* consumer.consume(polled(() => Effect.die("a bug of the producer")).source)
      assert.deepStrictEqual(productionFailures.map(Cause.squash), ["a bug of the producer"])
    })
  )

  it.scoped("Restarts during a slow poll come in bursts", () =>
    Effect.gen(function* () {
      const { count, source } = polled(() => Effect.as(Effect.sleep("500 millis"), undefined))
      const sink: TaskSource.Sink<never, never> = {
        taskStarted: () => Effect.void,
        noTasksFound: Effect.void,
        taskProductionFailed: () => Effect.void
      }
      const { start } = yield* source.open
      yield* start(sink)
      yield* settle
      yield* Effect.repeatN(start(sink), 9)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(count.polls, 2) // ten starts during one poll are one poll more
    })
  )

  it.effect("A failing producer is asked again without a pause", () =>
    Effect.gen(function* () {
      const { count, source } = polled(
        (poll) => (poll <= 3 ? Effect.fail("no") : Effect.succeed(undefined)),
        exponential
      )
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 1 })
      const fiber = yield* Effect.fork(consumer.consume(source))
      yield* TestClock.adjust("6999 millis")
      assert.strictEqual(count.polls, 3) // after one second, and after two more; the next is due after four
      yield* TestClock.adjust("1 millis")
      const { productionsFailed } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([count.polls, productionsFailed], [4, 0])
    })
  )

  it.effect("Work over the limit is accepted", () =>
    Effect.gen(function* () {
      const { offer } = yield* consuming({ workerLimit: 2, overLimit: "wait" })
      const { endOne, running, task } = yield* held
      yield* Effect.repeatN(offer(task), 2)
      assert.deepStrictEqual([running.begun, running.most], [2, 2])
      yield* endOne
      assert.deepStrictEqual([running.begun, running.most], [3, 2])
    })
  )

  it.effect("It ends at the first empty poll", () =>
    Effect.gen(function* () {
      const { count, source } = polled((poll) => Effect.succeed(poll % 3 === 0 ? Effect.void : undefined))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 1, daemon: true })
      const fiber = yield* Effect.fork(consumer.consume(source))
      yield* TestClock.adjust("1 minute")
      assert.isFalse(yield* isDone(fiber))
      assert.isAtLeast(count.polls, 60)
      yield* consumer.stop
      assert.isAtLeast((yield* Fiber.join(fiber)).started, 20)
    })
  )
})

/* Fleets of subscriptions, against a broker that the test plays, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Subscription, SubscriptionError, TaskError } from "@effect-tasks/core"
import {
  Cause,
  Chunk,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberRef,
  HashMap,
  Layer,
  Logger,
  Option,
  Schedule,
  Scope,
  Stream,
  TestClock
} from "effect"
import { makeBroker, startedFleet } from "./fixtures/messages.js"
import { settle } from "./fixtures/sources.js"

const exponential = Schedule.exponential("1 second")

describe("what becomes of a message", () => {
  for (const [what, handle, settlement] of [
    ["succeeds", () => Effect.void, "ack"],
    ["drops it", () => Subscription.drop("not ours"), "ack"],
    [
      "drops it beneath a catchAllCause of a failure",
      () => Effect.orElse(Subscription.drop("no"), () => Effect.fail(1)),
      "ack"
    ],
    ["asks for it again", () => Subscription.retry("busy"), "nack"],
    ["fails", () => Effect.fail("no"), "nack"],
    ["dies", () => Effect.die("bug"), "nack"],
    [
      "throws",
      (): Effect.Effect<void> => {
        throw new Error("bug")
      },
      "nack"
    ],
    ["interrupts itself", () => Effect.interrupt, "nack"]
  ] as const) {
    it.scoped(`a handler that ${what}: ${settlement}`, () =>
      Effect.gen(function* () {
        const { log, send } = yield* startedFleet(handle)
        yield* send("a", "b")
        assert.deepStrictEqual(log, [`${settlement} a`, `${settlement} b`])
      })
    )
  }

  it.scoped("the log and the span of a handler name subscription and message; trouble is logged by its kind", () =>
    Effect.gen(function* () {
      const lines: Array<readonly [level: string, subscription: unknown, messageId: unknown]> = []
      const logger = Logger.make<unknown, void>(({ annotations, logLevel }) => {
        const of = (key: string) => Option.getOrUndefined(HashMap.get(annotations, key))
        lines.push([logLevel.label, of("subscription"), of("messageId")])
      })
      const spans: Array<string> = []
      yield* Effect.gen(function* () {
        const { send } = yield* startedFleet((id) =>
          Effect.zipRight(
            Effect.map(Effect.currentSpan, (span) => spans.push(span.name)),
            id === "plain"
              ? Effect.log("handled")
              : id === "again"
                ? Subscription.retry("busy")
                : id === "drop"
                  ? Subscription.drop("no")
                  : Effect.fail("no")
          )
        )
        yield* send("plain", "again", "drop", "bad")
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      assert.deepStrictEqual(lines, [
        ["INFO", "orders", "plain"],
        ["WARN", "orders", "again"],
        ["INFO", "orders", "drop"],
        ["ERROR", "orders", "bad"]
      ])
      assert.deepStrictEqual(spans, Array(4).fill("subscription orders"))
    })
  )

  it.scoped("a traceparent among the attributes continues the trace", () =>
    Effect.gen(function* () {
      const traces: Array<string> = []
      const fleet = yield* Subscription.managerWith({ shutdownTimeout: 0 })
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      const message = { id: "a", body: "a", attributes: { traceparent }, ack: Effect.void, nack: Effect.void }
      yield* fleet.create(
        Subscription.make("orders", {
          pull: Stream.concat(Stream.make(message), Stream.never),
          handle: () => Effect.map(Effect.currentSpan, (span) => traces.push(span.traceId))
        })
      )
      yield* fleet.start
      yield* settle
      assert.deepStrictEqual(traces, ["0af7651916cd43dd8448eb211c80319c"])
    })
  )

  it.scoped("each handler has a Scope of its own, closed before the acknowledgement", () =>
    Effect.gen(function* () {
      const broker = yield* makeBroker
      const fleet = yield* Subscription.managerWith({ shutdownTimeout: 0 })
      yield* fleet.create(
        Subscription.make("orders", {
          pull: broker.pull,
          handle: (id) => Effect.addFinalizer(() => Effect.sync(() => broker.log.push(`closed ${id}`)))
        })
      )
      yield* fleet.start
      yield* broker.send("a")
      assert.deepStrictEqual(broker.log, ["closed a", "ack a"])
    })
  )
})

describe("flow control", () => {
  it.scoped("handles no more than maxMessages at one time, and reads no further", () =>
    Effect.gen(function* () {
      const gate = yield* Effect.makeSemaphore(0)
      const { log, send, state, status } = yield* startedFleet(() => gate.take(1), { maxMessages: 2 })
      yield* send("a", "b", "c", "d")
      assert.strictEqual(state.taken, 2)
      assert.strictEqual((yield* status).inFlight, 2)
      yield* Effect.zipRight(gate.release(1), settle)
      assert.deepStrictEqual([log, state.taken], [["ack a"], 3])
    })
  )

  it.scoped("an acknowledgement that hangs holds up nobody, and is given up after its timeout (weak point of 3d)", () =>
    Effect.gen(function* () {
      const { log, send, state, status } = yield* startedFleet(() => Effect.void, {
        maxMessages: 1,
        ackTimeout: "1 minute"
      })
      state.ack = Effect.never
      yield* send("a")
      state.ack = Effect.void
      yield* send("b", "c")
      assert.deepStrictEqual(log, ["ack b", "ack c"])
      assert.strictEqual((yield* status).inFlight, 1)
      yield* TestClock.adjust("1 minute")
      const { acked, inFlight, unsettled } = yield* status
      assert.deepStrictEqual([acked, inFlight, unsettled], [2, 0, 1])
    })
  )

  it.scoped("an acknowledgement that fails is logged, and the next message is handled", () =>
    Effect.gen(function* () {
      const { log, send, state, status } = yield* startedFleet(() => Effect.void)
      state.ack = Effect.fail("no")
      yield* send("a")
      state.ack = Effect.void
      yield* send("b")
      assert.deepStrictEqual(log, ["ack b"])
      assert.strictEqual((yield* status).unsettled, 1)
    })
  )
})

describe("health", () => {
  it.scoped("nothing is alive before the start, all is after it, and an empty fleet is neither", () =>
    Effect.gen(function* () {
      const broker = yield* makeBroker
      const fleet = yield* Subscription.manager
      assert.deepStrictEqual(yield* fleet.alive, {})
      assert.deepStrictEqual([yield* fleet.isAlive, yield* fleet.isReady], [false, false])
      yield* fleet.create(Subscription.make("a", { pull: broker.pull, handle: () => Effect.void }))
      yield* fleet.create(Subscription.make("b", { pull: Stream.never, handle: () => Effect.void }))
      assert.deepStrictEqual(yield* fleet.alive, { a: false, b: false })
      yield* fleet.start
      assert.deepStrictEqual(
        [yield* fleet.alive, yield* fleet.ready],
        [
          { a: true, b: true },
          { a: true, b: true }
        ]
      )
      assert.deepStrictEqual([yield* fleet.isAlive, yield* fleet.isReady], [true, true])
      yield* fleet.shutdown()
      assert.deepStrictEqual(yield* fleet.alive, {})
      assert.isFalse(yield* fleet.isAlive)
    })
  )

  it.scoped("two of one name are refused, for one would hide the other (weak point of 3d)", () =>
    Effect.gen(function* () {
      const fleet = yield* Subscription.manager
      const make = Subscription.make("orders", { pull: Stream.never, handle: () => Effect.void })
      yield* fleet.create(make)
      assert.instanceOf(yield* Effect.flip(fleet.create(make)), SubscriptionError.DuplicateSubscription)
    })
  )

  for (const [what, name, options] of [
    ["name", "", {}],
    ["maxMessages", "a", { maxMessages: 0 }],
    ["ackTimeout", "a", { ackTimeout: 0 }]
  ] as const) {
    it.scoped(`refuses a wrong ${what}`, () =>
      Effect.gen(function* () {
        const fleet = yield* Subscription.manager
        const made = Subscription.make(name, { pull: Stream.never, handle: () => Effect.void, ...options })
        const error = yield* Effect.flip(fleet.create(made))
        assert.instanceOf(error, TaskError.InvalidOption)
        assert.include(error.message, what)
      })
    )
  }
})

describe("a dead pull", () => {
  it.scoped("is opened again with backoff, alive but not ready meanwhile (weak point of 3d)", () =>
    Effect.gen(function* () {
      const { die, fleet, log, send, state, status } = yield* startedFleet(() => Effect.void, { restart: exponential })
      state.isDown = true
      yield* die
      assert.deepStrictEqual([yield* fleet.isAlive, yield* fleet.isReady], [true, false])
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(state.opened, 3)
      state.isDown = false
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(state.opened, 4)
      assert.deepStrictEqual([yield* fleet.isAlive, yield* fleet.isReady], [true, true])
      yield* send("a")
      assert.deepStrictEqual(log, ["ack a"])
      const { lastError, restarts } = yield* status
      assert.deepStrictEqual([restarts, lastError?.message], [1, "down"])
    })
  )

  it.scoped("a pull that gave a message begins its backoff anew", () =>
    Effect.gen(function* () {
      const { die, send, state } = yield* startedFleet(() => Effect.void, { restart: exponential })
      for (const expected of [2, 3, 4]) {
        yield* send("a")
        yield* die
        yield* TestClock.adjust("1 second")
        assert.strictEqual(state.opened, expected)
      }
      yield* die
      yield* TestClock.adjust("1 second")
      yield* die
      yield* TestClock.adjust("1 second")
      assert.strictEqual(state.opened, 5)
    })
  )

  it.scoped("is told of once, with its error, until it is open again", () =>
    Effect.gen(function* () {
      const causes: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ cause }) => causes.push(Cause.squash(cause)))
      yield* Effect.gen(function* () {
        const { die, state } = yield* startedFleet(() => Effect.void, { restart: exponential })
        state.isDown = true
        yield* die
        yield* TestClock.adjust("1 minute")
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      assert.lengthOf(causes, 1)
      assert.deepInclude(causes[0], { _tag: "Lost", message: "gone" })
    })
  )

  it.scoped("with the default schedule it goes on for ever, at most some 36 seconds apart", () =>
    Effect.gen(function* () {
      const { die, state, status } = yield* startedFleet(() => Effect.void)
      state.isDown = true
      yield* die
      yield* TestClock.adjust("1 hour")
      assert.isAtLeast(state.opened, 100)
      assert.strictEqual((yield* status).state, "restarting")
    })
  )

  it.scoped("a fatal failure ends it", () =>
    Effect.gen(function* () {
      const { die, fleet, state, status } = yield* startedFleet(() => Effect.void, {
        isFatal: (failure) => failure._tag === "Lost"
      })
      yield* die
      assert.deepStrictEqual([yield* fleet.isAlive, (yield* status).state], [false, "ended"])
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(state.opened, 1)
      // another start brings it back
      yield* fleet.start
      assert.isTrue(yield* fleet.isReady)
    })
  )

  it.scoped("a schedule that is done ends it", () =>
    Effect.gen(function* () {
      const { die, fleet, state } = yield* startedFleet(() => Effect.void, { restart: Schedule.recurs(2) })
      state.isDown = true
      yield* die
      assert.isFalse(yield* fleet.isAlive)
      assert.strictEqual(state.opened, 3)
    })
  )

  it.scoped("a stream that ends or dies is one too", () =>
    Effect.gen(function* () {
      const failures: Array<string> = []
      const fleet = yield* Subscription.manager
      const isFatal = (failure: SubscriptionError.PullEnded | SubscriptionError.PullDied) => {
        failures.push(failure._tag)
        return true
      }
      yield* fleet.create(Subscription.make("a", { pull: Stream.empty, handle: () => Effect.void, isFatal }))
      yield* fleet.create(Subscription.make("b", { pull: Stream.die("bug"), handle: () => Effect.void, isFatal }))
      yield* fleet.start
      yield* settle
      assert.deepStrictEqual(failures.sort(), ["PullDied", "PullEnded"])
      assert.deepStrictEqual(yield* fleet.alive, { a: false, b: false })
    })
  )

  it.scoped("a fault of isFatal ends the subscription, and is told of", () =>
    Effect.gen(function* () {
      const { die, status } = yield* startedFleet(() => Effect.void, {
        isFatal: () => {
          throw new Error("a bug in isFatal")
        }
      })
      yield* die
      const { lastError, state } = yield* status
      assert.strictEqual(state, "ended")
      assert.include(lastError?.message, "a bug in isFatal")
    })
  )

  it.scoped("stays open until the messages that it gave are settled", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { die, log, send, state } = yield* startedFleet(() => Deferred.await(gate), { restart: exponential })
      yield* send("a")
      yield* die
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([state.opened, state.closed], [2, 0])
      yield* Deferred.succeed(gate, undefined)
      yield* settle
      assert.deepStrictEqual([log, state.closed], [["ack a"], 1])
    })
  )
})

describe("start", () => {
  it.scoped(
    "when one cannot be started, those before it are stopped, and the error says which (weak point of 3d)",
    () =>
      Effect.gen(function* () {
        const [good, bad] = yield* Effect.all([makeBroker, makeBroker])
        const fleet = yield* Subscription.managerWith({ shutdownTimeout: 0 })
        const handle = () => Effect.never
        yield* fleet.create(Subscription.make("good", { pull: good.pull, handle }))
        yield* fleet.create(Subscription.make("bad", { pull: bad.pull, handle }))
        yield* fleet.create(Subscription.make("never", { pull: Stream.dieMessage("not reached"), handle }))
        bad.state.isDown = true
        yield* good.send("a")
        const fiber = yield* Effect.fork(Effect.flip(fleet.start))
        yield* TestClock.adjust("10 seconds")
        const error = yield* Fiber.join(fiber)
        assert.instanceOf(error, SubscriptionError.SubscriptionNotStarted)
        assert.strictEqual(error.subscription, "bad")
        assert.include(error.message, "down")
        assert.deepStrictEqual(yield* fleet.alive, { good: false, bad: false, never: false })
        assert.deepStrictEqual([good.state.opened, good.state.closed], [1, 1])
        assert.deepStrictEqual(bad.state.closed, 0)
      })
  )

  it.scoped("can be tried again, and starts what was added since", () =>
    Effect.gen(function* () {
      const { fleet, state } = yield* startedFleet(() => Effect.void)
      const other = yield* makeBroker
      yield* fleet.create(Subscription.make("other", { pull: other.pull, handle: () => Effect.void }))
      other.state.isDown = true
      yield* Effect.flip(fleet.start)
      // what ran before this start goes on
      assert.deepStrictEqual(yield* fleet.ready, { orders: true, other: false })
      other.state.isDown = false
      yield* fleet.start
      assert.isTrue(yield* fleet.isReady)
      assert.strictEqual(state.opened, 1)
    })
  )

  it.scoped("a shutdown ends a start that hangs", () =>
    Effect.gen(function* () {
      const fleet = yield* Subscription.manager
      yield* fleet.create(
        Subscription.make("slow", { pull: Effect.as(Effect.never, Stream.never), handle: () => Effect.void })
      )
      const start = yield* Effect.fork(Effect.exit(fleet.start))
      yield* settle
      yield* fleet.shutdown()
      const exit = yield* Fiber.join(start)
      assert.isTrue(Exit.isFailure(exit) && Option.getOrThrow(Cause.failureOption(exit.cause))._tag === "NotRunning")
    })
  )
})

describe("shutdown", () => {
  it.scoped("waits for messages in flight, acknowledges them, and reads no more", () =>
    Effect.gen(function* () {
      const { fleet, log, send, state } = yield* startedFleet(() => Effect.sleep("10 seconds"))
      yield* send("a", "b")
      const shutdown = yield* Effect.fork(fleet.shutdown("30 seconds"))
      yield* settle
      yield* send("c")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), { drained: ["orders"], interrupted: [], overran: [] })
      assert.deepStrictEqual([log.sort(), state.closed, state.taken], [["ack a", "ack b"], 1, 2])
    })
  )

  it.scoped("interrupts what overruns the deadline, gives it back, and names it (weak point of 3d)", () =>
    Effect.gen(function* () {
      const { fleet, log, send } = yield* startedFleet((id) =>
        id === "quick" ? Effect.sleep("1 second") : id === "slow" ? Effect.never : Effect.uninterruptible(Effect.never)
      )
      const quick = yield* makeBroker
      yield* fleet.create(Subscription.make("other", { pull: quick.pull, handle: () => Effect.void }))
      yield* fleet.start
      yield* send("quick", "slow", "deaf")
      const shutdown = yield* Effect.fork(fleet.shutdown("30 seconds"))
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(log, ["ack quick", "nack slow"])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), {
        drained: ["other"],
        interrupted: [{ subscription: "orders", messageId: "slow" }],
        overran: [{ subscription: "orders", messageId: "deaf" }]
      })
    })
  )

  it.scoped("gives back what was read and not begun, by release where there is one", () =>
    Effect.gen(function* () {
      const { log, message } = yield* makeBroker
      const fleet = yield* Subscription.manager
      const messages = ["a", "b", "c"].map((id) =>
        id === "c" ? { ...message(id), release: Effect.sync(() => log.push("release c")) } : message(id)
      )
      yield* fleet.create(
        Subscription.make("orders", {
          pull: Stream.concat(Stream.fromChunk(Chunk.unsafeFromArray(messages)), Stream.never),
          handle: () => Effect.sleep("1 second"),
          maxMessages: 1
        })
      )
      yield* fleet.start
      yield* settle
      const shutdown = yield* Effect.fork(fleet.shutdown())
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(shutdown)).drained, ["orders"])
      assert.deepStrictEqual(log, ["nack b", "release c", "ack a"])
    })
  )

  it.scoped("a second call gives the same report, and a fleet that was shut down takes nothing on", () =>
    Effect.gen(function* () {
      const { fleet } = yield* startedFleet(() => Effect.void)
      const [first, second] = yield* Effect.all([fleet.shutdown(), fleet.shutdown("1 second")], {
        concurrency: "unbounded"
      })
      assert.strictEqual(first, second)
      const other = Subscription.make("other", { pull: Stream.never, handle: () => Effect.void })
      assert.instanceOf(yield* Effect.flip(fleet.create(other)), SubscriptionError.NotRunning)
      assert.instanceOf(yield* Effect.flip(fleet.start), SubscriptionError.NotRunning)
    })
  )

  it.effect("comes with the end of the Scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { log, send, state } = yield* Scope.extend(
        startedFleet(() => Effect.never),
        scope
      )
      yield* send("a")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([log, state.closed], [["nack a"], 1])
    })
  )

  it.scoped("a pull that is being opened again is no obstacle", () =>
    Effect.gen(function* () {
      const { die, fleet, state } = yield* startedFleet(() => Effect.void)
      state.isDown = true
      yield* die
      assert.deepStrictEqual((yield* fleet.shutdown()).drained, ["orders"])
      const { opened } = state
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(state.opened, opened)
    })
  )
})

class Mailer extends Context.Tag("test/Mailer")<Mailer, { readonly send: (to: string) => Effect.Effect<void> }>() {}

describe("layer", () => {
  it.effect("starts its subscriptions with the services that they need, and shuts them down with it", () =>
    Effect.gen(function* () {
      const { log, pull, send, state } = yield* makeBroker
      const mails: Array<string> = []
      const Orders = Subscription.make("orders", {
        pull,
        handle: (id) => Effect.flatMap(Mailer, (mailer) => mailer.send(id))
      })
      const Live = Subscription.layer([Orders]).pipe(
        Layer.provide(Layer.succeed(Mailer, { send: (to) => Effect.sync(() => mails.push(to)) }))
      )
      yield* Effect.gen(function* () {
        const fleet = yield* Subscription.Fleet
        assert.isTrue(yield* fleet.isReady)
        yield* send("a")
      }).pipe(Effect.provide(Live))
      assert.deepStrictEqual([mails, log, state.closed], [["a"], ["ack a"], 1])
    })
  )

  it.effect("fails when one cannot be started", () =>
    Effect.gen(function* () {
      const { pull, state } = yield* makeBroker
      state.isDown = true
      const Live = Subscription.layer([Subscription.make("orders", { pull, handle: () => Effect.void })])
      assert.instanceOf(yield* Effect.flip(Effect.scoped(Layer.build(Live))), SubscriptionError.SubscriptionNotStarted)
    })
  )
})

describe("the fiber of a handler", () => {
  it.scoped("sees what the fiber that started the fleet had set", () =>
    Effect.gen(function* () {
      const ref = FiberRef.unsafeMake("default")
      const seen: Array<string> = []
      const { send } = yield* Effect.locally(
        startedFleet(() => Effect.map(FiberRef.get(ref), (value) => seen.push(value))),
        ref,
        "mine"
      )
      yield* send("a")
      assert.deepStrictEqual(seen, ["mine"])
    })
  )
})

/* What people know from fastpubsub, row by row as `docs/coming-from.md` lists it. */
import { assert, describe, it } from "@effect/vitest"
import { Subscription, Task, TaskConsumer, TaskGroup, TaskManager, TaskTest } from "@effect-tasks/core"
import { RedisStream } from "@effect-tasks/redis"
import { Clock, Effect, Exit, Fiber, Layer, Schema, Scope, Stream, TestClock } from "effect"
import { makeBroker, startedFleet } from "../fixtures/messages.js"
import { settle } from "../fixtures/sources.js"
import { deadLetters, eventually, orders, pending, publishAll, soon, worker } from "../redis/orders.js"
import { command, freshKey, isSkipped, Live } from "../redis/server.js"
import { Add, all, handlers, kit, Slow, Talk } from "./setup.js"

const nothing = () => Effect.void

/** A fleet that is not started, of two subscriptions. */
const registered = Effect.gen(function* () {
  const fleet = yield* Subscription.managerWith({ shutdownTimeout: 0 })
  const brokers = yield* Effect.all({ orders: makeBroker, refunds: makeBroker })
  for (const name of ["orders", "refunds"] as const) {
    yield* fleet.create(Subscription.make(name, { pull: brokers[name].pull, handle: nothing }))
  }
  return { fleet, ...brokers }
})

describe("AsyncTaskManager", () => {
  it.effect("AsyncTaskManager()", () =>
    Effect.gen(function* () {
      const broker = yield* makeBroker
      yield* Effect.scoped(
        Effect.gen(function* () {
          const fleet = yield* Subscription.manager
          yield* fleet.create(Subscription.make("orders", { pull: broker.pull, handle: nothing }))
          yield* fleet.start
          assert.deepStrictEqual([broker.state.opened, broker.state.closed], [1, 0])
        })
      )
      assert.deepStrictEqual([broker.state.opened, broker.state.closed], [1, 1])
    })
  )

  it.scoped("create_task(subscriber)", () =>
    Effect.gen(function* () {
      const { fleet, orders } = yield* registered
      yield* settle
      assert.deepStrictEqual([orders.state.opened, yield* fleet.alive], [0, { orders: false, refunds: false }])
      const error = yield* Effect.flip(
        fleet.create(Subscription.make("orders", { pull: Stream.never, handle: nothing }))
      )
      assert.deepInclude(error, { _tag: "DuplicateSubscription", subscription: "orders" })
    })
  )

  it.scoped("start()", () =>
    Effect.gen(function* () {
      const { fleet, orders, refunds } = yield* registered
      refunds.state.isDown = true
      const error = yield* Effect.flip(fleet.start)
      assert.deepInclude(error, { _tag: "SubscriptionNotStarted", subscription: "refunds" })
      assert.deepStrictEqual([orders.state.closed, yield* fleet.alive], [1, { orders: false, refunds: false }])
      refunds.state.isDown = false
      yield* fleet.start
      assert.deepStrictEqual(yield* fleet.alive, { orders: true, refunds: true })
    })
  )

  it.scoped("alive()", () =>
    Effect.gen(function* () {
      const { fleet, orders } = yield* registered
      assert.deepStrictEqual(yield* fleet.alive, { orders: false, refunds: false })
      yield* fleet.start
      orders.state.isDown = true
      yield* orders.die
      assert.deepStrictEqual(yield* fleet.alive, { orders: true, refunds: true }) // it will pull again by itself
      assert.isTrue(yield* fleet.isAlive)
      yield* fleet.shutdown()
      assert.deepStrictEqual(yield* fleet.alive, {})
      assert.isFalse(yield* fleet.isAlive)
    })
  )

  it.scoped("ready()", () =>
    Effect.gen(function* () {
      const { fleet, orders } = yield* registered
      assert.deepStrictEqual(yield* fleet.ready, { orders: false, refunds: false })
      yield* fleet.start
      assert.deepStrictEqual(yield* fleet.ready, { orders: true, refunds: true })
      orders.state.isDown = true
      yield* orders.die
      assert.deepStrictEqual(yield* fleet.ready, { orders: false, refunds: true })
      assert.isFalse(yield* fleet.isReady)
      orders.state.isDown = false
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* fleet.isReady)
      yield* fleet.shutdown()
      assert.deepStrictEqual(yield* fleet.ready, {})
    })
  )

  it.scoped("shutdown(timeout)", () =>
    Effect.gen(function* () {
      const { fleet, log, send } = yield* startedFleet((id) =>
        id === "hangs" ? Effect.never : Effect.sleep("5 seconds")
      )
      yield* send("ends", "hangs")
      const shutdown = yield* Effect.fork(fleet.shutdown("10 seconds"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), {
        drained: [],
        interrupted: [{ subscription: "orders", messageId: "hangs" }],
        overran: []
      })
      assert.deepStrictEqual(log, ["ack ends", "nack hangs"])
    })
  )
})

describe("a subscription", () => {
  it.scoped("PubSubStreamingPullTask", () =>
    Effect.gen(function* () {
      // a pull is a stream of messages, each of which says what to do when it was handled, or could not be
      const settled: Array<string> = []
      const message = (id: string): Subscription.Message<string> => ({
        id,
        body: id.toUpperCase(),
        ack: Effect.sync(() => settled.push(`ack ${id}`)),
        nack: Effect.sync(() => settled.push(`nack ${id}`))
      })
      const pull = Stream.concat(Stream.make(message("a"), message("b")), Stream.never)
      const fleet = yield* Subscription.manager
      yield* fleet.create(
        Subscription.make("letters", {
          pull,
          handle: (body) => (body === "A" ? Effect.void : Effect.fail("not an A"))
        })
      )
      yield* fleet.start
      yield* settle
      assert.deepStrictEqual(settled, ["ack a", "nack b"])
    })
  )

  it.scoped("max_messages", () =>
    Effect.gen(function* () {
      const { send, state, status } = yield* startedFleet(() => Effect.sleep("1 second"), { maxMessages: 2 })
      yield* send("a", "b", "c", "d", "e")
      assert.deepStrictEqual([state.taken, (yield* status).inFlight], [2, 2])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([state.taken, (yield* status).acked], [4, 2])
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(yield* status, { inFlight: 0, acked: 5 })
    })
  )

  it.scoped("return, Drop and Retry", () =>
    Effect.gen(function* () {
      const { log, send } = yield* startedFleet((id) =>
        id === "drop"
          ? Subscription.drop("nothing to do")
          : id === "retry"
            ? Subscription.retry("not now")
            : id === "fail"
              ? Effect.fail("broken")
              : Effect.succeed("done")
      )
      yield* send("return", "drop", "retry", "fail")
      assert.deepStrictEqual(log, ["ack return", "ack drop", "nack retry", "nack fail"])
    })
  )

  it.effect("enable_message_ordering and enable_exactly_once_delivery", () =>
    Effect.gen(function* () {
      // one message at a time keeps the order of the pull; a message that comes twice is one run
      const { log, send } = yield* startedFleet(
        (id) => Talk.queue({ text: id }, { idempotencyKey: { key: id, hold: "1 day" } }),
        { maxMessages: 1 }
      )
      yield* send("a", "b", "a", "c")
      assert.deepStrictEqual(log, ["ack a", "ack b", "ack a", "ack c"])
      yield* TaskTest.drain()
      const ended = yield* TaskTest.ended(Talk)
      assert.deepStrictEqual(
        ended.map(({ payload }) => payload),
        [{ text: "a" }, { text: "b" }, { text: "c" }]
      )
    }).pipe(Effect.scoped, Effect.provide(kit(TaskGroup.make(Talk), { Talk: nothing })))
  )

  it.effect("PubSubBroker(shutdown_timeout)", () =>
    Effect.gen(function* () {
      const { log, pull, send } = yield* makeBroker
      const Fleet = Subscription.layer([Subscription.make("orders", { pull, handle: () => Effect.never })], {
        shutdownTimeout: "20 seconds"
      })
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Fleet, scope)
      yield* send("a")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("19 seconds")
      assert.deepStrictEqual(log, [])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(log, ["nack a"])
    })
  )
})

describe.skipIf(isSkipped)("subscriptions on Redis", () => {
  it.scopedLive("ack_deadline_seconds", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const [id] = yield* publishAll(stream, 1)
      yield* command("XGROUP", "CREATE", stream.name, "billing", "0")
      // a consumer that takes it and is never heard of again
      yield* command("XREADGROUP", "GROUP", "billing", "crashed", "COUNT", 1, "STREAMS", stream.name, ">")
      const seen: Array<unknown> = []
      yield* worker(stream, (_, { deliveries, id }) => Effect.sync(() => seen.push({ id, deliveries })), {
        claimAfter: "100 millis"
      })
      yield* soon(() => seen.length > 0)
      assert.deepStrictEqual(seen, [{ id, deliveries: 2 }])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("min_backoff_delay_secs and max_backoff_delay_secs", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const deliveredAt: Array<number> = []
      const note = Effect.map(Clock.currentTimeMillis, (now) => deliveredAt.push(now))
      yield* worker(
        stream,
        () => Effect.flatMap(note, (times) => (times === 1 ? Subscription.retry("busy") : Effect.void)),
        { redeliverAfter: "100 millis" }
      )
      yield* publishAll(stream, 1)
      yield* soon(() => deliveredAt.length === 2)
      // it has rested; the clocks of server and test differ by a moment
      assert.isAtLeast(deliveredAt[1]! - deliveredAt[0]!, 90)
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("dead_letter_topic and max_delivery_attempts", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      let handled = 0
      yield* worker(
        stream,
        () =>
          Effect.zipRight(
            Effect.sync(() => handled++),
            Effect.fail("no")
          ),
        {
          maxDeliveries: 2
        }
      )
      yield* publishAll(stream, 1)
      yield* eventually(Effect.map(deadLetters(stream.name), (letters) => letters.length === 1))
      const [letter] = yield* deadLetters(stream.name)
      assert.deepInclude(letter, { id: "o0", "@dead.deliveries": "2" })
      assert.deepStrictEqual([handled, yield* pending(stream.name)], [2, 0])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("filter_expression, autocreate and autoupdate", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      assert.strictEqual(yield* command("EXISTS", stream.name), 0)
      // neither stream nor group is there; the handler drops what is not for it
      const seen: Array<string> = []
      yield* worker(stream, ({ amount, id }) =>
        amount === 0 ? Subscription.drop("nothing to pay") : Effect.sync(() => seen.push(id))
      )
      assert.deepStrictEqual(
        (yield* command("XINFO", "GROUPS", stream.name) as Effect.Effect<Array<unknown>>).length,
        1
      )
      yield* publishAll(stream, 2)
      yield* soon(() => seen.length > 0)
      yield* eventually(Effect.map(pending(stream.name), (count) => count === 0))
      assert.deepStrictEqual(seen, ["o1"])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("publish(topic, data)", () =>
    Effect.gen(function* () {
      const stream = RedisStream.make(yield* freshKey, {
        schema: Schema.Struct({ id: Schema.String, due: Schema.Date })
      })
      const due = new Date(1e12)
      const id = yield* RedisStream.publish(stream, { id: "a", due }, { attributes: { tenant: "t1" } })
      const pulled = yield* RedisStream.pull(stream, { group: "billing" })
      const [message] = yield* Stream.runCollect(Stream.take(pulled, 1))
      assert.deepStrictEqual(
        [message?.id, message?.body, message?.attributes],
        [id, { id: "a", due }, { tenant: "t1" }]
      )
    }).pipe(Effect.provide(Live))
  )
})

describe("application", () => {
  it.effect("on_startup, after_startup, on_shutdown and after_shutdown", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const hooks = (before: string, after: string) =>
        Layer.scopedDiscard(
          Effect.acquireRelease(
            Effect.sync(() => steps.push(before)),
            () => Effect.sync(() => steps.push(after))
          )
        )
      const Main = hooks("after_startup", "on_shutdown").pipe(
        Layer.provideMerge(TaskTest.consumer(all).pipe(Layer.provide(handlers))),
        Layer.provideMerge(TaskTest.layer),
        Layer.provide(hooks("on_startup", "after_shutdown"))
      )
      const work = Effect.flatMap(TaskConsumer.TaskConsumer, ({ status }) =>
        Effect.map(status, ({ phase }) => steps.push(phase))
      )
      yield* Effect.provide(work, Main)
      assert.deepStrictEqual(steps, ["on_startup", "after_startup", "running", "on_shutdown", "after_shutdown"])
    })
  )

  it.effect("routers and prefixes", () =>
    Effect.gen(function* () {
      const Mail = TaskGroup.make(Task.make("mail.send"), Task.make("mail.bounce"))
      const Shop = TaskGroup.make(Task.make("shop.order"))
      const tasks = yield* TaskGroup.byName(Mail.merge(Shop))
      assert.deepStrictEqual([...tasks.keys()], ["mail.send", "mail.bounce", "shop.order"])
      const twice = Mail.merge(TaskGroup.make(Task.make("mail.send")))
      assert.deepInclude(yield* Effect.flip(TaskGroup.byName(twice)), { _tag: "DuplicateTask", task: "mail.send" })
    })
  )

  it.effect("middlewares", () =>
    Effect.gen(function* () {
      // a middleware is a function of a handler's effect; the one that is applied last stands outermost
      const steps: Array<string> = []
      const around =
        (name: string) =>
        <A, E, R>(handler: Effect.Effect<A, E, R>) =>
          Effect.acquireUseRelease(
            Effect.sync(() => steps.push(`${name} in`)),
            () => handler,
            () => Effect.sync(() => steps.push(`${name} out`))
          )
      const Main = kit(TaskGroup.make(Add), {
        Add: ({ a, b }) => Effect.succeed(a + b).pipe(around("inner"), around("outer"))
      })
      yield* Effect.provide(Add.queueAndWait({ a: 1, b: 2 }), Main)
      assert.deepStrictEqual(steps, ["outer in", "inner in", "inner out", "outer out"])
    })
  )

  it.effect("--subscribers", () =>
    Effect.gen(function* () {
      // a process serves the tasks of the group that it is given, the rest waits for another
      const [here, there] = [yield* Add.queue({ a: 1, b: 2 }), yield* Slow.queue({ seconds: 1 })]
      yield* TaskTest.drain({ scheduled: true })
      assert.deepStrictEqual([(yield* here.poll).state, (yield* there.poll).state], ["success", "queued"])
    }).pipe(Effect.provide(kit(TaskGroup.make(Add), { Add: ({ a, b }) => Effect.succeed(a + b) })))
  )

  it.effect("--workers", () =>
    Effect.gen(function* () {
      // any number of consumers, in any number of processes, share the runs of a backend
      const performers = new Set<string>()
      const Note = Task.make("Note", { payload: { n: Schema.Int } })
      const group = TaskGroup.make(Note)
      const Main = Layer.merge(
        Layer.fresh(TaskTest.consumer(group, { name: "one", maxConcurrentTasks: 1, prefetch: 0 })),
        Layer.fresh(TaskTest.consumer(group, { name: "two", maxConcurrentTasks: 1, prefetch: 0 }))
      ).pipe(Layer.provide(Note.toLayer(() => Effect.sleep("1 second"))), Layer.provideMerge(TaskTest.layer))
      yield* Effect.gen(function* () {
        yield* Note.queueAll([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }])
        yield* TaskTest.drain({ scheduled: true })
        const { items } = yield* (yield* TaskManager.TaskManager).runs()
        items.forEach(({ attempts }) => performers.add(attempts[0]?.consumer.slice(0, 3) ?? "nobody"))
        assert.deepStrictEqual([...performers].sort(), ["one", "two"])
        assert.deepStrictEqual(items.map(({ endedAt }) => endedAt).sort(), [1_000, 1_000, 2_000, 2_000])
      }).pipe(Effect.provide(Main))
    })
  )
})

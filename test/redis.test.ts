/* Redis streams as subscriptions, on a real server. */
import { assert, describe, it } from "@effect/vitest"
import { Subscription, TaskError } from "@effect-tasks/core"
import { RedisStream } from "@effect-tasks/redis"
import { ConfigProvider, Deferred, Effect, Exit, Layer, Schema, Scope, Stream } from "effect"
import {
  deadLetters,
  eventually,
  type Handler,
  Order,
  orders,
  pending,
  publishAll,
  quick,
  soon,
  worker
} from "./redis/orders.js"
import { command, connection, freshKey, isSkipped, Live } from "./redis/server.js"

describe.skipIf(isSkipped)("RedisStream", () => {
  it.scopedLive("every message is handled and acknowledged, with its fields decoded and its attributes", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const seen: Array<unknown> = []
      const sent = yield* RedisStream.publish(stream, { id: "a", amount: 2.5 }, { attributes: { tenant: "t1" } })
      yield* worker(stream, (order, { attributes, deliveries, id }) =>
        Effect.sync(() => seen.push({ order, tenant: attributes?.tenant, deliveries, id }))
      )
      yield* publishAll(stream, 50)
      yield* soon(() => seen.length === 51)
      assert.deepStrictEqual(seen[0], { order: { id: "a", amount: 2.5 }, tenant: "t1", deliveries: 1, id: sent })
      yield* eventually(Effect.map(pending(stream.name), (count) => count === 0))
      assert.strictEqual(new Set(seen.map((one) => JSON.stringify(one))).size, 51)
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("the handler continues the trace of who published", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const traces: Array<string> = []
      yield* worker(stream, () => Effect.map(Effect.currentSpan, (span) => traces.push(span.traceId)))
      const traceId = yield* RedisStream.publish(stream, { id: "a", amount: 1 }).pipe(
        Effect.zipRight(Effect.map(Effect.currentSpan, (span) => span.traceId)),
        Effect.withSpan("checkout")
      )
      yield* soon(() => traces.length === 1)
      assert.deepStrictEqual(traces, [traceId])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("what is given back comes again, counted, until it is acknowledged", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const deliveries: Array<number | undefined> = []
      yield* worker(stream, (_, message) =>
        Effect.suspend(() => (deliveries.push(message.deliveries) < 3 ? Subscription.retry("busy") : Effect.void))
      )
      yield* publishAll(stream, 1)
      yield* soon(() => deliveries.length === 3)
      assert.deepStrictEqual(deliveries, [1, 2, 3])
      yield* eventually(Effect.map(pending(stream.name), (count) => count === 0))
      assert.deepStrictEqual(yield* deadLetters(stream.name), [])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("after maxDeliveries a message is moved to the dead letters, whole, and says why", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      let handled = 0
      yield* worker(
        stream,
        () =>
          Effect.suspend(() => {
            handled++
            return Effect.fail("no")
          }),
        { maxDeliveries: 3 }
      )
      const [id] = yield* publishAll(stream, 1)
      yield* eventually(Effect.map(deadLetters(stream.name), (letters) => letters.length === 1))
      assert.deepStrictEqual((yield* deadLetters(stream.name))[0], {
        id: "o0",
        amount: "0",
        "@dead.id": id!,
        "@dead.stream": stream.name,
        "@dead.group": "billing",
        "@dead.deliveries": "3",
        "@dead.reason": "it could not be handled"
      })
      assert.deepStrictEqual([handled, yield* pending(stream.name)], [3, 0])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("a message that does not fit the schema is a dead letter at once, and holds nothing up", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const seen: Array<string> = []
      yield* command("XADD", stream.name, "*", "id", "bad", "amount", "much")
      yield* worker(stream, ({ id }) => Effect.sync(() => seen.push(id)))
      yield* publishAll(stream, 1)
      yield* soon(() => seen.length === 1)
      const [letter] = yield* deadLetters(stream.name)
      assert.strictEqual(letter?.id, "bad")
      assert.include(letter?.["@dead.reason"], "much")
      assert.deepStrictEqual(seen, ["o0"])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("two consumers of a group share its messages; each goes to one of them", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const seen: Array<readonly [worker: number, id: string]> = []
      const handle =
        (worker: number): Handler =>
        ({ id }) =>
          Effect.zipRight(
            Effect.sync(() => seen.push([worker, id])),
            Effect.sleep("5 millis")
          )
      yield* worker(stream, handle(1), { maxMessages: 1, batch: 1 })
      yield* worker(stream, handle(2), { maxMessages: 1, batch: 1 })
      yield* publishAll(stream, 40)
      yield* soon(() => seen.length >= 40)
      assert.strictEqual(new Set(seen.map(([, id]) => id)).size, 40)
      assert.strictEqual(seen.length, 40)
      assert.deepStrictEqual(new Set(seen.map(([worker]) => worker)), new Set([1, 2]))
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive(
    "what a consumer had that crashed is taken over; what a living one has is not, however long it takes",
    () =>
      Effect.gen(function* () {
        const stream = yield* orders
        const [first] = yield* publishAll(stream, 1)
        yield* command("XGROUP", "CREATE", stream.name, "billing", "0")
        // a consumer that takes it and is never heard of again
        yield* command("XREADGROUP", "GROUP", "billing", "crashed", "COUNT", 1, "STREAMS", stream.name, ">")
        const gate = yield* Deferred.make<void>()
        const seen: Array<readonly [string, number | undefined]> = []
        const handle: Handler = (_, { deliveries, id }) =>
          Effect.zipRight(
            Effect.sync(() => seen.push([id, deliveries])),
            Deferred.await(gate)
          )
        yield* worker(stream, handle, { claimAfter: "300 millis" })
        yield* worker(stream, handle, { claimAfter: "300 millis" })
        yield* soon(() => seen.length === 1)
        // three times as long as a message may be without a sign
        yield* Effect.sleep("900 millis")
        assert.deepStrictEqual(seen, [[first!, 2]])
        yield* Deferred.succeed(gate, undefined)
        yield* eventually(Effect.map(pending(stream.name), (count) => count === 0))
      }).pipe(Effect.provide(Live))
  )

  it.scopedLive("what kills its consumers is buried without being handled again", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const [id] = yield* publishAll(stream, 1)
      yield* command("XGROUP", "CREATE", stream.name, "billing", "0")
      yield* command("XREADGROUP", "GROUP", "billing", "crashed", "COUNT", 1, "STREAMS", stream.name, ">")
      yield* command("XCLAIM", stream.name, "billing", "crashed", 0, id!, "IDLE", 10_000, "RETRYCOUNT", 3)
      let handled = 0
      yield* worker(stream, () => Effect.sync(() => handled++), { maxDeliveries: 3 })
      yield* eventually(Effect.map(deadLetters(stream.name), (letters) => letters.length === 1))
      const [letter] = yield* deadLetters(stream.name)
      assert.include(letter?.["@dead.reason"], "died 3 times")
      assert.deepStrictEqual([handled, yield* pending(stream.name)], [0, 0])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("a shutdown waits for what is in flight, gives the rest back uncounted, and leaves the group", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.extend(
        worker(
          stream,
          ({ id }) =>
            Effect.zipRight(
              Effect.sync(() => seen.push(id)),
              id === "o0" ? Effect.sleep("100 millis") : Effect.never
            ),
          { maxMessages: 2 }
        ),
        scope
      )
      yield* publishAll(stream, 5)
      yield* soon(() => seen.length >= 2)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(
        yield* command("XINFO", "CONSUMERS", stream.name, "billing").pipe(
          Effect.map((consumers) => (consumers as ReadonlyArray<unknown>).length)
        ),
        1
      )
      const rest: Array<readonly [string, number | undefined]> = []
      yield* worker(stream, ({ id }, { deliveries }) => Effect.sync(() => rest.push([id, deliveries])))
      yield* soon(() => rest.length === 4)
      assert.deepStrictEqual(rest.sort(), [
        ["o1", 1],
        ["o2", 1],
        ["o3", 1],
        ["o4", 1]
      ])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("when all connections are killed it is not ready, and then is again, and loses nothing", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const seen = new Set<string>()
      const states: Array<boolean> = []
      const fleet = yield* worker(stream, ({ id }) => Effect.sync(() => seen.add(id)), { connections: stream.name })
      yield* publishAll(stream, 5)
      yield* soon(() => seen.size === 5)
      const watch = Effect.map(fleet.isReady, (isReady) => {
        if (states.at(-1) !== isReady) {
          states.push(isReady)
        }
      })
      yield* Effect.fork(Effect.forever(Effect.zipRight(watch, Effect.yieldNow())))
      const client = yield* connection
      const ids = String(yield* Effect.promise(() => client.call("CLIENT", "LIST")))
        .split("\n")
        .filter((line) => line.includes(` name=${stream.name} `))
        .map((line) => /(?:^| )id=(\d+)/.exec(line)![1]!)
      assert.lengthOf(ids, 2, "one for commands, one for reading")
      for (const id of ids) {
        yield* Effect.promise(() => client.call("CLIENT", "KILL", "ID", id))
      }
      yield* soon(() => states.length >= 3)
      assert.deepStrictEqual(states.slice(0, 3), [true, false, true])
      yield* RedisStream.publish(stream, { id: "after", amount: 1 })
      yield* soon(() => seen.has("after"))
      assert.strictEqual((yield* fleet.status)[0]?.restarts, 1)
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("keeps about so many messages", () =>
    Effect.gen(function* () {
      const key = yield* freshKey
      const stream = RedisStream.make(key, { schema: Order, maxLength: 10 })
      yield* publishAll(stream, 500)
      assert.isBelow(Number(yield* command("XLEN", key)), 250)
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("refuses wrong options, wrong messages, and a key of another kind, as typed errors", () =>
    Effect.gen(function* () {
      const stream = yield* orders
      const tagOf = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.flip(self), ({ _tag }) => _tag)
      for (const wrong of [{ batch: 0 }, { claimAfter: 0 }, { maxDeliveries: 0 }, { redeliverAfter: "1 hour" }]) {
        assert.strictEqual(
          yield* tagOf(Effect.scoped(RedisStream.pull(stream, { group: "a", ...(wrong as object) }))),
          "InvalidOption"
        )
      }
      const Marked = RedisStream.make(stream.name, { schema: Schema.Struct({ "@id": Schema.String }) })
      assert.strictEqual(yield* tagOf(RedisStream.publish(Marked, { "@id": "a" })), "InvalidOption")
      const Short = RedisStream.make(stream.name, {
        schema: Schema.Struct({ id: Schema.String.pipe(Schema.maxLength(1)) })
      })
      assert.strictEqual(yield* tagOf(RedisStream.publish(Short, { id: "long" })), "ParseError")
      yield* command("SET", stream.name, "a string")
      const error = yield* Effect.flip(Effect.scoped(RedisStream.pull(stream, { group: "a" })))
      assert.instanceOf(error, TaskError.BackendError)
      assert.isFalse(error.transient)
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("a message without any field goes through", () =>
    Effect.gen(function* () {
      const stream = RedisStream.make(yield* freshKey, { schema: Schema.Struct({}) })
      yield* RedisStream.publish(stream, {})
      const pulled = yield* RedisStream.pull(stream, quick)
      const [message] = yield* Stream.runCollect(Stream.take(pulled, 1))
      assert.deepStrictEqual([message?.body, message?.attributes], [{}, {}])
    }).pipe(Effect.provide(Live))
  )

  it.scopedLive("layerConfig takes its url from the configuration; a server that is not there is a BackendError", () =>
    Effect.gen(function* () {
      const provider = ConfigProvider.fromMap(new Map([["REDIS_URL", "redis://127.0.0.1:1"]]))
      const layer = RedisStream.layerConfig({ url: Schema.Config("REDIS_URL", Schema.Redacted(Schema.String)) })
      const error = yield* Effect.flip(Layer.build(Layer.provide(layer, Layer.setConfigProvider(provider))))
      assert.instanceOf(error, TaskError.BackendError)
      assert.isTrue(error.transient)
    })
  )
})

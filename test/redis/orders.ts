/** A stream of orders on a real server, and the processes of a group that reads it. */
import { Subscription } from "@effect-tasks/core"
import { RedisStream } from "@effect-tasks/redis"
import { Effect, Layer, Schedule, Schema } from "effect"
import { command, freshKey, Live, named } from "./server.js"

export const Order = Schema.Struct({ id: Schema.String, amount: Schema.NumberFromString })

export const orders = Effect.map(freshKey, (key) => RedisStream.make(key, { schema: Order }))

export const quick = {
  group: "billing",
  claimEvery: "20 millis",
  redeliverAfter: "10 millis",
  claimAfter: "1 second"
} satisfies RedisStream.PullOptions

/** Waits until something is so. */
export const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (isSo) => isSo, schedule: Schedule.spaced("10 millis") })

export const soon = (condition: () => boolean) => eventually(Effect.sync(condition))

export type Handler = (
  order: typeof Order.Type,
  message: Subscription.Message<typeof Order.Type>
) => Effect.Effect<unknown, unknown>

/** A process of the group: a fleet with one subscription, and a connection of its own. */
export const worker = (
  stream: RedisStream.RedisStream<typeof Order.Type>,
  handle: Handler,
  options: Partial<RedisStream.PullOptions> & {
    readonly maxMessages?: number
    /** What the server calls its connections. */
    readonly connections?: string
  } = {}
) =>
  Effect.gen(function* () {
    const { connections, maxMessages, ...pullOptions } = options
    const redis = yield* Layer.build(connections === undefined ? Layer.fresh(Live) : named(connections))
    const fleet = yield* Subscription.managerWith({ shutdownTimeout: "1 second", cleanup: "1 second" })
    yield* fleet
      .create(
        Subscription.make("billing", {
          pull: RedisStream.pull(stream, { ...quick, ...pullOptions }),
          handle,
          maxMessages,
          restart: Schedule.spaced("50 millis")
        })
      )
      .pipe(Effect.provide(redis))
    yield* fleet.start
    return fleet
  })

export const publishAll = (stream: RedisStream.RedisStream<typeof Order.Type>, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => n),
    (n) => RedisStream.publish(stream, { id: `o${n}`, amount: n }),
    { concurrency: "unbounded" }
  )

export const pending = (key: string) =>
  Effect.map(command("XPENDING", key, "billing"), (reply) => Number((reply as ReadonlyArray<unknown>)[0]))

export const deadLetters = (key: string) =>
  Effect.map(command("XRANGE", `${key}:dead`, "-", "+"), (reply) =>
    (reply as ReadonlyArray<[string, ReadonlyArray<string>]>).map(([, flat]) =>
      Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!]))
    )
  )

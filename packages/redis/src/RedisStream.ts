/**
 * Redis streams as the pulls of subscriptions.
 *
 * Each subscription belongs to a consumer group, and each of its processes is a consumer of it: a message goes to one of
 * them, at least once. One that is acknowledged does not come again; one that is given back comes again after a while; those of
 * a consumer that died are taken over by the others. What was delivered too often, or does not fit the schema, is moved to a
 * stream of dead letters, with the reason. Needs Redis 6.2 or later.
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import type { Message } from "@effect-tasks/core/Subscription"
import { type BackendError, InvalidOption } from "@effect-tasks/core/TaskError"
import {
  Config,
  type ConfigError,
  Context,
  Duration,
  Effect,
  Layer,
  Redacted,
  Schema,
  type Scope,
  type Stream,
  type Tracer
} from "effect"
import type { ParseError } from "effect/ParseResult"
import type { Redis } from "ioredis"
import * as client from "./internal/client.js"
import * as reading from "./internal/reading.js"

/**
 * The connection to Redis.
 *
 * @since 0.1.0
 * @category services
 */
export class RedisStreams extends Context.Tag("@effect-tasks/redis/RedisStream/RedisStreams")<
  RedisStreams,
  { readonly client: Redis }
>() {}

/**
 * Where Redis is.
 *
 * - `url`: `redis://user:password@host:port/database`, or `rediss://` for TLS
 * - `connectTimeout`: how long a connection may take to be made. Default: 10 seconds
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  readonly url: Redacted.Redacted
  readonly connectTimeout?: Duration.DurationInput | undefined
}

/**
 * Connects to Redis. The connection is made again whenever it breaks; each pull has another one of its own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: ConnectOptions): Layer.Layer<RedisStreams, BackendError> =>
  Layer.scoped(
    RedisStreams,
    Effect.map(
      client.connect(Redacted.value(options.url), {
        connectTimeout: Duration.toMillis(options.connectTimeout ?? "10 seconds")
      }),
      (client) => ({ client })
    )
  )

/**
 * `layer`, with options from the configuration.
 *
 * @example
 * ```ts
 * import { RedisStream } from "@effect-tasks/redis"
 * import { Config } from "effect"
 *
 * const Live = RedisStream.layerConfig({ url: Config.redacted("REDIS_URL") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<ConnectOptions>
): Layer.Layer<RedisStreams, BackendError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(options), layer))

/**
 * The fields of a message, as Redis keeps them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fields extends reading.Fields {}

/**
 * A stream: the key that it has in Redis, and what its messages are.
 *
 * @since 0.1.0
 * @category models
 */
export interface RedisStream<in out A> {
  readonly name: string
  readonly schema: Schema.Schema<A, Fields>
  readonly maxLength: number
}

/**
 * Defines a stream.
 *
 * - `schema`: of a message. It is stored as fields of text, none of which may begin with `@`
 * - `maxLength`: about how many messages are kept; the oldest go first, also those that nobody has read. Default: 1,000,000
 *
 * @example
 * ```ts
 * import { RedisStream } from "@effect-tasks/redis"
 * import { Schema } from "effect"
 *
 * const Orders = RedisStream.make("orders", {
 *   schema: Schema.Struct({ id: Schema.String, amount: Schema.NumberFromString })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I extends Fields>(
  name: string,
  options: { readonly schema: Schema.Schema<A, I>; readonly maxLength?: number | undefined }
): RedisStream<A> => ({
  name,
  schema: options.schema as unknown as Schema.Schema<A, Fields>,
  maxLength: options.maxLength ?? 1_000_000
})

/**
 * Adds a message to a stream, and gives the id that it got. The trace of the caller goes with it, and `attributes`.
 *
 * @since 0.1.0
 * @category publishing
 */
export const publish = <A>(
  stream: RedisStream<A>,
  message: A,
  options: { readonly attributes?: { readonly [name: string]: string } | undefined } = {}
): Effect.Effect<string, BackendError | ParseError | InvalidOption, RedisStreams> =>
  Effect.gen(function* () {
    const { client: commands } = yield* RedisStreams
    const maxLength = yield* checkCount("maxLength", stream.maxLength, 1)
    const body = yield* Schema.encode(stream.schema)(message)
    const marked = Object.keys(body).find((name) => name.startsWith(reading.attributeMark))
    if (marked !== undefined) {
      return yield* new InvalidOption({
        option: "a field",
        value: marked,
        expected: "a name that does not begin with @"
      })
    }
    const span = yield* Effect.option(Effect.currentParentSpan)
    const attributes = {
      ...(span._tag === "None" ? {} : { traceparent: traceparentOf(span.value) }),
      ...options.attributes
    }
    const fields = [
      ...Object.entries(body),
      ...Object.entries(attributes).map(([name, value]) => [`${reading.attributeMark}${name}`, value] as const)
    ].flat()
    // a message of Redis has one field at least
    const args = fields.length > 0 ? fields : [reading.attributeMark, ""]
    return String(yield* client.call(commands, "publish", "XADD", stream.name, "MAXLEN", "~", maxLength, "*", ...args))
  })

/** A span as a W3C trace context. */
const traceparentOf = ({ sampled, spanId, traceId }: Tracer.AnySpan): string =>
  `00-${traceId}-${spanId}-0${sampled ? 1 : 0}`

/**
 * How a stream is read.
 *
 * - `group`: the consumer group; each gets every message. It is made when it is not there, and the stream with it
 * - `from`: where a new group begins: at the `"beginning"` of the stream (default), or with what comes from `"now"` on
 * - `batch`: how many messages are asked for at once; so many may have been read and wait for the handler. Default: 10
 * - `claimAfter`: how long a message may be without a sign of its consumer before another one takes it over. Consumers give one
 *   every third of it, however long a handler takes. Default: 1 minute; the same for all consumers of the group
 * - `claimEvery`: how often to look for such messages. Default: 1 second
 * - `redeliverAfter`: how long a message rests that was given back. No longer than `claimAfter`. Default: 1 second
 * - `maxDeliveries`: how often a message is delivered before it is moved to the dead letters. A delivery that a shutdown cut
 *   short does not count. Default: 5
 * - `deadLetters`: the stream of dead letters. Default: the name of the stream with `:dead`. On a cluster both keys must have the
 *   same hash tag
 * - `deadLettersLength`: about how many of them are kept. Default: 100,000
 *
 * @since 0.1.0
 * @category models
 */
export interface PullOptions {
  readonly group: string
  readonly from?: "beginning" | "now" | undefined
  readonly batch?: number | undefined
  readonly claimAfter?: Duration.DurationInput | undefined
  readonly claimEvery?: Duration.DurationInput | undefined
  readonly redeliverAfter?: Duration.DurationInput | undefined
  readonly maxDeliveries?: number | undefined
  readonly deadLetters?: string | undefined
  readonly deadLettersLength?: number | undefined
}

/**
 * The messages of a stream, for a subscription. It fails when its connection breaks or the server is silent; the subscription
 * opens it again.
 *
 * @example
 * ```ts
 * import { Subscription } from "@effect-tasks/core"
 * import { RedisStream } from "@effect-tasks/redis"
 * import { Effect, Layer, Redacted, Schema } from "effect"
 *
 * const Orders = RedisStream.make("orders", { schema: Schema.Struct({ id: Schema.String }) })
 *
 * const Billing = Subscription.make("billing", {
 *   pull: RedisStream.pull(Orders, { group: "billing" }),
 *   handle: ({ id }) => Effect.log(`an invoice for ${id}`)
 * })
 *
 * const Main = Subscription.layer([Billing]).pipe(
 *   Layer.provide(RedisStream.layer({ url: Redacted.make("redis://localhost:6379") }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category pulls
 */
export const pull = <A>(
  stream: RedisStream<A>,
  options: PullOptions
): Effect.Effect<Stream.Stream<Message<A>, BackendError>, BackendError | InvalidOption, RedisStreams | Scope.Scope> =>
  Effect.gen(function* () {
    const { client: commands } = yield* RedisStreams
    const claimAfter = yield* checkMillis("claimAfter", options.claimAfter ?? "1 minute", 100, dayMillis)
    return yield* reading.open(commands, {
      stream: stream.name,
      group: options.group,
      consumer: `${options.group}-${randomUUID()}`,
      from: options.from === "now" ? "$" : "0",
      batch: yield* checkCount("batch", options.batch ?? 10, 1),
      claimAfter,
      claimEvery: yield* checkMillis("claimEvery", options.claimEvery ?? "1 second", 10, dayMillis),
      redeliverAfter: yield* checkMillis("redeliverAfter", options.redeliverAfter ?? "1 second", 0, claimAfter),
      maxDeliveries: yield* checkCount("maxDeliveries", options.maxDeliveries ?? 5, 1),
      deadLetters: options.deadLetters ?? `${stream.name}:dead`,
      deadLettersLength: yield* checkCount("deadLettersLength", options.deadLettersLength ?? 100_000, 1),
      decode: Schema.decodeEither(stream.schema)
    })
  })

const dayMillis = 24 * 60 * 60 * 1_000

const checkCount = (option: string, value: number, least: number): Effect.Effect<number, InvalidOption> =>
  Number.isSafeInteger(value) && value >= least
    ? Effect.succeed(value)
    : new InvalidOption({ option, value, expected: `an integer, ${least} or more` })

const checkMillis = (
  option: string,
  value: Duration.DurationInput,
  least: number,
  most: number
): Effect.Effect<number, InvalidOption> => {
  const millis = Math.ceil(Duration.toMillis(value))
  return millis >= least && millis <= most
    ? Effect.succeed(millis)
    : new InvalidOption({ option, value: Duration.format(value), expected: `from ${least} to ${most} milliseconds` })
}

/**
 * How many runs of a task may be performed at one time, and how many may begin in a time.
 *
 * A limit is a value. The broker enforces it in the claim itself, so it holds over all consumers, processes and machines: a
 * run over a limit is not claimed, and others are claimed past it. With a `key` the limit holds for the runs of each key by
 * itself, for example those of one customer.
 *
 * @since 0.1.0
 */
import { Duration } from "effect"

/**
 * What the runs with an equal part of their payload have in common, as a text or a number of at most 200 characters.
 *
 * @since 0.1.0
 * @category models
 */
export type Key<in Payload> = (payload: Payload) => string | number

/**
 * At most `max` runs are performed at one time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Concurrency<in Payload> {
  readonly _tag: "Concurrency"
  readonly max: number
  readonly key: Key<Payload> | undefined
}

/**
 * At most `max` runs are performed at one time by one consumer.
 *
 * @since 0.1.0
 * @category models
 */
export interface PerConsumer {
  readonly _tag: "PerConsumer"
  readonly max: number
}

/**
 * What becomes of a due run over a rate limit: it waits, or ends as `rate_limited`.
 *
 * @since 0.1.0
 * @category models
 */
export type OnLimit = "wait" | "refuse"

/**
 * On average at most `limit` runs begin in each `every`, and at most `burst` at once.
 *
 * @since 0.1.0
 * @category models
 */
export interface TokenBucket<in Payload> {
  readonly _tag: "TokenBucket"
  readonly limit: number
  readonly every: Duration.Duration
  readonly burst: number
  readonly key: Key<Payload> | undefined
  readonly onLimit: OnLimit
}

/**
 * At most `limit` runs begin in each window. Windows follow each other from the epoch on.
 *
 * @since 0.1.0
 * @category models
 */
export interface FixedWindow<in Payload> {
  readonly _tag: "FixedWindow"
  readonly limit: number
  readonly window: Duration.Duration
  readonly key: Key<Payload> | undefined
  readonly onLimit: OnLimit
}

/**
 * One limit by itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Single<Payload> = Concurrency<Payload> | PerConsumer | TokenBucket<Payload> | FixedWindow<Payload>

/**
 * One limit, or several all of which hold.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limit<in Payload> {
  readonly limits: ReadonlyArray<Single<Payload>>
}

/**
 * At most `max` runs of the task, or of each key, are performed at one time, over all consumers.
 *
 * @example
 * ```ts
 * import { Limit, Task } from "@effect-tasks/core"
 * import { Schema } from "effect"
 *
 * // one import at a time for each customer; the type of what the key is made of is to be written out
 * const Import = Task.make("Import", {
 *   payload: { customer: Schema.String },
 *   limit: Limit.concurrency({ max: 1, key: (payload: { readonly customer: string }) => payload.customer })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const concurrency = <Payload>(options: {
  readonly max: number
  readonly key?: Key<Payload> | undefined
}): Limit<Payload> => ({ limits: [{ _tag: "Concurrency", max: options.max, key: options.key }] })

/**
 * At most `max` runs of the task are performed at one time by one consumer, so by one process that has one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const perConsumer = (options: { readonly max: number }): Limit<unknown> => ({
  limits: [{ _tag: "PerConsumer", max: options.max }]
})

/**
 * A token bucket: `limit` runs begin in each `every` on average. The bucket holds `burst` tokens (default `limit`), which may
 * be used at once and come back one by one. The rule is the generic cell rate algorithm of ITU-T I.371, its exact equal.
 *
 * With `onLimit: "refuse"` a run that is due while there is no token ends as `rate_limited`; by default it waits.
 *
 * @example
 * ```ts
 * import { Limit, Task } from "@effect-tasks/core"
 *
 * const Poll = Task.make("Poll", { limit: Limit.tokenBucket({ limit: 10, every: "1 second", burst: 20 }) })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const tokenBucket = <Payload>(options: {
  readonly limit: number
  readonly every: Duration.DurationInput
  readonly burst?: number | undefined
  readonly key?: Key<Payload> | undefined
  readonly onLimit?: OnLimit | undefined
}): Limit<Payload> => ({
  limits: [
    {
      _tag: "TokenBucket",
      limit: options.limit,
      every: Duration.decode(options.every),
      burst: options.burst ?? options.limit,
      key: options.key,
      onLimit: options.onLimit ?? "wait"
    }
  ]
})

/**
 * A fixed window: at most `limit` runs begin in each `window`. Around the border of two windows twice as many may begin
 * shortly after each other; where that is too many, use `tokenBucket`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fixedWindow = <Payload>(options: {
  readonly limit: number
  readonly window: Duration.DurationInput
  readonly key?: Key<Payload> | undefined
  readonly onLimit?: OnLimit | undefined
}): Limit<Payload> => ({
  limits: [
    {
      _tag: "FixedWindow",
      limit: options.limit,
      window: Duration.decode(options.window),
      key: options.key,
      onLimit: options.onLimit ?? "wait"
    }
  ]
})

/**
 * Several limits, all of which hold: a run is claimed when none of them stands against it, and then counts for each.
 *
 * @example
 * ```ts
 * import { Limit, Task } from "@effect-tasks/core"
 * import { Schema } from "effect"
 *
 * const byAccount = (payload: { readonly account: string }) => payload.account
 *
 * const Call = Task.make("Call", {
 *   payload: { account: Schema.String },
 *   limit: Limit.all(
 *     Limit.concurrency({ max: 20 }),
 *     Limit.concurrency({ max: 2, key: byAccount }),
 *     Limit.tokenBucket({ limit: 100, every: "1 minute", key: byAccount })
 *   )
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const all = <Payload>(...limits: ReadonlyArray<Limit<Payload>>): Limit<Payload> => ({
  limits: limits.flatMap((limit) => limit.limits)
})

/**
 * A limit as brokers see it. `key` is the place of its key in a run's `limitKeys`; `null`: one for all runs of the task.
 *
 * @since 0.1.0
 * @category encoded
 */
export type Encoded = EncodedConcurrency | EncodedRate

/**
 * @since 0.1.0
 * @category encoded
 */
export interface EncodedConcurrency {
  readonly _tag: "Concurrency"
  readonly max: number
  readonly key: number | null
}

/**
 * Times are whole milliseconds. A rate that refuses ends what it does not let pass.
 *
 * @since 0.1.0
 * @category encoded
 */
export type EncodedRate =
  | {
      readonly _tag: "TokenBucket"
      readonly limit: number
      readonly everyMillis: number
      readonly burst: number
      readonly key: number | null
      readonly refuse: boolean
    }
  | {
      readonly _tag: "FixedWindow"
      readonly limit: number
      readonly windowMillis: number
      readonly key: number | null
      readonly refuse: boolean
    }

/**
 * What has passed a rate, in whole numbers. Well after `until` (epoch milliseconds) it is as if nothing had.
 *
 * Of a fixed window `until` is the end, and `used` how many have passed in it. Of a token bucket, the bucket is full again
 * `used / limit` milliseconds after `until`.
 *
 * @since 0.1.0
 * @category rates
 */
export interface RateState {
  readonly until: number
  readonly used: number
}

/**
 * The state of a rate that nothing has passed yet.
 *
 * @since 0.1.0
 * @category rates
 */
export const unused: RateState = { until: 0, used: 0 }

/** What is missing in a bucket, in parts of which each token has as many as there are milliseconds in `every`. */
const missing = ({ limit }: { readonly limit: number }, { until, used }: RateState, now: number): number =>
  Math.max(0, (until - now) * limit + used)

/**
 * How many more may pass a rate now.
 *
 * @since 0.1.0
 * @category rates
 */
export const free = (rate: EncodedRate, state: RateState, now: number): number => {
  if (rate._tag === "FixedWindow") {
    return state.until > now ? Math.max(0, rate.limit - state.used) : rate.limit
  }
  return Math.max(0, Math.floor(rate.burst - missing(rate, state, now) / rate.everyMillis))
}

/**
 * When the next one may pass a rate, in epoch milliseconds, if none may pass now.
 *
 * @since 0.1.0
 * @category rates
 */
export const freeAt = (rate: EncodedRate, { until, used }: RateState): number =>
  rate._tag === "FixedWindow" ? until : until + Math.ceil((used - (rate.burst - 1) * rate.everyMillis) / rate.limit)

/**
 * The state of a rate after one has passed.
 *
 * @since 0.1.0
 * @category rates
 */
export const passed = (rate: EncodedRate, state: RateState, now: number): RateState => {
  if (rate._tag === "FixedWindow") {
    return state.until > now
      ? { until: state.until, used: state.used + 1 }
      : { until: (Math.floor(now / rate.windowMillis) + 1) * rate.windowMillis, used: 1 }
  }
  const parts = missing(rate, state, now) + rate.everyMillis
  return { until: now + Math.floor(parts / rate.limit), used: parts % rate.limit }
}

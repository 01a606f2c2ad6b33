/**
 * Handling the messages of a broker: a fleet of subscriptions, each of which pulls messages for as long as it lives, and
 * acknowledges each by how its handler ends.
 *
 * A handler that succeeds acknowledges its message; one that fails or dies gives it back to the broker, to be delivered again.
 * A pull that fails is opened again, later and later. When the Scope of the fleet closes, it shuts down in order: pulls are
 * read no further, messages in flight get until the deadline, those left are interrupted and given back.
 *
 * @since 0.1.0
 */
import { Context, Duration, Effect, Layer, Predicate, type Schedule, type Scope, type Stream } from "effect"
import * as checking from "./internal/checking.js"

import * as fleet from "./internal/fleet.js"
import * as runner from "./internal/subscription.js"
import * as pulling from "./internal/subscriptionPull.js"
import type { DuplicateSubscription, NotRunning, SubscriptionNotStarted } from "./SubscriptionError.js"
import { InvalidOption } from "./TaskError.js"

/**
 * A message that was pulled.
 *
 * - `id`: the broker's name for it
 * - `body`: what the handler gets
 * - `attributes`: what else came with it. A `traceparent` (W3C) continues the trace of who sent it
 * - `deliveries`: how often it was delivered, this time included, where the broker counts
 * - `ack`: it is done, and need not come again
 * - `nack`: it could not be handled, and is to be delivered again
 * - `release`: it was not handled, for the subscription stops. Default: as `nack`
 *
 * @since 0.1.0
 * @category models
 */
export interface Message<out A> extends runner.Message<A> {}

/**
 * Where the messages of a subscription come from: a stream of them, or an Effect that gives the stream in a Scope. With the
 * latter a subscription is ready only when the Effect has succeeded, so it is the place to connect. The Scope is closed when the
 * stream has ended and its last message is settled.
 *
 * @since 0.1.0
 * @category models
 */
export type Pull<A, E = never, R = never> =
  | Stream.Stream<Message<A>, E, R>
  | Effect.Effect<Stream.Stream<Message<A>, E, R>, E, R | Scope.Scope>

/**
 * Any pull.
 *
 * @since 0.1.0
 * @category models
 */
export type AnyPull =
  | Stream.Stream<Message<unknown>, unknown, unknown>
  | Effect.Effect<Stream.Stream<Message<unknown>, unknown, unknown>, unknown, unknown>

/**
 * Why a pull is opened again: its own error, or that it ended, or died.
 *
 * @since 0.1.0
 * @category models
 */
export type PullFailure<E> = pulling.PullFailure<E>

type StreamOf<P> = P extends Effect.Effect<infer S, unknown, unknown> ? S : P
type BodyOf<P> = StreamOf<P> extends Stream.Stream<Message<infer A>, unknown, unknown> ? A : never
type ErrorOf<P> =
  | (StreamOf<P> extends Stream.Stream<unknown, infer E, unknown> ? E : never)
  | (P extends Effect.Effect<unknown, infer E, unknown> ? E : never)
type ContextOf<P> =
  | (StreamOf<P> extends Stream.Stream<unknown, unknown, infer R> ? R : never)
  | (P extends Effect.Effect<unknown, unknown, infer R> ? R : never)

/**
 * What a subscription does.
 *
 * - `pull`: where its messages come from
 * - `handle`: what to do with each. It has a Scope of its own, a span, and the subscription and the message in its log
 * - `maxMessages`: how many it handles at one time; the pull is read no further meanwhile. Default: 100
 * - `ackTimeout`: how long an acknowledgement may take before it is given up, and logged. It holds nothing up. Default: a minute
 * - `restart`: when to open a pull again that has failed. A pull that gave a message, or lasted a minute, starts it anew. When
 *   the schedule is done, the subscription is dead. Default: 200 ms, doubling up to 30 seconds, jittered, for ever
 * - `isFatal`: whether a failure is one that opening again does not help against; the subscription is dead then. Default: none
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<P extends AnyPull, R> {
  readonly pull: P
  readonly handle: (body: BodyOf<P>, message: Message<BodyOf<P>>) => Effect.Effect<unknown, unknown, R>
  readonly maxMessages?: number | undefined
  readonly ackTimeout?: Duration.DurationInput | undefined
  readonly restart?: Schedule.Schedule<unknown, PullFailure<ErrorOf<P>>> | undefined
  readonly isFatal?: Predicate.Predicate<PullFailure<ErrorOf<P>>> | undefined
}

/**
 * A subscription: a value that a fleet can run. `R` is what its pull and its handler need; `prepare` is for the fleet.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription<out R = never> {
  readonly name: string
  readonly prepare: Effect.Effect<runner.Runner, InvalidOption, R>
}

/**
 * Defines a subscription.
 *
 * @example
 * ```ts
 * import { Subscription } from "@effect-tasks/core"
 * import { Effect, Stream } from "effect"
 *
 * declare const pullOrders: Stream.Stream<Subscription.Message<{ readonly id: string }>, Error>
 *
 * const Orders = Subscription.make("orders", {
 *   pull: pullOrders,
 *   handle: ({ id }) => (id === "" ? Subscription.drop("no id") : Effect.log(`order ${id}`)),
 *   maxMessages: 20
 * })
 *
 * const program = Effect.gen(function* () {
 *   const fleet = yield* Subscription.manager
 *   yield* fleet.create(Orders)
 *   yield* fleet.start
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <P extends AnyPull, R>(
  name: string,
  options: Options<P, R>
): Subscription<Exclude<ContextOf<P> | R, Scope.Scope>> => {
  type Needed = Exclude<ContextOf<P> | R, Scope.Scope>
  type Typed = runner.Settings<BodyOf<P>, ErrorOf<P>, Needed>
  return {
    name,
    prepare: Effect.gen(function* () {
      if (!checking.isName(name)) {
        return yield* new InvalidOption({ option: "name of a subscription", value: name, expected: checking.nameRule })
      }
      const of = (option: string) => `${option} of subscription ${name}`
      const settings: Typed = {
        name,
        pull: options.pull as AnyPull as Typed["pull"],
        handle: options.handle as Typed["handle"],
        maxMessages: yield* checking.count(of("maxMessages"), options.maxMessages ?? 100, 1),
        ackTimeout: Duration.millis(yield* checking.millis(of("ackTimeout"), options.ackTimeout ?? "1 minute", 1)),
        restart: options.restart ?? pulling.defaultRestart,
        isFatal: options.isFatal ?? (() => false)
      }
      return new runner.Running(settings, yield* Effect.context<Needed>())
    })
  }
}

/**
 * Ends the handling of a message: there is nothing to do with it, and it is acknowledged. It travels as a defect does, so
 * `catchAll` and `retry` in the handler do not hold it up, and finalizers run.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const drop = (reason: string): Effect.Effect<never> =>
  Effect.die(new runner.Verdict({ decision: "drop", reason }))

/**
 * Ends the handling of a message: it is given back, to be delivered again, with a warning in the log rather than an error.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const retry = (reason: string): Effect.Effect<never> =>
  Effect.die(new runner.Verdict({ decision: "retry", reason }))

/**
 * What a subscription tells of itself.
 *
 * - `state`: `registered` (not started), `pulling`, `restarting` (its pull has failed, and is opened again), `ended` (for good)
 * - `alive`: it pulls, or will by itself; `ready`: it pulls
 * - `inFlight`: how many messages are being handled or settled
 * - `received`, `acked`, `nacked`: how many messages so far; `unsettled`: how often that could not be told the broker
 * - `restarts`: how often its pull was opened again
 * - `lastError`: why its pull has failed last, and when (epoch milliseconds); it stays after a recovery
 *
 * @since 0.1.0
 * @category models
 */
export interface Status extends runner.Status {}

/**
 * A message that a shutdown did not see handled. `messageId` is null where it is the pull itself that did not end.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoppedMessage extends runner.StoppedMessage {}

/**
 * What a shutdown did: which subscriptions finished all their messages, which messages were interrupted and given back, and
 * which did not obey their interruption, or could not be given back in time, and were left behind.
 *
 * @since 0.1.0
 * @category models
 */
export interface ShutdownReport extends fleet.ShutdownReport {}

/**
 * How a fleet shuts down.
 *
 * - `shutdownTimeout`: how long messages in flight may go on. Keep it shorter than what the platform waits before it kills the
 *   process. Default: 30 seconds
 * - `cleanup`: how long an interrupted handler's finalizers may take before it is left behind. Default: 5 seconds
 *
 * @since 0.1.0
 * @category models
 */
export interface ManagerOptions {
  readonly shutdownTimeout?: Duration.DurationInput | undefined
  readonly cleanup?: Duration.DurationInput | undefined
}

/**
 * A fleet of subscriptions.
 *
 * - `create`: adds a subscription, which is started by the next `start`. A second one of the same name is refused
 * - `start`: starts those that are not alive, one after the other. When one cannot be started, those that were started before it
 *   by this call are stopped again, and the error says which it was; start again when that is put right
 * - `alive`, `ready`: of each subscription, by its name
 * - `isAlive`, `isReady`: whether all are, and there is one: for probes
 * - `status`: what each does
 * - `shutdown`: stops all as the closing of the Scope does, within a time of its own if given. It tells what became of the
 *   messages, and never fails; a second call gives the same report. After it the fleet is empty, and takes nothing on
 *
 * @since 0.1.0
 * @category services
 */
export class Fleet extends Context.Tag("@effect-tasks/core/Subscription/Fleet")<
  Fleet,
  {
    readonly create: <R>(
      subscription: Subscription<R>
    ) => Effect.Effect<void, DuplicateSubscription | InvalidOption | NotRunning, R>
    readonly start: Effect.Effect<void, SubscriptionNotStarted | NotRunning>
    readonly alive: Effect.Effect<{ readonly [name: string]: boolean }>
    readonly ready: Effect.Effect<{ readonly [name: string]: boolean }>
    readonly isAlive: Effect.Effect<boolean>
    readonly isReady: Effect.Effect<boolean>
    readonly status: Effect.Effect<ReadonlyArray<Status>>
    readonly shutdown: (timeout?: Duration.DurationInput) => Effect.Effect<ShutdownReport>
  }
>() {}

/**
 * A fleet that lives in this Scope, with a shutdown of one's own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const managerWith = (options: ManagerOptions): Effect.Effect<typeof Fleet.Service, never, Scope.Scope> =>
  Effect.map(
    fleet.make({
      shutdownTimeout: Duration.decode(options.shutdownTimeout ?? "30 seconds"),
      cleanup: Duration.decode(options.cleanup ?? "5 seconds")
    }),
    (made) => ({
      ...made,
      create: (subscription) => made.create(subscription.prepare),
      shutdown: (timeout) => made.shutdown(Predicate.isUndefined(timeout) ? undefined : Duration.decode(timeout))
    })
  )

/**
 * A fleet that lives in this Scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const manager: Effect.Effect<typeof Fleet.Service, never, Scope.Scope> = managerWith({})

/**
 * What subscriptions need, whatever their messages are.
 *
 * @since 0.1.0
 * @category models
 */
export type ContextOfAll<Subscriptions extends ReadonlyArray<Subscription<unknown>>> =
  Subscriptions[number] extends Subscription<infer R> ? R : never

/**
 * Subscriptions that are started with the Layer, and shut down with it.
 *
 * @example
 * ```ts
 * import { Subscription } from "@effect-tasks/core"
 * import { Effect, Layer } from "effect"
 *
 * declare const Orders: Subscription.Subscription
 * declare const Refunds: Subscription.Subscription
 *
 * const Main = Subscription.layer([Orders, Refunds], { shutdownTimeout: "20 seconds" })
 * const program = Layer.launch(Main)
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const Subscriptions extends ReadonlyArray<Subscription<unknown>>>(
  subscriptions: Subscriptions,
  options: ManagerOptions = {}
): Layer.Layer<
  Fleet,
  DuplicateSubscription | InvalidOption | NotRunning | SubscriptionNotStarted,
  ContextOfAll<Subscriptions>
> =>
  Layer.scoped(
    Fleet,
    Effect.tap(managerWith(options), (fleet) =>
      Effect.zipRight(
        Effect.forEach(
          subscriptions as ReadonlyArray<Subscription<ContextOfAll<Subscriptions>>>,
          (subscription) => fleet.create(subscription),
          { discard: true }
        ),
        fleet.start
      )
    )
  )

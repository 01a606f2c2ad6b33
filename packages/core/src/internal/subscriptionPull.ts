import { Cause, type Chunk, type Context, Effect, Exit, Option, Schedule, Scope, Stream } from "effect"
import { PullDied, PullEnded } from "../SubscriptionError.js"

/*
 * The pull of a subscription: it is opened, read as long as it gives messages, and opened again after a failure.
 */

/** Documented in `Subscription`. */
export type PullFailure<E> = E | PullEnded | PullDied

/** A stream, or an effect that gives it in a scope. */
export type Pull<M, E, R> = Stream.Stream<M, E, R> | Effect.Effect<Stream.Stream<M, E, R>, E, R | Scope.Scope>

/** A pull that is open. Its scope outlives its reading, for messages that it gave are acknowledged through it. */
export interface OpenPull<M, E> {
  readonly next: Effect.Effect<Chunk.Chunk<M>, Option.Option<E>>
  readonly close: Effect.Effect<void>
}

/** Opens the stream, or the effect that gives it, in a scope of its own. */
export const open = <M, E, R>(pull: Pull<M, E, R>, context: Context.Context<R>): Effect.Effect<OpenPull<M, E>, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const close = Effect.suspend(() => Scope.close(scope, Exit.void))
      const isEffect = Effect.isEffect(pull)
      const acquired = isEffect ? pull : Effect.succeed(pull)
      const next = yield* restore(Effect.flatMap(acquired, Stream.toPull)).pipe(
        Scope.extend(scope),
        Effect.provide(context),
        Effect.onError(() => close)
      )
      return { next: Effect.provide(next, context), close }
    })
  )

/** Why the reading of a pull has ended. */
export const failureOf = <E>(subscription: string, cause: Cause.Cause<Option.Option<E>>): PullFailure<E> =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => new PullDied({ subscription, defect: Cause.squash(cause), cause: Cause.pretty(cause) }),
    onSome: Option.getOrElse(() => new PullEnded({ subscription }))
  })

/** 200 ms, doubling up to 30 s, give or take a fifth. */
export const defaultRestart: Schedule.Schedule<unknown, unknown> = Schedule.exponential("200 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jittered
)

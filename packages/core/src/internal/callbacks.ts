import { type Cause, Clock, Duration, Effect, Fiber, Random, type Scope } from "effect"
import type { InvalidOption } from "../TaskError.js"
import * as checking from "./checking.js"
import type { State } from "./consumerState.js"

/*
 * Periodic calls that live as long as a consumer.
 */

/** Documented in `TaskConsumer`. */
export interface CallbackOptions {
  readonly every: Duration.DurationInput
  readonly jitter?: Duration.DurationInput | undefined
  readonly once?: boolean | undefined
}

/** Documented in `TaskConsumer`. */
export interface Callback {
  readonly unregister: Effect.Effect<void>
}

/** Begins to call. */
export const register = <E, R>(
  state: State,
  callback: Effect.Effect<unknown, E, R>,
  options: CallbackOptions
): Effect.Effect<Callback, InvalidOption, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const every = yield* checking.millis("every", options.every, 1)
    const jitter = yield* checking.millis("jitter", options.jitter ?? 0, 0, every)
    const call = Effect.matchCauseEffect(Effect.scoped(callback), {
      onSuccess: () => Effect.sync(() => state.loops.callbacks.worked()),
      onFailure: (cause) => failed(state, cause)
    })
    const pause = pauseOf(every, jitter)
    const first = Effect.flatMap(pause, Effect.sleep)
    const calls = Effect.zipRight(first, options.once === true ? call : repeat(call, pause))
    const fiber = yield* Effect.forkDaemon(Effect.interruptible(calls))
    if (state.stopping) {
      yield* Fiber.interruptFork(fiber)
    } else {
      state.callbacks.add(fiber)
      fiber.addObserver(() => state.callbacks.delete(fiber))
    }
    return fiber
  }).pipe(Effect.map((fiber) => ({ unregister: Effect.asVoid(Fiber.interrupt(fiber)) })))

const failed = (state: State, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (at) => {
    state.loops.callbacks.note(cause, at)
    return Effect.annotateLogs(Effect.logWarning("a callback of the consumer failed", cause), { consumer: state.id })
  })

const pauseOf = (every: number, jitter: number): Effect.Effect<number> =>
  jitter === 0
    ? Effect.succeed(every)
    : Effect.map(Random.nextRange(-jitter, jitter), (drawn) => Math.max(0, Math.round(every + drawn)))

/** The pause counts from the beginning of a call to that of the next, unless the call takes longer. */
const repeat = <R>(call: Effect.Effect<void, never, R>, pause: Effect.Effect<number>): Effect.Effect<never, never, R> =>
  Effect.forever(
    Effect.flatMap(Effect.zip(Effect.timed(call), pause), ([[took], pause]) =>
      Effect.sleep(Math.max(0, pause - Duration.toMillis(took)))
    )
  )

/** Ends all calls, also those under way, and waits for their finalizers, though not for ever. */
export const endAll = (state: State): Effect.Effect<void> =>
  Effect.suspend(() => Fiber.interruptAll(Array.from(state.callbacks))).pipe(
    Effect.disconnect,
    Effect.timeoutOption(state.cleanup),
    Effect.asVoid
  )

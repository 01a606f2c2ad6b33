import { type Cause, Clock, Duration, Effect, Fiber, Random, type Scope } from "effect"
import { InvalidOption } from "../TaskError.js"
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

/** Begins to call; gives what ends it. */
export const register = <E, R>(
  state: State,
  callback: Effect.Effect<unknown, E, R>,
  options: CallbackOptions
): Effect.Effect<Effect.Effect<void>, InvalidOption, Exclude<R, Scope.Scope>> =>
  Effect.gen(function* () {
    const every = yield* check("every", options.every, 1, Number.MAX_SAFE_INTEGER)
    const jitter = yield* check("jitter", options.jitter ?? 0, 0, every)
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
  }).pipe(Effect.map((fiber) => Effect.asVoid(Fiber.interrupt(fiber))))

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

const check = (
  option: string,
  value: Duration.DurationInput,
  least: number,
  most: number
): Effect.Effect<number, InvalidOption> => {
  const millis = Duration.toMillis(value)
  return millis >= least && millis <= most
    ? Effect.succeed(millis)
    : new InvalidOption({ option, value: Duration.format(value), expected: `from ${least} to ${most} milliseconds` })
}

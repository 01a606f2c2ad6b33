import { Duration, Effect, Schedule } from "effect"
import type { BackendError } from "../TaskError.js"

const firstDelay = Duration.millis(100)

/** How long to wait while a backend does not answer: 100 ms, doubling up to 5 s, jittered, without end. */
const backoff: Schedule.Schedule<unknown> = Schedule.exponential(firstDelay).pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, Duration.seconds(5))),
  Schedule.jittered
)

/**
 * Tries again what failed, for as long as it is worth it. The schedule is set up only after a failure: that costs more than
 * most calls of a backend.
 */
export const retryWhile = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  isWorthIt: (error: E) => boolean
): Effect.Effect<A, E, R> =>
  Effect.catchIf(self, isWorthIt, () =>
    Effect.zipRight(Effect.sleep(firstDelay), Effect.retry(self, { schedule: backoff, while: isWorthIt }))
  )

/** Tries again, for ever, what a backend could not do but may be able to do later. */
export const survive = <A, R>(self: Effect.Effect<A, BackendError, R>): Effect.Effect<A, BackendError, R> =>
  retryWhile(self, (error) => error.transient)

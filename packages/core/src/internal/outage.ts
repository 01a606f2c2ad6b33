import { Duration, Effect, Schedule } from "effect"
import type { BackendError } from "../TaskError.js"

/** How long to wait while a backend does not answer: 100 ms, doubling up to 5 s, jittered, without end. */
export const backoff: Schedule.Schedule<unknown> = Schedule.exponential("100 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, Duration.seconds(5))),
  Schedule.jittered
)

/** Tries again, for ever, what a backend could not do but may be able to do later. */
export const survive = <A, R>(self: Effect.Effect<A, BackendError, R>): Effect.Effect<A, BackendError, R> =>
  Effect.retry(self, { schedule: backoff, while: (error) => error.transient })

import { Duration, Effect, Random } from "effect"
import type { BackendError } from "../TaskError.js"

const firstMillis = 100
const longestMillis = 5_000

/** How long to wait after so many failures in a row: 100 ms, doubling up to 5 s, give or take a fifth. */
export const delay = (failures: number): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.nextRange(0.8, 1.2), (jitter) =>
    Duration.millis(Math.min(firstMillis * 2 ** Math.min(failures - 1, 16), longestMillis) * jitter)
  )

/** Tries again, for ever, what a backend could not do but may be able to do later. */
export const survive = <A, R>(self: Effect.Effect<A, BackendError, R>): Effect.Effect<A, BackendError, R> => {
  const again = (failures: number): Effect.Effect<A, BackendError, R> =>
    Effect.catchIf(
      self,
      (error) => error.transient,
      () =>
        Effect.zipRight(
          Effect.flatMap(delay(failures), Effect.sleep),
          Effect.suspend(() => again(failures + 1))
        )
    )
  return again(1)
}

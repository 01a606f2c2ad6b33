import { Duration, Effect, Random } from "effect"
import { BackendError } from "../TaskError.js"

const firstMillis = 100
const longestMillis = 5_000

/** How long to wait after so many failures in a row: 100 ms, doubling up to 5 s, give or take a fifth. */
export const delay = (failures: number): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.nextRange(0.8, 1.2), (jitter) =>
    Duration.millis(Math.min(firstMillis * 2 ** Math.min(failures - 1, 16), longestMillis) * jitter)
  )

/** Tries again, for ever, what a backend could not do but may be able to do later. Every other failure is passed on. */
export const survive = <A, E, R>(
  self: Effect.Effect<A, E | BackendError, R>
): Effect.Effect<A, E | BackendError, R> => {
  const again = (failures: number): Effect.Effect<A, E | BackendError, R> =>
    Effect.catchIf(self, isTransient, () =>
      Effect.zipRight(
        Effect.flatMap(delay(failures), Effect.sleep),
        Effect.suspend(() => again(failures + 1))
      )
    )
  return again(1)
}

const isTransient = (error: unknown): boolean => error instanceof BackendError && error.transient

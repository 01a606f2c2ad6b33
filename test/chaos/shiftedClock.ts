import { Clock, Effect, Layer } from "effect"

/** A clock that is wrong by so many milliseconds. It runs as fast as any other. */
export const layer = (millis: number): Layer.Layer<never> => {
  const clock = Clock.make()
  const currentTimeMillis = () => clock.unsafeCurrentTimeMillis() + millis
  const currentTimeNanos = () => clock.unsafeCurrentTimeNanos() + BigInt(millis) * 1_000_000n
  return millis === 0
    ? Layer.empty
    : Layer.setClock({
        ...clock,
        unsafeCurrentTimeMillis: currentTimeMillis,
        unsafeCurrentTimeNanos: currentTimeNanos,
        currentTimeMillis: Effect.sync(currentTimeMillis),
        currentTimeNanos: Effect.sync(currentTimeNanos)
      })
}

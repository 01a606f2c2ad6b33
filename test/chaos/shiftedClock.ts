import { Clock, Effect, Layer } from "effect"

/** A clock that is wrong by so many milliseconds. It runs as fast as any other. */
export const layer = (millis: number): Layer.Layer<never> => {
  const clock = Clock.make()
  const unsafeCurrentTimeMillis = () => clock.unsafeCurrentTimeMillis() + millis
  const unsafeCurrentTimeNanos = () => clock.unsafeCurrentTimeNanos() + BigInt(millis) * 1_000_000n
  return Layer.setClock({
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis,
    unsafeCurrentTimeNanos,
    currentTimeMillis: Effect.sync(unsafeCurrentTimeMillis),
    currentTimeNanos: Effect.sync(unsafeCurrentTimeNanos),
    sleep: (duration) => clock.sleep(duration)
  })
}

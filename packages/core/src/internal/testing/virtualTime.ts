import { Chunk, Clock, Deferred, Duration, Effect, Ref, TestClock } from "effect"
import type { Recorded } from "./recording.js"

/*
 * The passing of virtual time, from one moment at which a fiber wakes up to the next, so that what is due meanwhile happens
 * at its own time.
 */

const { setImmediate } = globalThis as { readonly setImmediate?: (callback: () => void) => unknown }

const liveClock = Clock.make()

/** A turn of the event loop, its timers included. */
const longTurn: Effect.Effect<void> = Effect.withClock(Effect.sleep(Duration.zero), liveClock)

/** A turn of the event loop: what can go on without timers and input does so. */
const turn: Effect.Effect<void> =
  setImmediate === undefined ? longTurn : Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

/** How long the backend may take to answer, in real milliseconds. */
const patience = 10_000

/**
 * Waits until all fibers rest and the backend has answered them, and `checks` now and then meanwhile. No virtual time passes.
 */
export const quiet = <E>(
  { calls, unfinished }: typeof Recorded.Service,
  check: Effect.Effect<void, E>
): Effect.Effect<void, E> =>
  Effect.gen(function* () {
    const deadline = liveClock.unsafeCurrentTimeMillis() + patience
    const isStill = (during: Effect.Effect<void>) =>
      Effect.gen(function* () {
        const before = yield* calls
        yield* during
        const after = yield* calls
        return before.made === after.made && after.underWay === 0
      })
    while (true) {
      if ((yield* isStill(turn)) && (yield* isStill(turn))) {
        // an attempt that computes for long goes on behind a timer of Effect's scheduler
        if ((yield* unfinished).running === 0 || (yield* isStill(longTurn))) {
          return
        }
      }
      yield* check
      if ((yield* calls).underWay > 0 && liveClock.unsafeCurrentTimeMillis() > deadline) {
        return yield* Effect.dieMessage("the backend of the test does not answer")
      }
    }
  })

/** The clocks that know that somebody advances them; the others warn after some seconds. */
const advanced = new WeakSet<TestClock.TestClock>()

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "sleeps" in clock && "setTime" in clock

/** The test's clock; a test without one cannot let time pass. */
export const testClock: Effect.Effect<TestClock.TestClock> = Effect.clockWith((clock) =>
  isTestClock(clock)
    ? Effect.suspend(() => {
        const isKnown = advanced.has(clock)
        advanced.add(clock)
        return Effect.as(isKnown ? Effect.void : clock.adjust(0), clock)
      })
    : Effect.dieMessage(
        "virtual time needs a TestClock: declare the test with it.effect, or provide TestContext.TestContext"
      )
)

/** When the next fiber wakes up; infinite when none sleeps. */
export const nextWaking = (clock: TestClock.TestClock): Effect.Effect<number> =>
  Effect.map(
    clock.sleeps,
    Chunk.reduce(Number.POSITIVE_INFINITY, (a, b) => Math.min(a, b))
  )

/** The state of Effect's own TestClock, where it can be reached. */
const stateOf = (clock: TestClock.TestClock): Ref.Ref<TestClock.Data> | undefined => {
  const { clockState } = clock as { readonly clockState?: Ref.Ref<TestClock.Data> }
  return clockState !== undefined && Ref.RefTypeId in clockState ? clockState : undefined
}

/**
 * Sets the time, and wakes who has slept until then. The clock's own `setTime` lets some milliseconds of real time pass for
 * each of them, to see whether fibers rest; a year of steps would take minutes. Here it is known that they do.
 */
export const setTime = (clock: TestClock.TestClock, instant: number): Effect.Effect<void> => {
  const state = stateOf(clock)
  return state === undefined
    ? clock.setTime(instant)
    : Effect.flatMap(
        Ref.modify(state, ({ sleeps }) => [
          Array.from(sleeps)
            .filter(([at]) => at <= instant)
            .sort(([a], [b]) => a - b),
          TestClock.makeData(
            instant,
            Chunk.filter(sleeps, ([at]) => at > instant)
          )
        ]),
        Effect.forEach(([, sleep]) => Deferred.succeed(sleep, undefined), { discard: true })
      )
}

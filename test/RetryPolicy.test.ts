import { assert, describe, it } from "@effect/vitest"
import { RetryPolicy } from "@effect-tasks/core"
import { Clock, Duration, Effect, FastCheck, Option, Schedule } from "effect"

/** A clock whose sleeps pass at once. */
const quickClock = (): Clock.Clock => {
  let now = 0
  const sleep = (duration: Duration.Duration) =>
    Effect.sync(() => {
      now += Duration.toMillis(duration)
    })
  return {
    ...Clock.make(),
    unsafeCurrentTimeMillis: () => now,
    unsafeCurrentTimeNanos: () => BigInt(Math.round(now * 1e6)),
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanos: Effect.sync(() => BigInt(Math.round(now * 1e6))),
    sleep
  }
}

interface Try {
  readonly startedAt: number
  readonly endedAt: number
  readonly failure: number
}

/**
 * Lets `Effect.retry` run an effect that always fails, for at most as many attempts as there are durations, and tells of
 * each attempt and whether the schedule ended by itself.
 */
const live = (schedule: Schedule.Schedule<unknown, number>, durations: ReadonlyArray<number>) =>
  Effect.gen(function* () {
    const tries: Array<Try> = []
    const attempt = Effect.gen(function* () {
      if (tries.length === durations.length) {
        return yield* Effect.die("enough")
      }
      const startedAt = yield* Clock.currentTimeMillis
      yield* Effect.sleep(Duration.millis(durations[tries.length]!))
      const failure = tries.length + 1
      tries.push({ startedAt, endedAt: yield* Clock.currentTimeMillis, failure })
      return yield* Effect.fail(failure)
    })
    const exit = yield* Effect.exit(Effect.retry(attempt, schedule))
    return { tries, ended: exit._tag === "Failure" && exit.cause._tag === "Fail" }
  }).pipe(Effect.withClock(quickClock()))

/** When each retry was due, by stepping through the ledger after each attempt as a fresh process would. */
const replayed = (schedule: Schedule.Schedule<unknown, number>, tries: ReadonlyArray<Try>) =>
  Effect.forEach(tries, (_, i) =>
    RetryPolicy.next(
      schedule,
      tries.slice(0, i + 1).map(({ endedAt, failure }, n) => ({ number: n + 1, endedAt, failure }))
    )
  )

const millis = FastCheck.integer({ min: 1, max: 20_000 })

const simple: FastCheck.Arbitrary<Schedule.Schedule<unknown, number>> = FastCheck.oneof(
  FastCheck.tuple(millis, FastCheck.constantFrom(1, 1.5, 2, 3)).map(([base, factor]) =>
    Schedule.exponential(base, factor)
  ),
  millis.map((one) => Schedule.fibonacci(one)),
  millis.map((base) => Schedule.linear(base)),
  millis.map((duration) => Schedule.spaced(duration)),
  millis.map((interval) => Schedule.fixed(interval)),
  FastCheck.integer({ min: 0, max: 8 }).map((n) => Schedule.recurs(n)),
  FastCheck.integer({ min: 1, max: 8 }).map((n) => Schedule.recurWhile<number>((failure) => failure < n))
)

/** Schedules as people compose them, without chance. */
const { schedule } = FastCheck.letrec<{ schedule: Schedule.Schedule<unknown, number> }>((tie) => ({
  schedule: FastCheck.oneof(
    { depthSize: "small", withCrossShrink: true },
    simple,
    FastCheck.tuple(tie("schedule"), tie("schedule")).map(([a, b]) => Schedule.intersect(a, b)),
    FastCheck.tuple(tie("schedule"), tie("schedule")).map(([a, b]) => Schedule.union(a, b)),
    FastCheck.tuple(tie("schedule"), tie("schedule")).map(([a, b]) => Schedule.andThen(a, b)),
    FastCheck.tuple(tie("schedule"), millis).map(([a, limit]) => Schedule.upTo(a, limit)),
    FastCheck.tuple(tie("schedule"), FastCheck.nat(8)).map(([a, n]) =>
      Schedule.whileInput(a, (failure) => failure !== n)
    ),
    FastCheck.tuple(tie("schedule"), millis).map(([a, extra]) => Schedule.addDelay(a, () => extra))
  )
}))

const durations = FastCheck.array(FastCheck.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 9 })

describe("RetryPolicy", () => {
  describe("make", () => {
    it.effect.prop(
      "waits min(delay × backoff^(n−1), maxDelay) before retry n, and retries as often as it is told",
      [
        FastCheck.integer({ min: 0, max: 8 }),
        FastCheck.integer({ min: 0, max: 5_000 }),
        FastCheck.constantFrom(1, 1.5, 2, 4),
        FastCheck.integer({ min: 0, max: 60_000 })
      ],
      ([retries, delay, backoff, maxDelay]) =>
        Effect.gen(function* () {
          const policy = RetryPolicy.make({ retries, delay, backoff, maxDelay })
          const { tries, ended } = yield* live(policy, Array(20).fill(0))
          assert.isTrue(ended)
          const delays = tries.slice(1).map(({ startedAt }, i) => startedAt - tries[i]!.endedAt)
          const expected = Array.from({ length: retries }, (_, i) => Math.min(delay * backoff ** i, maxDelay))
          assert.strictEqual(delays.length, retries)
          delays.forEach((actual, i) => assert.closeTo(actual, expected[i]!, 1e-3))
        })
    )

    it.effect("retries for ever after a second each, without options", () =>
      Effect.gen(function* () {
        const { tries, ended } = yield* live(RetryPolicy.make(), Array(50).fill(0))
        assert.isFalse(ended)
        assert.deepStrictEqual(
          tries.map(({ startedAt }) => startedAt),
          Array.from({ length: 50 }, (_, i) => i * 1_000)
        )
      })
    )

    it.effect("retries what its predicate lets through", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.make<number>({ delay: 0, while: (failure) => failure < 4 })
        assert.strictEqual((yield* live(policy, Array(20).fill(0))).tries.length, 4)
      })
    )

    it.effect.prop(
      "keeps a jittered delay within its bounds",
      [FastCheck.double({ min: 0, max: 1, noNaN: true }), FastCheck.integer({ min: 1, max: 10_000 })],
      ([jitter, delay]) =>
        Effect.gen(function* () {
          const { tries } = yield* live(RetryPolicy.make({ delay, jitter }), Array(20).fill(0))
          tries.slice(1).forEach(({ startedAt }, i) => {
            const waited = startedAt - tries[i]!.endedAt
            assert.isAtLeast(waited, (1 - jitter) * delay - 1e-3)
            assert.isAtMost(waited, (1 + jitter) * delay + 1e-3)
          })
        })
    )
  })

  describe("next", () => {
    it.effect.prop(
      "gives the times at which the schedule would retry if it ran on in one process",
      [schedule, durations],
      ([schedule, durations]) =>
        Effect.gen(function* () {
          const { tries, ended } = yield* live(schedule, durations)
          const dueAts = yield* replayed(schedule, tries)
          dueAts.forEach((dueAt, i) => {
            const following = tries[i + 1]
            if (following !== undefined) {
              assert.closeTo(Option.getOrThrow(dueAt), following.startedAt, 1e-3)
            } else {
              assert.strictEqual(Option.isNone(dueAt), ended)
            }
          })
        }),
      { fastCheck: { numRuns: 300 } }
    )

    it.effect("has nothing to say before an attempt has failed", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* RetryPolicy.next(Schedule.forever, []), Option.none())
      })
    )

    it.effect("is never due before the attempt has ended", () =>
      Effect.gen(function* () {
        const schedule = Schedule.fixed("1 second")
        const ledger = [1, 2, 3].map((number) => ({ number, endedAt: number * 10_000, failure: "no" }))
        const dueAt = Option.getOrThrow(yield* RetryPolicy.next(schedule, ledger))
        assert.isAtLeast(dueAt, 30_000)
      })
    )

    it.effect.prop(
      "counts the attempts that a bounded ledger has left out",
      [FastCheck.integer({ min: 41, max: 90 }), FastCheck.integer({ min: 35, max: 95 })],
      ([attempts, retries]) =>
        Effect.gen(function* () {
          const schedule = Schedule.linear("1 second").pipe(Schedule.intersect(Schedule.recurs(retries)))
          const whole = Array.from({ length: attempts }, (_, i) => ({
            number: i + 1,
            endedAt: i * 100_000,
            failure: "no"
          }))
          const bounded = [...whole.slice(0, 20), ...whole.slice(-20)]
          assert.deepStrictEqual(yield* RetryPolicy.next(schedule, bounded), yield* RetryPolicy.next(schedule, whole))
          assert.strictEqual(Option.isSome(yield* RetryPolicy.next(schedule, bounded)), attempts <= retries)
        })
    )

    it.effect("puts the attempts that were left out between their neighbours", () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const schedule = Schedule.forever.pipe(
          Schedule.whileInput((failure: string) => {
            seen.push(failure)
            return true
          })
        )
        yield* RetryPolicy.next(schedule, [
          { number: 1, endedAt: 0, failure: "a" },
          { number: 4, endedAt: 90, failure: "b" }
        ])
        assert.deepStrictEqual(seen, ["a", "a", "a", "b"])
      })
    )
  })
})

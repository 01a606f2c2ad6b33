import { assert } from "@effect/vitest"
import { Task, TaskGroup } from "@effect-tasks/core"
import { Clock, Effect, Exit, Scope } from "effect"
import { advance, type Family, serve } from "./harness.js"

const Work = Task.make("Work")
const start = serve(TaskGroup.make(Work), { Work: () => Effect.void })

const noting = (calls: Array<number>) => Effect.map(Clock.currentTimeMillis, (now) => void calls.push(now))

/** The periodic callbacks of a consumer. */
export const callbacks: Family = (rule) => {
  rule("a callback is called first after its interval, and again after each", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const consumer = yield* start
      yield* consumer.registerCallback(noting(calls), { every: "10 seconds" })
      yield* advance("35 seconds")
      assert.deepStrictEqual(calls, [10_000, 20_000, 30_000])
    })
  )

  rule("once is once", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const consumer = yield* start
      yield* consumer.registerCallback(noting(calls), { every: "10 seconds", once: true })
      yield* advance("35 seconds")
      assert.deepStrictEqual(calls, [10_000])
    })
  )

  rule("jitter makes each interval longer or shorter, by no more than it says", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const consumer = yield* start
      yield* consumer.registerCallback(noting(calls), { every: "10 seconds", jitter: "2 seconds" })
      yield* advance("5 minutes")
      const intervals = calls.map((at, i) => at - (calls[i - 1] ?? 0))
      assert.isAtLeast(intervals.length, 24)
      assert.isTrue(intervals.every((millis) => millis >= 8_000 && millis <= 12_000))
      assert.isAbove(new Set(intervals).size, 10)
    })
  )

  rule("one that fails or dies is told of, and called again; the consumer goes on", () =>
    Effect.gen(function* () {
      let calls = 0
      const consumer = yield* start
      const failing = Effect.suspend(() =>
        ++calls === 1 ? Effect.fail("no") : calls === 2 ? Effect.die("never") : Effect.void
      )
      yield* consumer.registerCallback(failing, { every: "10 seconds" })
      const told = Effect.map(consumer.status, ({ loops }) => loops.find(({ name }) => name === "callbacks"))
      yield* advance("20 seconds")
      assert.deepInclude(yield* told, { failures: 2, lastError: { message: "never", at: 20_000 } })
      yield* advance("10 seconds")
      assert.deepInclude(yield* told, { failures: 0, state: "working" })
      assert.strictEqual(calls, 3)
      assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [true, true])
    })
  )

  rule("calls of one do not overlap: a long one puts the next off", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const consumer = yield* start
      let millis = 4_000
      const long = Effect.zipRight(
        noting(calls),
        Effect.suspend(() => Effect.sleep(millis))
      )
      yield* consumer.registerCallback(long, { every: "10 seconds" })
      yield* advance("25 seconds")
      assert.deepStrictEqual(calls, [10_000, 20_000])
      millis = 15_000
      yield* advance("25 seconds")
      assert.deepStrictEqual(calls, [10_000, 20_000, 30_000, 45_000])
    })
  )

  rule("each call has a Scope of its own", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const consumer = yield* start
      const scoped = Effect.acquireRelease(
        Effect.sync(() => steps.push("opened")),
        () => Effect.sync(() => steps.push("closed"))
      )
      yield* consumer.registerCallback(scoped, { every: "10 seconds" })
      yield* advance("20 seconds")
      assert.deepStrictEqual(steps, ["opened", "closed", "opened", "closed"])
    })
  )

  rule("it is called no more once it is unregistered, and a call under way is interrupted", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      let interrupted = 0
      const consumer = yield* start
      const unregister = yield* consumer.registerCallback(noting(calls), { every: "10 seconds" })
      const lasting = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const unregisterLasting = yield* consumer.registerCallback(lasting, { every: "10 seconds" })
      yield* advance("10 seconds")
      yield* Effect.zipRight(unregister, unregisterLasting)
      assert.strictEqual(interrupted, 1)
      yield* advance("1 minute")
      assert.deepStrictEqual(calls, [10_000])
    })
  )

  rule("it ends with the consumer's Scope", () =>
    Effect.gen(function* () {
      const calls: Array<number> = []
      const scope = yield* Scope.make()
      const consumer = yield* Scope.extend(start, scope)
      yield* consumer.registerCallback(noting(calls), { every: "10 seconds" })
      yield* advance("10 seconds")
      yield* Scope.close(scope, Exit.void)
      yield* consumer.registerCallback(noting(calls), { every: "10 seconds" })
      yield* advance("1 minute")
      assert.deepStrictEqual(calls, [10_000])
    })
  )

  rule("intervals that are none are refused", () =>
    Effect.gen(function* () {
      const consumer = yield* start
      const refused = (options: Parameters<typeof consumer.registerCallback>[1]) =>
        Effect.flip(consumer.registerCallback(Effect.void, options))
      assert.deepInclude(yield* refused({ every: 0 }), { _tag: "InvalidOption", option: "every" })
      assert.deepInclude(yield* refused({ every: "1 second", jitter: "2 seconds" }), { option: "jitter" })
    })
  )
}

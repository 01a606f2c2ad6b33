import { assert } from "@effect/vitest"
import { CurrentRun, RetryPolicy, Task, TaskGroup } from "@effect-tasks/core"
import { Cause, Duration, Effect, Exit, Fiber, Schedule, Schema } from "effect"
import { advance, type Family, openProcess, serve } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

/** A handler that notes when each attempt starts, and fails as often as it is told. */
const failing = (times: number, startedAt: Array<number> = []) => {
  return () =>
    Effect.flatMap(CurrentRun.CurrentRun, (run) => {
      startedAt.push(run.startedAt)
      return run.attempt <= times ? Effect.fail(new Oops({ code: run.attempt })) : Effect.void
    })
}

/** Whether and when a failed run is tried again. */
export const retrying: Family = (rule) => {
  rule("without a schedule the first failure is the end", () =>
    Effect.gen(function* () {
      const Once = Task.make("Once", { error: Oops })
      yield* serve(TaskGroup.make(Once), { Once: failing(1) })
      const run = yield* Once.queue()
      assert.deepStrictEqual(yield* Effect.flip(run.await), new Oops({ code: 1 }))
      const record = yield* run.poll
      assert.deepInclude(record, { state: "failure", attempt: 1 })
      assert.strictEqual(record.attempts.length, 1)
    })
  )

  rule("a failed run is tried again after the delays of its schedule, until it succeeds", () =>
    Effect.gen(function* () {
      const Grow = Task.make("Grow", { error: Oops, retry: Schedule.exponential("1 second") })
      const startedAt: Array<number> = []
      yield* serve(TaskGroup.make(Grow), { Grow: failing(3, startedAt) })
      const run = yield* Grow.queue()
      yield* advance("10 seconds")
      yield* becomes(run, "success")
      assert.deepStrictEqual(startedAt, [0, 1_000, 3_000, 7_000])
    })
  )

  rule("the ledger tells of each attempt: number, consumer, times and how it ended", () =>
    Effect.gen(function* () {
      const Twice = Task.make("Twice", { error: Oops, retry: Schedule.spaced("1 second") })
      const handler = () => Effect.zipRight(Effect.sleep("2 seconds"), failing(1)())
      const { id } = yield* serve(TaskGroup.make(Twice), { Twice: handler }, { name: "worker" })
      const run = yield* Twice.queue()
      yield* advance("10 seconds")
      const { attempts, consumer } = yield* becomes(run, "success")
      assert.isTrue(id.startsWith("worker-"))
      assert.strictEqual(consumer, id)
      const [first, second] = attempts
      assert.deepInclude(first, { number: 1, consumer: id, startedAt: 0, endedAt: 2_000 })
      assert.deepInclude(first!.outcome, { _tag: "Failure", error: { _tag: "Oops", code: 1 } })
      assert.deepEqual(second, {
        number: 2,
        consumer: id,
        startedAt: 3_000,
        endedAt: 5_000,
        outcome: { _tag: "Success" }
      })
    })
  )

  rule("when no retry remains, the run ends with its last failure", () =>
    Effect.gen(function* () {
      const Thrice = Task.make("Thrice", { error: Oops, retry: Schedule.recurs(2) })
      yield* serve(TaskGroup.make(Thrice), { Thrice: failing(9) })
      const run = yield* Thrice.queue()
      assert.deepStrictEqual(yield* Effect.flip(run.await), new Oops({ code: 3 }))
      const record = yield* run.poll
      assert.deepInclude(record, { state: "failure", attempt: 3 })
      assert.deepInclude(record.outcome, { _tag: "Failure", error: { _tag: "Oops", code: 3 } })
    })
  )

  rule("a schedule sees the decoded error of each attempt, and may stop at one", () =>
    Effect.gen(function* () {
      const Picky = Task.make("Picky", {
        error: Oops,
        retry: Schedule.recurs(10).pipe(
          Schedule.whileInput((failure: Task.Failure<Oops>) => failure instanceof Oops && failure.code < 3)
        )
      })
      yield* serve(TaskGroup.make(Picky), { Picky: failing(9) })
      const run = yield* Picky.queue()
      assert.deepStrictEqual(yield* Effect.flip(run.await), new Oops({ code: 3 }))
    })
  )

  rule("a schedule sees timeouts and defects as their typed errors", () =>
    Effect.gen(function* () {
      const Odd = Task.make("Odd", {
        payload: { dies: Schema.Boolean },
        timeout: "1 second",
        retry: Schedule.recurs(5).pipe(
          Schedule.whileInput((failure: Task.Failure<never>) => failure._tag === "TaskTimeout")
        )
      })
      yield* serve(TaskGroup.make(Odd), { Odd: ({ dies }) => (dies ? Effect.die("no") : Effect.never) })
      const dying = yield* Odd.queue({ dies: true })
      assert.strictEqual((yield* Effect.flip(dying.await))._tag, "TaskDefect")
      assert.strictEqual((yield* dying.poll).attempts.length, 1)
      const slow = yield* Odd.queue({ dies: false })
      yield* advance("10 seconds")
      assert.strictEqual((yield* becomes(slow, "failure")).attempts.length, 6)
    })
  )

  rule("jittered delays stay within their bounds, and are drawn anew for each retry", () =>
    Effect.gen(function* () {
      const Jittery = Task.make("Jittery", {
        error: Oops,
        retry: Schedule.spaced("1 second").pipe(Schedule.jittered)
      })
      const startedAt: Array<number> = []
      yield* serve(TaskGroup.make(Jittery), { Jittery: failing(8, startedAt) })
      const run = yield* Jittery.queue()
      yield* advance("10 seconds")
      yield* becomes(run, "success")
      const delays = startedAt.slice(1).map((at, i) => at - startedAt[i]!)
      delays.forEach((delay) => assert.isTrue(delay >= 800 && delay <= 1_201, `waited ${delay} ms`))
      assert.isAbove(new Set(delays).size, 1)
    })
  )

  rule("a schedule that ends after a time ends by the recorded times", () =>
    Effect.gen(function* () {
      const Patient = Task.make("Patient", {
        error: Oops,
        retry: Schedule.spaced("2 seconds").pipe(Schedule.upTo("5 seconds"))
      })
      const startedAt: Array<number> = []
      yield* serve(TaskGroup.make(Patient), { Patient: failing(99, startedAt) })
      const run = yield* Patient.queue()
      yield* advance("20 seconds")
      yield* becomes(run, "failure")
      assert.deepStrictEqual(startedAt, [0, 2_000, 4_000, 6_000])
    })
  )

  rule("a retry without delay is performed at once", () =>
    Effect.gen(function* () {
      const Eager = Task.make("Eager", { error: Oops, retry: Schedule.forever })
      yield* serve(TaskGroup.make(Eager), { Eager: failing(20) })
      const run = yield* Eager.queue()
      yield* run.await
      assert.strictEqual((yield* run.poll).attempt, 20)
    })
  )

  rule("a policy made of figures waits as they say", () =>
    Effect.gen(function* () {
      const policy = RetryPolicy.make({ retries: 4, delay: "1 second", backoff: 3, maxDelay: "5 seconds" })
      const Figures = Task.make("Figures", { error: Oops, retry: policy })
      const startedAt: Array<number> = []
      yield* serve(TaskGroup.make(Figures), { Figures: failing(99, startedAt) })
      const run = yield* Figures.queue()
      yield* advance("30 seconds")
      yield* becomes(run, "failure")
      assert.deepStrictEqual(startedAt, [0, 1_000, 4_000, 9_000, 14_000])
    })
  )

  rule("after a restart the run goes on with the delay and the count that are due", () =>
    Effect.gen(function* () {
      const policy = Schedule.exponential("1 second").pipe(Schedule.intersect(Schedule.recurs(4)))
      const Grow = Task.make("Grow", { error: Oops, retry: policy })
      const startedAt: Array<number> = []
      const live = serve(TaskGroup.make(Grow), { Grow: failing(99, startedAt) })
      const first = yield* openProcess
      yield* first.run(live)
      const { id } = yield* first.run(Grow.queue())
      yield* advance("1500 millis")
      yield* first.close
      yield* advance("100 millis")
      const second = yield* openProcess
      yield* second.run(live)
      yield* advance("20 seconds")
      const run = yield* becomes(yield* second.run(Grow.handle(id)), "failure")
      assert.deepStrictEqual(startedAt, [0, 1_000, 3_000, 7_000, 15_000])
      assert.deepStrictEqual(
        run.attempts.map(({ number }) => number),
        [1, 2, 3, 4, 5]
      )
      assert.strictEqual(new Set(run.attempts.map(({ consumer }) => consumer)).size, 2)
    })
  )

  rule("a retry whose due time passes while nothing runs is performed when a consumer comes back", () =>
    Effect.gen(function* () {
      const Late = Task.make("Late", { error: Oops, retry: Schedule.spaced("1 second") })
      const first = yield* openProcess
      yield* first.run(serve(TaskGroup.make(Late), { Late: failing(1) }))
      const { id } = yield* first.run(Late.queue())
      yield* becomes(yield* Late.handle(id), "scheduled")
      yield* first.close
      yield* advance("1 minute")
      yield* serve(TaskGroup.make(Late), { Late: failing(1) })
      yield* becomes(yield* Late.handle(id), "success")
    })
  )

  rule("the ledger keeps the first and the last twenty attempts, and the count stays exact", () =>
    Effect.gen(function* () {
      const Often = Task.make("Often", { error: Oops, retry: Schedule.recurs(49) })
      yield* serve(TaskGroup.make(Often), { Often: failing(99) })
      const run = yield* Often.queue()
      assert.deepStrictEqual(yield* Effect.flip(run.await), new Oops({ code: 50 }))
      const { attempt, attempts } = yield* run.poll
      assert.strictEqual(attempt, 50)
      const numbers = Array.from({ length: 50 }, (_, i) => i + 1)
      assert.deepStrictEqual(
        attempts.map(({ number }) => number),
        [...numbers.slice(0, 20), ...numbers.slice(-20)]
      )
    })
  )

  rule("shutdowns, snoozes and crashes are no attempts: the schedule does not count them", () =>
    Effect.gen(function* () {
      const Twice = Task.make("Twice", { error: Oops, retry: Schedule.recurs(1) })
      const handlers: Array<string> = []
      const step = (name: string, end: Effect.Effect<void, Oops, CurrentRun.CurrentRun>) => () =>
        Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => {
          handlers.push(`${name} ${attempt}`)
          return end
        })
      const first = yield* openProcess
      yield* first.run(serve(TaskGroup.make(Twice), { Twice: step("hangs", Effect.never) }))
      const { id } = yield* first.run(Twice.queue())
      yield* eventuallySync(() => assert.strictEqual(handlers.length, 1))
      yield* first.close
      const second = yield* openProcess
      yield* second.run(serve(TaskGroup.make(Twice), { Twice: step("snoozes", CurrentRun.snooze("1 minute")) }))
      yield* becomes(yield* Twice.handle(id), "scheduled")
      yield* second.close
      yield* advance("1 minute")
      yield* serve(TaskGroup.make(Twice), { Twice: step("fails", Effect.fail(new Oops({ code: 7 }))) })
      yield* becomes(yield* Twice.handle(id), "failure")
      assert.deepStrictEqual(handlers, ["hangs 1", "snoozes 1", "fails 1", "fails 2"])
    })
  )

  rule("a run retries as the schedule would by itself: same failures, same times", () =>
    Effect.gen(function* () {
      const policy = Schedule.fibonacci("1 second").pipe(
        Schedule.either(Schedule.spaced("4 seconds")),
        Schedule.intersect(Schedule.recurs(5)),
        Schedule.whileInput((failure: Task.Failure<Oops>) => failure instanceof Oops)
      )
      const Live = Task.make("Live", { error: Oops, retry: policy })
      const startedAt: Array<number> = []
      yield* serve(TaskGroup.make(Live), { Live: failing(99, startedAt) })
      const run = yield* Live.queue()
      const live: Array<number> = []
      const effect = Effect.flatMap(
        Effect.clockWith((clock) => clock.currentTimeMillis),
        (now) =>
          Effect.zipRight(
            Effect.sync(() => live.push(now)),
            new Oops({ code: 0 })
          )
      )
      const fiber = yield* Effect.fork(Effect.retry(effect, policy))
      yield* advance(Duration.seconds(40))
      yield* becomes(run, "failure")
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.isFailType(exit.cause))
      assert.deepStrictEqual(startedAt, live)
    })
  )
}

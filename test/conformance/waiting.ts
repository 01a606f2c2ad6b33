import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskError, TaskGroup, TaskRun } from "@effect-tasks/core"
import { Duration, Effect, Fiber, Queue, Schedule, Schema } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, Oops } from "./observing.js"

const Sum = Task.make("Sum", {
  payload: { a: Schema.Number, b: Schema.NumberFromString },
  success: Schema.BigInt,
  error: Oops,
  retry: Schedule.spaced("1 second").pipe(Schedule.intersect(Schedule.recurs(2)))
})

/** Adds; a negative number fails with it. */
const add = ({ a, b }: { readonly a: number; readonly b: number }) =>
  a < 0 ? Effect.fail(new Oops({ code: a })) : Effect.succeed(BigInt(a + b))

/** How a producer gets the result of a run. */
export const waiting: Family = (rule) => {
  rule("queueing and waiting gives the decoded success", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      assert.strictEqual(yield* Sum.queueAndWait({ a: 1, b: 2 }), 3n)
    })
  )

  rule("it gives the typed failure of the final outcome, after the retries", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      const fiber = yield* Effect.fork(Effect.flip(Sum.queueAndWait({ a: -4, b: 2 })))
      yield* advance("1 second")
      assert.isNull(yield* fiber.poll.pipe(Effect.map((exit) => (exit._tag === "None" ? null : exit.value))))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), new Oops({ code: -4 }))
    })
  )

  rule("a success after retries is a success", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), {
        Sum: (payload) =>
          Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => add(attempt < 3 ? { a: -1, b: 0 } : payload))
      })
      const fiber = yield* Effect.fork(Sum.queueAndWait({ a: 1, b: 2 }))
      yield* advance("2 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), 3n)
    })
  )

  rule("the time limit of a wait ends the wait, and the run goes on", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: (payload) => Effect.delay(add(payload), "10 seconds") })
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const fiber = yield* Effect.fork(Effect.flip(run.awaitFor("5 seconds")))
      yield* advance("5 seconds")
      assert.deepStrictEqual(
        yield* Fiber.join(fiber),
        new TaskError.WaitTimeout({ runId: run.id, waitedMillis: 5_000 })
      )
      assert.strictEqual((yield* run.poll).state, "running")
      yield* advance("5 seconds")
      assert.strictEqual(yield* run.awaitFor("1 second"), 3n)
    })
  )

  rule("the time limit of queueing and waiting begins with the wait", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.flip(Sum.queueAndWait({ a: 1, b: 2 }, { timeout: "5 seconds" })))
      yield* advance("4999 millis")
      assert.strictEqual((yield* fiber.poll)._tag, "None")
      yield* advance("1 millis")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "WaitTimeout")
    })
  )

  rule("a run that another process performs is waited for alike", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(Sum), { Sum: add }))
      assert.strictEqual(yield* Sum.queueAndWait({ a: 1, b: 2 }), 3n)
      const run = yield* Sum.queue({ a: -4, b: 2 })
      const fiber = yield* Effect.fork(Effect.flip(run.await))
      for (const attempt of [1, 2]) {
        yield* eventually(Effect.map(run.poll, (record) => assert.deepInclude(record, { state: "scheduled", attempt })))
        yield* advance("1 second")
      }
      assert.deepStrictEqual(yield* Fiber.join(fiber), new Oops({ code: -4 }))
    })
  )

  rule("a process that only knows the id of a run can wait for it", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const handle = yield* other.run(Sum.handle(run.id))
      const fiber = yield* Effect.fork(handle.await)
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      assert.strictEqual(yield* Fiber.join(fiber), 3n)
    })
  )

  rule("many can wait for one run, before and after its end", () =>
    Effect.gen(function* () {
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const fibers = yield* Effect.forEach(Array(20), () => Effect.fork(run.await))
      yield* quiet
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), Array(20).fill(3n))
      assert.strictEqual(yield* run.await, 3n)
    })
  )

  rule("nobody waits for a run that is not there", () =>
    Effect.gen(function* () {
      const runId = TaskRun.RunId.make("0190a5b0-0000-7000-8000-000000000000")
      const handle = yield* Sum.handle(runId)
      assert.deepStrictEqual(yield* Effect.flip(handle.await), new TaskError.RunNotFound({ runId }))
      assert.deepStrictEqual(yield* Effect.flip(handle.poll), new TaskError.RunNotFound({ runId }))
    })
  )

  rule("an outage of the store only delays the answer to those who wait", () =>
    Effect.gen(function* () {
      let down = false
      const outage = new TaskError.BackendError({ backend: "test", operation: "get", transient: true })
      const process = yield* openProcessWith({
        store: (store) => ({ ...store, get: (ids) => Effect.suspend(() => (down ? outage : store.get(ids))) })
      })
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const handle = yield* process.run(Sum.handle(run.id))
      const fiber = yield* Effect.fork(handle.await)
      yield* quiet
      down = true
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      yield* becomes(run, "success")
      yield* advance("2 seconds")
      assert.strictEqual((yield* fiber.poll)._tag, "None")
      down = false
      yield* advance("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), 3n)
    })
  )

  rule("who waits and misses every signal learns of the end after the poll interval", () =>
    Effect.gen(function* () {
      const deaf = yield* openProcessWith({
        broker: (broker) => ({ ...broker, signals: Queue.unbounded(), pollInterval: Duration.seconds(5) })
      })
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const handle = yield* deaf.run(Sum.handle(run.id))
      const fiber = yield* Effect.fork(handle.await)
      yield* quiet
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      yield* becomes(run, "success")
      assert.strictEqual((yield* fiber.poll)._tag, "None")
      yield* advance("5 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), 3n)
    })
  )

  rule("a waiter that gives up leaves the run and other waiters alone", () =>
    Effect.gen(function* () {
      const run = yield* Sum.queue({ a: 1, b: 2 })
      const [leaving, staying] = yield* Effect.all([Effect.fork(run.await), Effect.fork(run.await)])
      yield* quiet
      yield* Fiber.interrupt(leaving)
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      assert.strictEqual(yield* Fiber.join(staying), 3n)
    })
  )
}

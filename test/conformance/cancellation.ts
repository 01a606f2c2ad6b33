import { assert } from "@effect/vitest"
import { Task, TaskError, TaskGroup, TaskManager, TaskRun } from "@effect-tasks/core"
import { Deferred, Effect, Fiber, Queue, Schedule } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, recordEvents } from "./observing.js"

const Hang = Task.make("Hang", { retry: Schedule.forever })

/** A handler that never ends, and notes its start and its finalizers. */
const hanging = (steps: Array<string>) => () =>
  Effect.sync(() => steps.push("started")).pipe(
    Effect.zipRight(Effect.never),
    Effect.onInterrupt(() => Effect.sync(() => steps.push("interrupted"))),
    Effect.ensuring(Effect.sync(() => steps.push("finalized")))
  )

/** What cancelling a run through a manager does. */
export const cancellation: Family = (rule) => {
  for (const [state, delay] of [
    ["queued", 0],
    ["scheduled", 1_000]
  ] as const) {
    rule(`a ${state} run is cancelled at once, those who wait are told why, and it is never performed`, () =>
      Effect.gen(function* () {
        const steps: Array<string> = []
        const run = yield* Hang.queue(undefined, { delay })
        const waiting = yield* Effect.fork(Effect.flip(run.await))
        assert.strictEqual(yield* run.cancel("not needed"), "cancelled")
        assert.deepStrictEqual(
          yield* waiting,
          new TaskError.TaskCancelled({ runId: run.id, task: "Hang", reason: "not needed" })
        )
        yield* serve(TaskGroup.make(Hang), { Hang: hanging(steps) })
        yield* advance("1 second")
        assert.deepStrictEqual(steps, [])
        assert.deepInclude(yield* run.poll, { state: "cancelled", endedAt: 0, startedAt: null })
      })
    )
  }

  rule("a running run is interrupted, its finalizers run, and it is not retried", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const events = yield* recordEvents
      const consumer = yield* serve(TaskGroup.make(Hang), { Hang: hanging(steps) })
      const run = yield* Hang.queue()
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["started"]))
      assert.strictEqual(yield* run.cancel("enough"), "requested")
      const error = yield* Effect.flip(run.await)
      assert.deepStrictEqual(error, new TaskError.TaskCancelled({ runId: run.id, task: "Hang", reason: "enough" }))
      assert.deepStrictEqual(steps, ["started", "interrupted", "finalized"])
      yield* eventsBecome(events, run, "init", "queued", "running", "cancelled")
      yield* eventually(Effect.map(consumer.running, (running) => assert.strictEqual(running, 0)))
      const { attempts } = yield* run.poll
      assert.deepStrictEqual(
        attempts.map(({ outcome }) => outcome),
        [{ _tag: "Cancelled", reason: "enough" }]
      )
    })
  )

  rule("a running run is cancelled from another process, within a third of its lease", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(Hang), { Hang: hanging(steps) }, { lease: "3 seconds" }))
      const run = yield* Hang.queue()
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["started"]))
      assert.strictEqual(yield* run.cancel("enough"), "requested")
      yield* advance("1 second")
      yield* becomes(run, "cancelled")
    })
  )

  rule("a consumer that is not told at once of a cancellation learns of it with its next sign of life", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      // a process that hears no signal
      const deaf = yield* openProcessWith({ broker: (broker) => ({ ...broker, signals: Queue.unbounded() }) })
      const run = yield* Hang.queue()
      yield* deaf.run(serve(TaskGroup.make(Hang), { Hang: hanging(steps) }, { lease: "3 seconds" }))
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["started"]))
      yield* run.cancel("enough")
      yield* advance("1 second")
      yield* becomes(run, "cancelled")
      assert.deepStrictEqual(steps, ["started", "interrupted", "finalized"])
    })
  )

  rule("a run whose handler ignores its cancellation ends when the handler does", () =>
    Effect.gen(function* () {
      const release = yield* Deferred.make<void>()
      const Firm = Task.make("Firm")
      yield* serve(TaskGroup.make(Firm), { Firm: () => Effect.uninterruptible(Deferred.await(release)) })
      const run = yield* Firm.queue()
      yield* becomes(run, "running")
      assert.strictEqual(yield* run.cancel(), "requested")
      yield* Deferred.succeed(release, undefined)
      yield* eventually(Effect.map(run.poll, ({ state }) => assert.include(["success", "cancelled"], state)))
    })
  )

  rule("a run that was being cancelled when its consumer stops ends as cancelled, and is not given back", () =>
    Effect.gen(function* () {
      const Slow = Task.make("Slow")
      const consumer = yield* serve(TaskGroup.make(Slow), {
        Slow: () => Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second"))
      })
      const run = yield* Slow.queue()
      yield* becomes(run, "running")
      yield* run.cancel("enough")
      yield* quiet
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance("1 second")
      assert.deepStrictEqual((yield* Fiber.join(stopping)).givenBack, [])
      assert.deepInclude(yield* run.poll, { state: "cancelled", outcome: { _tag: "Cancelled", reason: "enough" } })
    })
  )

  rule("a run that has ended stays as it is, and an unknown one is an error", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const Quick = Task.make("Quick")
      yield* serve(TaskGroup.make(Quick), { Quick: () => Effect.void })
      const run = yield* Quick.queue()
      yield* run.await
      assert.strictEqual(yield* run.cancel(), "ended")
      assert.strictEqual((yield* run.poll).state, "success")
      const unknown = TaskRun.RunId.make("0190a5b0-0000-7000-8000-000000000000")
      assert.deepStrictEqual(yield* Effect.flip(manager.cancel(unknown)), new TaskError.RunNotFound({ runId: unknown }))
    })
  )

  rule("a place that a cancelled run leaves is filled again", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      yield* serve(TaskGroup.make(Hang), { Hang: hanging(steps) }, { maxConcurrentTasks: 1 })
      const first = yield* Hang.queue()
      const second = yield* Hang.queue()
      yield* becomes(first, "running")
      yield* first.cancel()
      yield* becomes(second, "running")
    })
  )
}

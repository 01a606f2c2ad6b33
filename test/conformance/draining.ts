import { assert } from "@effect/vitest"
import { Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Deferred, Effect, Exit, Fiber, Schedule, Schema, Scope } from "effect"
import { advance, type Family, quiet, serve } from "./harness.js"
import { becomes, Oops } from "./observing.js"

const Work = Task.make("Work", { payload: { seconds: Schema.Number } })
const Parent = Task.make("Parent", { payload: { depth: Schema.Number } })
const Failing = Task.make("Failing", { error: Oops, retry: Schedule.recurs(2) })
const all = TaskGroup.make(Work, Parent, Failing)

const handlers = {
  Work: ({ seconds }: { readonly seconds: number }) => Effect.sleep(`${seconds} seconds`),
  Parent: ({ depth }: { readonly depth: number }) =>
    depth === 0 ? Effect.void : Effect.asVoid(Parent.queue({ depth: depth - 1 })),
  Failing: () => new Oops({ code: 1 })
}

const nothing = { finished: 0, givenBack: [], interrupted: [], overran: [] }

/** Finishing what is due, then ending. */
export const draining: Family = (rule) => {
  rule(
    "a drain performs all that is due, more than there is place for, and then stops; its report counts the ends",
    () =>
      Effect.gen(function* () {
        const consumer = yield* serve(all, handlers, { maxConcurrentTasks: 2 })
        const runs = yield* Work.queueAll(Array.from({ length: 7 }, () => ({ seconds: 10 })))
        const failing = yield* Failing.queue()
        yield* becomes(runs[0]!, "running")
        const draining = yield* Effect.fork(consumer.drain)
        yield* advance("30 seconds")
        const { phase, ready } = yield* consumer.status
        assert.deepStrictEqual([phase, ready], ["draining", false])
        yield* advance("20 seconds")
        assert.deepStrictEqual(yield* Fiber.join(draining), { ...nothing, ended: { success: 7, failure: 1 } })
        yield* Effect.forEach(runs, (run) => becomes(run, "success"))
        yield* becomes(failing, "failure")
        assert.deepInclude(yield* consumer.status, { phase: "stopped", alive: false, ready: false })
      })
  )

  rule("what becomes due because of the drain is performed too; what is scheduled for later is not", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const later = yield* Work.queue({ seconds: 1 }, { delay: "1 hour" })
      const consumer = yield* serve(all, handlers)
      yield* Parent.queue({ depth: 5 })
      const { ended } = yield* consumer.drain
      assert.strictEqual((yield* manager.counts({ task: "Parent" })).success, 6)
      assert.isAtMost(ended.success ?? 0, 6)
      assert.strictEqual((yield* later.poll).state, "scheduled")
    })
  )

  rule("a drain with nothing to do ends at once", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(all, handlers)
      assert.deepStrictEqual(yield* consumer.drain, { ...nothing, ended: {} })
    })
  )

  rule("the grace does not cut a drain", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(all, handlers, { grace: "1 second" })
      const run = yield* Work.queue({ seconds: 600 })
      yield* becomes(run, "running")
      const draining = yield* Effect.fork(consumer.drain)
      yield* advance("10 minutes")
      assert.deepInclude(yield* Fiber.join(draining), { ended: { success: 1 }, givenBack: [] })
    })
  )

  rule("the end of the Scope cuts a drain, in the order of a shutdown", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const consumer = yield* Scope.extend(serve(all, handlers, { grace: "5 seconds", maxConcurrentTasks: 2 }), scope)
      const [quick, slow, waiting] = yield* Work.queueAll([{ seconds: 4 }, { seconds: 600 }, { seconds: 1 }])
      yield* becomes(slow!, "running")
      const draining = yield* Effect.fork(consumer.drain)
      yield* advance("1 second")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* quiet
      yield* advance("5 seconds")
      yield* Fiber.join(closing)
      const report = yield* Fiber.join(draining)
      assert.deepStrictEqual(report, {
        ...nothing,
        finished: 1,
        givenBack: [{ id: slow!.id, task: "Work" }],
        ended: { success: 1 }
      })
      yield* becomes(quick!, "success")
      assert.strictEqual((yield* waiting!.poll).state, "queued")
    })
  )

  rule("draining twice, also at the same time, gives the same report", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(all, handlers)
      const run = yield* Work.queue({ seconds: 10 })
      yield* becomes(run, "running")
      const both = yield* Effect.fork(Effect.all([consumer.drain, consumer.drain], { concurrency: 2 }))
      yield* advance("10 seconds")
      const [one, other] = yield* Fiber.join(both)
      assert.deepStrictEqual(one, { ...nothing, ended: { success: 1 } })
      assert.deepStrictEqual(other, one)
      assert.deepStrictEqual(yield* consumer.drain, one)
    })
  )

  rule("a drain does not wait for a handler that ignores its interruption", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const Deaf = Task.make("Deaf", { timeout: "1 second" })
      const consumer = yield* serve(
        TaskGroup.make(Deaf),
        { Deaf: () => Effect.uninterruptible(Deferred.await(gate)) },
        { cleanup: "2 seconds" }
      )
      const run = yield* Deaf.queue()
      yield* becomes(run, "running")
      const draining = yield* Effect.fork(consumer.drain)
      yield* advance("6 seconds")
      assert.deepInclude(yield* Fiber.join(draining), { overran: [{ id: run.id, task: "Deaf" }], ended: {} })
      yield* Deferred.succeed(gate, undefined)
    })
  )
}

import { assert } from "@effect/vitest"
import { CurrentRun, Limit, Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { advance, type Family, openProcess, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, recordEvents } from "./observing.js"

const payload = { who: Schema.String }
const who = ({ who }: { readonly who: string }) => who

const ask = (...all: ReadonlyArray<string>) => all.map((who) => ({ who }))

/** A handler that takes a second, and who is at it. */
const noting = () => {
  const running: Array<string> = []
  const begun: Array<string> = []
  const handler = ({ who }: { readonly who: string }) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        running.push(who)
        begun.push(who)
      }),
      () => Effect.sleep("1 second"),
      () => Effect.sync(() => running.splice(running.indexOf(who), 1))
    )
  return { running, begun, handler }
}

/** The limits of `Limit`, as an application uses them. */
export const rateLimiting: Family = (rule) => {
  rule("a task's limit per key of its payload holds over processes, and other keys are performed past it", () =>
    Effect.gen(function* () {
      const Import = Task.make("Import", { payload, limit: Limit.concurrency({ max: 1, key: who }) })
      const { begun, handler, running } = noting()
      const other = yield* openProcess
      yield* serve(TaskGroup.make(Import), { Import: handler })
      yield* other.run(serve(TaskGroup.make(Import), { Import: handler }))
      yield* Import.queueAll(ask("a", "a", "a", "b", "b", "c"))
      for (const expected of [["a", "b", "c"], ["a", "b"], ["a"]]) {
        yield* eventuallySync(() => assert.deepStrictEqual(running.slice().sort(), expected))
        yield* quiet
        assert.deepStrictEqual(running.slice().sort(), expected)
        yield* advance("1 second")
      }
      yield* eventuallySync(() => assert.strictEqual(begun.length, 6))
    })
  )

  rule("a consumer performs no more runs of a task than its limit per consumer", () =>
    Effect.gen(function* () {
      const Heavy = Task.make("Heavy", { payload, limit: Limit.perConsumer({ max: 2 }) })
      const { handler, running } = noting()
      const manager = yield* TaskManager.TaskManager
      const consumer = yield* serve(TaskGroup.make(Heavy), { Heavy: handler })
      yield* Heavy.queueAll(ask("1", "2", "3", "4", "5"))
      for (const expected of [2, 2, 1]) {
        yield* eventuallySync(() => assert.strictEqual(running.length, expected))
        yield* quiet
        assert.strictEqual(yield* consumer.runningOf(Heavy), expected)
        yield* advance("1 second")
      }
      yield* quiet
      assert.deepInclude(yield* manager.counts(), { success: 5 })
    })
  )

  rule("the runs of a queue are performed as its limit allows, whatever their tasks", () =>
    Effect.gen(function* () {
      const A = Task.make("A", { payload })
      const B = Task.make("B", { payload })
      const { begun, handler, running } = noting()
      yield* serve(TaskGroup.make(A, B), { A: handler, B: handler }, { queueLimits: { default: 2 } })
      yield* A.queueAll(ask("a1", "a2"))
      yield* B.queueAll(ask("b1", "b2"))
      yield* eventuallySync(() => assert.strictEqual(running.length, 2))
      yield* quiet
      assert.strictEqual(running.length, 2)
      yield* advance("1 second")
      yield* eventuallySync(() => assert.strictEqual(begun.length, 4))
      yield* advance("1 second")
    })
  )

  rule("runs over a rate wait for their time, and begin then by themselves", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", {
        payload,
        limit: Limit.all(
          Limit.tokenBucket({ limit: 1, every: "1 minute", burst: 2, key: who }),
          Limit.fixedWindow({ limit: 100, window: "1 day" })
        )
      })
      const begun: Array<string> = []
      yield* serve(TaskGroup.make(Call), { Call: ({ who }) => Effect.sync(() => void begun.push(who)) })
      yield* Call.queueAll(ask("a", "a", "a", "a", "b"))
      yield* eventuallySync(() => assert.deepStrictEqual(begun.slice().sort(), ["a", "a", "b"]))
      yield* advance("59 seconds")
      assert.strictEqual(begun.length, 3)
      yield* advance("1 second")
      yield* eventuallySync(() => assert.strictEqual(begun.length, 4))
      yield* advance("1 minute")
      yield* eventuallySync(() => assert.strictEqual(begun.length, 5))
    })
  )

  rule("where the task refuses, a run over the rate ends as rate_limited, with when it would have passed", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", { limit: Limit.fixedWindow({ limit: 1, window: "1 hour", onLimit: "refuse" }) })
      const events = yield* recordEvents
      let begun = 0
      yield* serve(TaskGroup.make(Call), { Call: () => Effect.sync(() => void begun++) })
      yield* Call.queueAndWait()
      const refused = yield* Call.queue()
      const error = yield* Effect.flip(refused.await)
      assert.deepInclude(error, { _tag: "TaskRateLimited", runId: refused.id, retryAfterMillis: 3_600_000 })
      yield* eventsBecome(events, refused, "init", "queued", "running", "rate_limited")
      const { attempt, attempts } = yield* refused.poll
      assert.deepStrictEqual([begun, attempt, attempts], [1, 0, []])
    })
  )

  rule("a handler that is rate limited holds back the runs with its keys only, where its task has keyed limits", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", { payload, limit: Limit.concurrency({ max: 5, key: who }) })
      const begun: Array<string> = []
      yield* serve(
        TaskGroup.make(Call),
        {
          Call: ({ who }) =>
            Effect.gen(function* () {
              begun.push(who)
              if (who === "a" && begun.filter((one) => one === "a").length === 1) {
                return yield* CurrentRun.rateLimited("1 minute")
              }
            })
        },
        { maxConcurrentTasks: 1 }
      )
      const held = yield* Call.queue({ who: "a" })
      yield* becomes(held, "scheduled")
      const later = yield* Call.queue({ who: "a" })
      const free = yield* Call.queue({ who: "b" })
      yield* becomes(free, "success")
      yield* advance("59 seconds")
      assert.deepStrictEqual(begun, ["a", "b"])
      yield* advance("1 second")
      yield* becomes(held, "success")
      yield* becomes(later, "success")
      assert.deepInclude(yield* held.poll, { attempt: 0, snoozes: 1 })
    })
  )

  rule("a key that is none is refused when the run is queued", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", {
        payload,
        limit: Limit.concurrency({ max: 1, key: (payload: { readonly who: string }) => payload.who.repeat(300) })
      })
      const error = yield* Effect.flip(Call.queue({ who: "x" }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "the key of a limit of task Call" })
    })
  )

  rule("a limit out of its range is refused when the run is queued", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", { limit: Limit.tokenBucket({ limit: 0, every: "1 second" }) })
      assert.deepInclude(yield* Effect.flip(Call.queue()), { option: "limit.limit of task Call", value: 0 })
    })
  )
}

import { assert } from "@effect/vitest"
import { Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { advance, eventually, type Family, openProcess, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, Oops, recordEvents } from "./observing.js"

const Count = Task.make("Count", { payload: { n: Schema.Number }, error: Oops })
const Other = Task.make("Other", { queue: "other" })

const numbers = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

/** What operators do: pause, disable, edit, and act on many runs at once. */
export const operating: Family = (rule) => {
  rule("what waits in a paused queue is performed after it is resumed, what runs goes on", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* serve(TaskGroup.make(Count, Other), { Count: () => Effect.sleep("1 second"), Other: () => Effect.void })
      const running = yield* Count.queue({ n: 1 })
      yield* becomes(running, "running")
      yield* manager.pause({ queue: "default" })
      const paused = yield* Count.queue({ n: 2 })
      yield* Other.queueAndWait()
      yield* advance("1 minute")
      yield* becomes(running, "success")
      assert.strictEqual((yield* paused.poll).state, "queued")
      assert.deepStrictEqual(yield* manager.controls, [{ of: "queue", name: "default", state: "paused" }])
      yield* manager.resume({ queue: "default" })
      yield* becomes(paused, "running")
      yield* advance("1 second")
      yield* becomes(paused, "success")
      assert.deepStrictEqual(yield* manager.controls, [])
    })
  )

  rule("a task can be paused and resumed from another process", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      yield* serve(TaskGroup.make(Count, Other), { Count: () => Effect.void, Other: () => Effect.void })
      yield* other.run(Effect.flatMap(TaskManager.TaskManager, (manager) => manager.pause({ task: "Count" })))
      const run = yield* Count.queue({ n: 1 })
      yield* Other.queueAndWait()
      yield* quiet
      assert.strictEqual((yield* run.poll).state, "queued")
      yield* other.run(Effect.flatMap(TaskManager.TaskManager, (manager) => manager.resume({ task: "Count" })))
      yield* advance("5 seconds")
      yield* becomes(run, "success")
    })
  )

  rule("the runs of a disabled task end as aborted, until it is enabled", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      let performed = 0
      yield* serve(TaskGroup.make(Count), { Count: () => Effect.sync(() => void performed++) })
      yield* manager.disable("Count")
      const run = yield* Count.queue({ n: 1 })
      assert.deepInclude(yield* Effect.flip(run.await), { _tag: "TaskAborted", reason: "its task is disabled" })
      yield* eventsBecome(events, run, "init", "queued", "running", "aborted")
      assert.deepStrictEqual((yield* run.poll).attempts, [])
      yield* manager.enable("Count")
      yield* Count.queueAndWait({ n: 2 })
      assert.strictEqual(performed, 1)
    })
  )

  rule("a run that has not begun before it expires ends as aborted", () =>
    Effect.gen(function* () {
      let performed = 0
      const inTime = yield* Count.queue({ n: 1 }, { expiresAt: 2_001 })
      const late = yield* Count.queue({ n: 2 }, { expiresAt: 2_000 })
      yield* advance("2 seconds")
      yield* serve(TaskGroup.make(Count), { Count: () => Effect.sync(() => void performed++) })
      yield* becomes(inTime, "success")
      assert.deepInclude(yield* Effect.flip(late.await), {
        _tag: "TaskAborted",
        reason: "it had expired before it was begun"
      })
      assert.strictEqual(performed, 1)
      assert.deepInclude(yield* late.poll, { expiresAt: 2_000, attempts: [] })
    })
  )

  rule("a run over maxQueued is rejected, with an event of its own, and nothing is queued", () =>
    Effect.gen(function* () {
      const Short = Task.make("Short", { maxQueued: 2 })
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      yield* Short.queue()
      yield* Short.queue(undefined, { delay: "1 hour" })
      assert.deepInclude(yield* Effect.flip(Short.queue()), { _tag: "QueueFull", task: "Short", maxQueued: 2 })
      yield* eventuallySync(() =>
        assert.deepStrictEqual(
          events.slice(-2).map(({ state }) => state),
          ["init", "rejected"]
        )
      )
      assert.deepInclude(yield* manager.counts(), { queued: 1, scheduled: 1, rejected: 0 })
      yield* Short.queue(undefined, { maxQueued: 3 })
    })
  )

  rule("all ended runs that match a filter are queued again, after they have been counted", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      let isFixed = false
      yield* serve(TaskGroup.make(Count), {
        Count: ({ n }) => (isFixed || n % 3 === 0 ? Effect.void : new Oops({ code: n }))
      })
      yield* Count.queueAll(numbers(12), { tags: ["batch"] })
      yield* eventuallyCounts({ success: 4, failure: 8 })
      isFixed = true
      assert.strictEqual(yield* manager.count({ tag: "batch", state: ["failure"] }), 8)
      assert.strictEqual(yield* manager.retryAll({ tag: "batch" }), 8)
      yield* eventuallyCounts({ success: 12, failure: 8 })
      const { items } = yield* manager.runs({ state: ["success"], limit: 100 })
      assert.strictEqual(items.filter(({ retryOf }) => retryOf !== null).length, 8)
      assert.strictEqual(yield* manager.retryAll({ state: ["cancelled"] }), 0)
    })
  )

  rule("all unfinished runs that match a filter are cancelled", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Count), { Count: () => Effect.never }, { maxConcurrentTasks: 2 })
      const runs = yield* Count.queueAll(numbers(7))
      yield* Other.queue()
      yield* becomes(runs[0]!, "running")
      assert.deepStrictEqual(yield* manager.cancelAll({ task: "Count" }, "enough"), { cancelled: 5, requested: 2 })
      yield* eventuallyCounts({ cancelled: 7, queued: 1 })
      assert.deepInclude(yield* Effect.flip(runs[6]!.await), { _tag: "TaskCancelled", reason: "enough" })
      yield* eventsBecome(events, runs[6]!, "init", "queued", "cancelled")
    })
  )

  rule("a queue is cleared, with counts per priority; what runs goes on", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* serve(TaskGroup.make(Count), { Count: () => Effect.never }, { maxConcurrentTasks: 1 })
      const running = yield* Count.queue({ n: 0 }, { priority: "high" })
      yield* becomes(running, "running")
      yield* Count.queueAll(numbers(3))
      yield* Count.queueAll(numbers(2), { priority: "low", delay: "1 hour" })
      yield* Other.queue()
      const { byPriority, total } = yield* manager.clear("default")
      assert.deepStrictEqual(
        [total, Array.from(byPriority).sort()],
        [
          5,
          [
            [-10, 2],
            [0, 3]
          ]
        ]
      )
      assert.deepInclude(yield* manager.counts(), { cancelled: 5, running: 1, queued: 1 })
    })
  )

  rule("the records of ended runs that match a filter are removed, others stay", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* serve(TaskGroup.make(Count), { Count: ({ n }) => Effect.log(`number ${n}`) })
      const [run] = yield* Count.queueAll(numbers(4))
      yield* eventuallyCounts({ success: 4 })
      yield* advance("1 minute")
      const later = yield* Count.queue({ n: 9 })
      yield* becomes(later, "success")
      const waiting = yield* Count.queue({ n: 10 }, { delay: "1 day" })
      assert.strictEqual(yield* manager.count({ endedBefore: 60_000 }), 4)
      assert.strictEqual(yield* manager.purge({ endedBefore: 60_000 }), 4)
      assert.deepInclude(yield* Effect.flip(manager.get(run!.id)), { _tag: "RunNotFound" })
      assert.deepStrictEqual(yield* manager.logs(run!.id), [])
      assert.deepInclude(yield* manager.counts(), { success: 1, scheduled: 1 })
      assert.strictEqual(yield* manager.purge({}), 1)
      assert.strictEqual((yield* waiting.poll).state, "scheduled")
    })
  )

  rule("the priority and the due time of a waiting run can be changed", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      const performed: Array<number> = []
      yield* manager.pause({ queue: "default" })
      const runs = yield* Count.queueAll(numbers(3))
      assert.strictEqual(yield* manager.edit(runs[2]!.id, { priority: "high" }), "edited")
      assert.strictEqual(yield* manager.edit(runs[0]!.id, { delay: "1 minute" }), "edited")
      yield* serve(
        TaskGroup.make(Count),
        { Count: ({ n }) => Effect.sync(() => void performed.push(n)) },
        { maxConcurrentTasks: 1 }
      )
      yield* manager.resume({ queue: "default" })
      yield* eventuallySync(() => assert.deepStrictEqual(performed, [2, 1]))
      yield* advance("1 minute")
      yield* becomes(runs[0]!, "success")
      yield* eventsBecome(events, runs[0]!, "init", "queued", "scheduled", "queued", "running", "success")
      assert.strictEqual(yield* manager.edit(runs[0]!.id, { priority: "low" }), "ended")
      assert.deepInclude(yield* Effect.flip(manager.edit(runs[0]!.id, { priority: 5_000 })), { _tag: "InvalidOption" })
    })
  )
}

const eventuallyCounts = (expected: Record<string, number>) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) =>
    eventually(Effect.map(manager.counts(), (counts) => assert.deepInclude(counts, expected)))
  )

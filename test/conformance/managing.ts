import { assert } from "@effect/vitest"
import { RetryPolicy, Task, TaskError, TaskGroup, TaskManager, TaskRun, TaskState } from "@effect-tasks/core"
import { Effect, Schema, Stream } from "effect"
import { advance, type Family, openProcess, serve } from "./harness.js"
import { becomes, Oops } from "./observing.js"

const Work = Task.make("Work", { payload: { n: Schema.Number }, error: Oops, tags: ["work"] })
const unknown = TaskRun.RunId.make("0190a5b0-0000-7000-8000-000000000000")

/** Fails on odd numbers. */
const even = ({ n }: { readonly n: number }) => (n % 2 === 0 ? Effect.void : new Oops({ code: n }))

/** What a manager tells about runs, and how it repeats one. */
export const managing: Family = (rule) => {
  rule("a manager finds a run by its id, from any process", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const run = yield* Work.queue({ n: 1 })
      const get = (id: TaskRun.RunId) => Effect.flatMap(TaskManager.TaskManager, (manager) => manager.get(id))
      const found = yield* get(run.id)
      assert.deepInclude(found, { id: run.id, task: "Work", state: "queued", payload: { n: 1 }, attempts: [] })
      assert.deepStrictEqual(yield* other.run(get(run.id)), found)
      assert.deepStrictEqual(yield* Effect.flip(get(unknown)), new TaskError.RunNotFound({ runId: unknown }))
    })
  )

  rule("runs are listed newest first, in pages that lead on to the last", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const runs = yield* Work.queueAll(Array.from({ length: 7 }, (_, n) => ({ n })))
      const pages: Array<ReadonlyArray<unknown>> = []
      let before: TaskRun.RunId | undefined
      do {
        const page: TaskManager.Page = yield* manager.runs({ task: "Work", limit: 3, before })
        pages.push(page.items.map(({ id }) => id))
        before = page.next ?? undefined
      } while (before !== undefined)
      const ids = runs.map(({ id }) => id).reverse()
      assert.deepStrictEqual(pages, [ids.slice(0, 3), ids.slice(3, 6), ids.slice(6)])
    })
  )

  rule("a page holds 1,000 runs at the most, and says that there are more", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* Work.queueAll(Array.from({ length: 1_001 }, (_, n) => ({ n })))
      const first = yield* manager.runs({ limit: 5_000 })
      assert.strictEqual(first.items.length, 1_000)
      const second = yield* manager.runs({ limit: 5_000, before: first.next ?? undefined })
      assert.deepStrictEqual(
        second.items.map(({ payload }) => payload),
        [{ n: 0 }]
      )
      assert.isNull(second.next)
    })
  )

  rule("runs are counted in every state, those without any too", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* serve(TaskGroup.make(Work), { Work: even })
      const runs = yield* Work.queueAll(Array.from({ length: 5 }, (_, n) => ({ n })))
      yield* Effect.forEach(runs, (run) => Effect.exit(run.await))
      yield* Work.queue({ n: 0 }, { delay: "1 hour" })
      const counts = yield* manager.counts({ task: "Work" })
      assert.sameMembers(Object.keys(counts), [...TaskState.all])
      assert.deepInclude(counts, { success: 3, failure: 2, scheduled: 1, queued: 0, running: 0, cancelled: 0 })
      assert.deepInclude(yield* manager.counts({ queue: "other" }), { success: 0 })
    })
  )

  rule("an ended run is repeated as a new one that knows which it repeats", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const once = RetryPolicy.make({ retries: 1, delay: "1 second" })
      const Again = Task.make("Again", { payload: { n: Schema.Number }, error: Oops, retry: once })
      let broken = true
      yield* serve(TaskGroup.make(Again), { Again: () => (broken ? new Oops({ code: 1 }) : Effect.void) })
      const run = yield* Again.queue({ n: 5 }, { tags: ["x"], priority: "high", group: "g" })
      yield* advance("1 second")
      const old = yield* becomes(run, "failure")
      broken = false
      yield* advance("1 second")
      const id = yield* manager.retry(run.id)
      assert.notStrictEqual(id, run.id)
      const repeated = yield* becomes(yield* Again.handle(id), "success")
      assert.deepInclude(repeated, {
        retryOf: run.id,
        payload: { n: 5 },
        tags: ["x"],
        priority: 10,
        group: "g",
        createdAt: 2_000,
        attempt: 0,
        crashes: 0
      })
      assert.strictEqual(repeated.attempts.length, 1)
      assert.deepStrictEqual(yield* run.poll, old)
    })
  )

  rule("a success that holds its key for ever is repeated, and keeps the key", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* serve(TaskGroup.make(Work), { Work: () => Effect.void })
      const ask = Work.queue({ n: 1 }, { idempotencyKey: { key: "k", hold: "forever" } })
      const run = yield* ask
      yield* becomes(run, "success")
      const id = yield* manager.retry(run.id)
      assert.notStrictEqual(id, run.id)
      yield* becomes(yield* Work.handle(id), "success")
      assert.deepInclude(yield* ask, { id: run.id, existing: true })
    })
  )

  rule("a failure that is repeated hands its key on", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const ask = Work.queue({ n: 1 }, { idempotencyKey: "k" })
      const run = yield* ask
      yield* run.cancel()
      const id = yield* manager.retry(run.id)
      assert.deepInclude(yield* ask, { id, existing: true })
    })
  )

  rule("a run that is not there has no events", () =>
    Effect.gen(function* () {
      const handle = yield* Work.handle(unknown)
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(handle.events)), [])
    })
  )

  rule("only a run that is there and has ended can be repeated", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const run = yield* Work.queue({ n: 1 })
      assert.deepStrictEqual(
        yield* Effect.flip(manager.retry(run.id)),
        new TaskError.RunNotFinished({ runId: run.id, state: "queued" })
      )
      assert.deepStrictEqual(yield* Effect.flip(manager.retry(unknown)), new TaskError.RunNotFound({ runId: unknown }))
      yield* run.cancel()
      assert.deepInclude(yield* manager.get(yield* manager.retry(run.id)), { state: "queued", retryOf: run.id })
    })
  )

  rule("the ids of runs sort by the time of their queueing, over processes too", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const ids: Array<string> = []
      for (let i = 0; i < 5; i++) {
        ids.push((yield* Work.queue({ n: i })).id)
        yield* advance(1)
        ids.push((yield* other.run(Work.queue({ n: i }))).id)
        yield* advance(1)
      }
      assert.deepStrictEqual(ids, ids.slice().sort())
    })
  )
}

import { assert } from "@effect/vitest"
import { Broker, type Operating, type TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, ended, enqueue, enqueueAndClaim, enqueueOne, ids, idsOf, settle, stored } from "./encoded.js"
import { type Family, Storage } from "./harness.js"

const edit = (all: ReadonlyArray<TaskRun.RunId>, fields: Partial<Operating.Edit>) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.edit({ ids: all, priority: null, dueAt: null, now: 0, ...fields }))

/** Changes of runs that wait. */
export const editing: Family = (rule) => {
  rule("another priority gives a waiting run another place in the order", () =>
    Effect.gen(function* () {
      const [first, second, third] = yield* enqueue({}, {}, {})
      const [result] = yield* edit([third!.id], { priority: 7 })
      assert.deepStrictEqual(result, { _tag: "Edited", run: { ...third!, priority: 7 }, previous: "queued" })
      assert.deepStrictEqual(yield* stored(third!.id), { ...third!, priority: 7 })
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10 })), ids([third!, first!, second!]))
    })
  )

  rule("a later due time puts a queued run off", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne()
      const [result] = yield* edit([run.id], { dueAt: 500, now: 10 })
      assert.deepInclude(result, { _tag: "Edited", previous: "queued" })
      assert.deepInclude(yield* stored(run.id), { state: "scheduled", dueAt: 500 })
      const early = yield* claim({ now: 499 })
      assert.deepStrictEqual([early.runs.length, early.nextAt], [0, 500])
      assert.deepStrictEqual(idsOf(yield* claim({ now: 500 })), [run.id])
    })
  )

  rule("an earlier due time makes a scheduled run due", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne({ dueAt: 5_000, priority: 3 })
      const [result] = yield* edit([run.id], { dueAt: 10, now: 10 })
      assert.deepInclude(result, { _tag: "Edited", previous: "scheduled" })
      assert.deepInclude(yield* stored(run.id), { state: "queued", dueAt: 10, priority: 3 })
      assert.deepStrictEqual(idsOf(yield* claim({ now: 10 })), [run.id])
    })
  )

  rule("a run that is running, has ended or is unknown stays as it is, and the answers stand in order", () =>
    Effect.gen(function* () {
      const running = yield* enqueueAndClaim()
      const over = yield* enqueueAndClaim()
      yield* settle(ended(over, "success", 1))
      const wait = yield* enqueueOne()
      const { nextId } = yield* Storage
      const answers = yield* edit([running.id, nextId(), wait.id, over.id], { priority: 1 })
      assert.deepStrictEqual(
        answers.map(({ _tag }) => _tag),
        ["Running", "Unknown", "Edited", "Ended"]
      )
      assert.deepStrictEqual(yield* stored(running.id), running)
    })
  )

  rule("an edited run keeps its lane, its key and its payload", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne({ group: "g", limitKeys: '["a"]', payload: '{"n":1}', tags: ["t"] })
      yield* edit([run.id], { priority: 1 })
      assert.deepStrictEqual(yield* stored(run.id), { ...run, priority: 1 })
      assert.deepStrictEqual(idsOf(yield* claim()), [run.id])
    })
  )
}

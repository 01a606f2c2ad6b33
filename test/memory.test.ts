/** What is particular to the backend in memory: how much it keeps. */

import { assert, describe, it } from "@effect/vitest"
import { Backend, Store } from "@effect-tasks/core"
import { Effect, Option } from "effect"
import { claim, ended, enqueue, ids, line, settleAll } from "./conformance/encoded.js"
import { Storage } from "./conformance/harness.js"
import { ascending } from "./fixtures/runIds.js"

const storage = Storage.of({ open: Backend.layerMemory, activity: undefined as never, nextId: ascending() })

/** Which of these runs have a record, and which have lines. */
const found = (runs: Parameters<typeof ids>[0]) =>
  Effect.gen(function* () {
    const store = yield* Store.Store
    const records = yield* store.get(ids(runs))
    const logs = yield* Effect.forEach(ids(runs), (id) => store.logs(id, { fromSeq: 0, limit: 10 }))
    return { records: records.map(Option.isSome), logs: logs.map((lines) => lines.length > 0) }
  })

describe("the backend in memory", () => {
  it.effect("keeps so many of the runs that have ended last, with their logs, and all that have not", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue({}, {}, {}, {}, { dueAt: 1e9 })
      const { runs: claimed } = yield* claim({ limit: 4 })
      // in another order than they were made in
      const order = [2, 0, 3, 1].map((i) => claimed[i]!.run)
      for (const [at, run] of order.entries()) {
        yield* settleAll([{ run: ended(run, "success", at), logs: [line(run.id, 0)], now: at, hold: null }])
      }
      assert.deepStrictEqual(yield* found(runs), {
        records: [false, true, false, true, true],
        logs: [false, true, false, true, false]
      })
      const store = yield* Store.Store
      assert.strictEqual(yield* store.remove([runs[1]!.id]), 1)
      const more = yield* enqueue({}, {})
      for (const { run } of (yield* claim({ now: 9, limit: 2, leaseUntil: 1e6 })).runs) {
        yield* settleAll([{ run: ended(run, "failure", 9), logs: [], now: 9, hold: null }])
      }
      assert.deepStrictEqual((yield* found([...runs, ...more])).records, [false, false, false, false, true, true, true])
      assert.deepStrictEqual(yield* store.counts({}), { failure: 2, scheduled: 1 })
    }).pipe(Effect.provide(Backend.layerMemoryWith({ keepEnded: 2 })), Effect.provideService(Storage, storage))
  )
})

import { assert } from "@effect/vitest"
import type { Broker, Limit } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, ended, enqueue, idsOf, servedTask, settle } from "./encoded.js"
import { type Family, openProcess } from "./harness.js"

const bucket = (fields: Partial<Extract<Limit.EncodedRate, { _tag: "TokenBucket" }>> = {}): Limit.Encoded => ({
  _tag: "TokenBucket",
  limit: 1,
  everyMillis: 100,
  burst: 2,
  key: null,
  refuse: false,
  ...fields
})

const window = (fields: Partial<Extract<Limit.EncodedRate, { _tag: "FixedWindow" }>> = {}): Limit.Encoded => ({
  _tag: "FixedWindow",
  limit: 2,
  windowMillis: 1_000,
  key: null,
  refuse: false,
  ...fields
})

const keys = (...all: ReadonlyArray<string>) => ({ limitKeys: JSON.stringify(all) })

const claimUnder = (now: number, limits: ReadonlyArray<Limit.Encoded>, fields: Partial<Broker.ClaimRequest> = {}) =>
  claim({ now, limit: 10, tasks: [servedTask("T", null, limits)], ...fields })

const times = (n: number, fields = {}) => Array.from({ length: n }, () => fields)

/** Rates: how many runs may begin in a time. */
export const rates: Family = (rule) => {
  rule("a token bucket lets its burst begin at once, then one for each token that comes back", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(6))
      const first = yield* claimUnder(1_000, [bucket()])
      assert.deepStrictEqual([first.runs.length, first.nextAt], [2, 1_100])
      assert.strictEqual((yield* claimUnder(1_099, [bucket()])).runs.length, 0)
      const second = yield* claimUnder(1_100, [bucket()])
      assert.deepStrictEqual([second.runs.length, second.nextAt], [1, 1_200])
      assert.strictEqual((yield* claimUnder(1_500, [bucket()])).runs.length, 2)
    })
  )

  rule("a bucket of several tokens in a time gives them back evenly", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(9))
      const limits = [bucket({ limit: 3, burst: 3 })]
      const given: Array<number> = []
      for (const now of [0, 33, 34, 66, 67, 100]) {
        given.push((yield* claimUnder(now, limits)).runs.length)
      }
      assert.deepStrictEqual(given, [3, 0, 1, 0, 1, 1])
    })
  )

  rule("a fixed window lets its number begin, and the next window as many again", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(6))
      const first = yield* claimUnder(1_700, [window()])
      assert.deepStrictEqual([first.runs.length, first.nextAt], [2, 2_000])
      assert.strictEqual((yield* claimUnder(1_999, [window()])).runs.length, 0)
      assert.strictEqual((yield* claimUnder(2_000, [window()])).runs.length, 2)
      assert.strictEqual((yield* claimUnder(5_000, [window()])).runs.length, 2)
    })
  )

  rule("a rate by key holds for each key by itself", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(3, keys("a")), ...times(2, keys("b")))
      const { nextAt, runs } = yield* claimUnder(0, [bucket({ key: 0, burst: 1 })])
      assert.deepStrictEqual(
        runs.map(({ run }) => run.limitKeys),
        ['["a"]', '["b"]']
      )
      assert.strictEqual(nextAt, 100)
      assert.strictEqual((yield* claimUnder(100, [bucket({ key: 0, burst: 1 })])).runs.length, 2)
      assert.strictEqual((yield* claimUnder(200, [bucket({ key: 0, burst: 1 })])).runs.length, 1)
    })
  )

  rule("a run passes when all rates and limits let it, and counts for each", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(9))
      const limits = [bucket({ burst: 3 }), window({ limit: 4 })]
      const { runs } = yield* claimUnder(0, limits, { tasks: [servedTask("T", 2, limits)] })
      assert.strictEqual(runs.length, 2)
      assert.strictEqual((yield* claimUnder(0, limits)).runs.length, 1)
      assert.strictEqual((yield* claimUnder(900, limits)).runs.length, 1)
    })
  )

  rule("the end of a run gives no token back", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(3))
      const { runs } = yield* claimUnder(0, [bucket()])
      yield* settle(...runs.map(({ run }) => ended(run, "success", 1)))
      assert.strictEqual((yield* claimUnder(2, [bucket()])).runs.length, 0)
    })
  )

  rule("a rate that refuses gives the runs over it to be ended, with how long they would have waited", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(4))
      const { runs } = yield* claimUnder(0, [bucket({ refuse: true })])
      assert.deepStrictEqual(
        runs.map(({ refusedFor }) => refusedFor),
        [null, null, 100, 100]
      )
      yield* enqueue({})
      assert.deepStrictEqual(
        (yield* claimUnder(100, [bucket({ refuse: true })])).runs.map(({ refusedFor }) => refusedFor),
        [null]
      )
    })
  )

  rule("other tasks are claimed past one that waits for its rate", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(5), { task: "U" }, { task: "U" })
      yield* claimUnder(0, [bucket()])
      const { runs } = yield* claim({ now: 1, limit: 10, tasks: [servedTask("T", null, [bucket()]), servedTask("U")] })
      assert.deepStrictEqual(
        runs.map(({ run }) => run.task),
        ["U", "U"]
      )
    })
  )

  rule("a rate holds over the consumers of several processes", () =>
    Effect.gen(function* () {
      yield* enqueue(...times(30))
      const processes = yield* Effect.forEach([1, 2, 3], () => openProcess)
      const limits = [bucket({ limit: 5, everyMillis: 1_000, burst: 5 })]
      let begun = 0
      for (const now of [0, 1_000, 2_000]) {
        const claims = yield* Effect.forEach(
          Array.from({ length: 9 }, (_, i) => i),
          (i) => processes[i % 3]!.run(claimUnder(now, limits, { consumer: `c${i}`, limit: 3, leaseUntil: 1e9 })),
          { concurrency: "unbounded" }
        )
        begun += claims.flatMap(idsOf).length
        assert.strictEqual(begun, 5 * (now / 1_000 + 1))
      }
    })
  )
}

import { assert } from "@effect/vitest"
import type { Broker, Limit } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, ended, enqueue, enqueueOne, ids, idsOf, lease, servedTask, settle } from "./encoded.js"
import { type Family, openProcess } from "./harness.js"

/** At most so many runs at one time with the same key, which is the first of a run's limit keys. */
const perKey = (max: number, key = 0): Limit.Encoded => ({ _tag: "Concurrency", max, key })

const keys = (...all: ReadonlyArray<string>) => ({ limitKeys: JSON.stringify(all) })

const served = (limits: ReadonlyArray<Limit.Encoded>, fields: Partial<Broker.ServedTask> = {}) => ({
  tasks: [{ ...servedTask("T", null, limits), ...fields }]
})

const limitKeysOf = ({ runs }: Broker.Claimed) => runs.map(({ run }) => run.limitKeys)

/** Limits by key, by queue and by consumer: how many runs may be performed at one time. */
export const keyedLimits: Family = (rule) => {
  rule("no more runs with one key are claimed than its limit, and others are claimed past them", () =>
    Effect.gen(function* () {
      yield* enqueue(keys("a"), keys("a"), keys("a"), keys("b"), keys("b"), {})
      const first = yield* claim({ limit: 10, ...served([perKey(2)]) })
      assert.deepStrictEqual(limitKeysOf(first), ['["a"]', '["a"]', '["b"]', '["b"]', null])
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10, ...served([perKey(2)]) })), [])
    })
  )

  rule("the end of a run with a key lets the next one with it begin, in the order of claiming", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue(keys("a"), keys("a"), { ...keys("a"), priority: 5 })
      const { runs: claimed } = yield* claim({ limit: 10, ...served([perKey(1)]) })
      assert.deepStrictEqual(
        claimed.map(({ run }) => run.id),
        [runs[2]!.id]
      )
      yield* settle(ended(claimed[0]!.run, "success", 1))
      assert.deepStrictEqual(idsOf(yield* claim({ now: 1, limit: 10, ...served([perKey(1)]) })), [runs[0]!.id])
    })
  )

  rule("several limits hold at once, each for its own key", () =>
    Effect.gen(function* () {
      yield* enqueue(keys("a", "x"), keys("a", "y"), keys("b", "x"), keys("b", "y"), keys("c", "x"))
      const claimed = yield* claim({ limit: 10, ...served([perKey(1, 0), perKey(2, 1)], { maxConcurrency: 3 }) })
      assert.deepStrictEqual(limitKeysOf(claimed), ['["a","x"]', '["b","x"]'])
    })
  )

  rule("a limit of the whole task holds beside one per key", () =>
    Effect.gen(function* () {
      yield* enqueue(keys("a"), keys("b"), keys("c"), keys("d"))
      const claimed = yield* claim({ limit: 10, ...served([perKey(1)], { maxConcurrency: 3 }) })
      assert.strictEqual(claimed.runs.length, 3)
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10, ...served([perKey(1)], { maxConcurrency: 3 }) })), [])
    })
  )

  rule("a run whose consumer died keeps its place under the limit of its key", () =>
    Effect.gen(function* () {
      const [first] = yield* enqueue(keys("a"), keys("a"))
      yield* claim({ limit: 10, ...served([perKey(1)]) })
      const { runs } = yield* claim({ consumer: "B", now: lease, limit: 10, ...served([perKey(1)]) })
      assert.deepStrictEqual(
        runs.map(({ previous, run }) => [run.id, previous]),
        [[first!.id, "running"]]
      )
    })
  )

  rule("limits by key hold over the consumers of several processes", () =>
    Effect.gen(function* () {
      const all = ["a", "b", "c"].flatMap((key) => Array.from({ length: 8 }, () => keys(key)))
      yield* enqueue(...all)
      const processes = yield* Effect.forEach([1, 2, 3], () => openProcess)
      const claims = yield* Effect.forEach(
        Array.from({ length: 12 }, (_, i) => i),
        (i) => processes[i % 3]!.run(claim({ consumer: `c${i}`, limit: 4, ...served([perKey(2)]) })),
        { concurrency: "unbounded" }
      )
      const claimed = claims.flatMap(limitKeysOf)
      for (const key of ["a", "b", "c"]) {
        assert.isAtMost(claimed.filter((one) => one === JSON.stringify([key])).length, 2)
      }
      const rest = yield* claim({ limit: 10, ...served([perKey(2)]) })
      assert.strictEqual(claimed.length + rest.runs.length, 6)
    })
  )

  rule("among more keys than a claim looks at, each comes to its turn", () =>
    Effect.gen(function* () {
      const many = Array.from({ length: 700 }, (_, n) => keys(`k${n}`))
      yield* enqueue(...many)
      const seen = new Set<string | null>()
      for (let i = 0; i < 100 && seen.size < 700; i++) {
        const claimed = yield* claim({ now: i, leaseUntil: 1e9, limit: 50, ...served([perKey(1)]) })
        limitKeysOf(claimed).forEach((key) => seen.add(key))
      }
      assert.strictEqual(seen.size, 700)
    })
  )

  rule("a scheduled run with a key is claimed when it is due", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne({ ...keys("a"), dueAt: 50 })
      const early = yield* claim({ limit: 10, ...served([perKey(1)]) })
      assert.deepStrictEqual([early.runs.length, early.nextAt], [0, 50])
      const { runs } = yield* claim({ now: 50, limit: 10, ...served([perKey(1)]) })
      assert.deepStrictEqual(
        runs.map(({ previous, run }) => [run.id, previous]),
        [[run.id, "scheduled"]]
      )
    })
  )

  rule("a run with a key that a consumer without the limit serves is claimed as any other", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue(keys("a"), {}, keys("b"))
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10 })), ids(runs))
    })
  )

  rule("no more runs of a queue are claimed than its limit, whatever their tasks", () =>
    Effect.gen(function* () {
      const queueLimits = [{ queue: "q", maxConcurrency: 3 }]
      yield* enqueue(
        { queue: "q" },
        { queue: "q" },
        { queue: "q", task: "U" },
        { queue: "q", task: "U" },
        { task: "U" }
      )
      const request = { queues: ["q", "default"], queueLimits, tasks: [servedTask("T"), servedTask("U")], limit: 10 }
      const { runs } = yield* claim(request)
      assert.deepStrictEqual(
        runs.map(({ run }) => [run.queue, run.task]),
        [
          ["q", "T"],
          ["q", "T"],
          ["q", "U"],
          ["default", "U"]
        ]
      )
      assert.deepStrictEqual(idsOf(yield* claim(request)), [])
      yield* settle(ended(runs[0]!.run, "success", 1))
      assert.strictEqual((yield* claim({ ...request, now: 1 })).runs.length, 1)
    })
  )

  rule("a consumer gets no more runs of a task than it has room for", () =>
    Effect.gen(function* () {
      yield* enqueue({}, {}, {}, { task: "U" })
      const { runs } = yield* claim({ limit: 10, tasks: [{ ...servedTask("T"), room: 1 }, servedTask("U")] })
      assert.deepStrictEqual(runs.map(({ run }) => run.task).sort(), ["T", "U"])
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10, tasks: [{ ...servedTask("T"), room: 0 }] })), [])
      assert.strictEqual((yield* claim({ consumer: "B", limit: 10 })).runs.length, 2)
    })
  )
}

import { assert } from "@effect/vitest"
import type { Broker, TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, enqueue, ids, idsOf, servedTask } from "./encoded.js"
import type { Family } from "./harness.js"

const of = (group: string | null, n: number, fields: Partial<TaskRun.Encoded> = {}) =>
  Array.from({ length: n }, () => ({ group, ...fields }))

const groupsOf = ({ runs }: Broker.Claimed) => runs.map(({ run }) => run.group ?? "-").join("")

/** Fairness among the groups of a queue. */
export const groups: Family = (rule) => {
  rule("groups take turns, whatever the length of their backlogs", () =>
    Effect.gen(function* () {
      yield* enqueue(...of("a", 20), ...of("b", 3), ...of("c", 2))
      assert.strictEqual(groupsOf(yield* claim({ now: 10, limit: 9 })), "abcabcaba")
    })
  )

  rule("turns go on from claim to claim", () =>
    Effect.gen(function* () {
      yield* enqueue(...of("a", 20), ...of("b", 20), ...of("c", 20))
      let served = ""
      for (let i = 0; i < 9; i++) {
        served += groupsOf(yield* claim({ now: 10 + i, limit: 1 }))
      }
      assert.strictEqual(served, "abcabcabc")
    })
  )

  rule("a group that comes later is served at once, not after the backlog of another", () =>
    Effect.gen(function* () {
      yield* enqueue(...of("a", 20))
      yield* claim({ now: 10, limit: 5, leaseUntil: 1e9 })
      yield* enqueue(...of("b", 2, { createdAt: 60_000, dueAt: 60_000 }))
      assert.strictEqual(groupsOf(yield* claim({ now: 60_000, limit: 4 })).slice(0, 4), "abab")
    })
  )

  rule("runs without a group are one group among the others", () =>
    Effect.gen(function* () {
      yield* enqueue(...of(null, 10), ...of("b", 3))
      assert.strictEqual(groupsOf(yield* claim({ now: 10, limit: 6 })), "-b-b-b")
    })
  )

  rule("within a group the order is that of priority and due time", () =>
    Effect.gen(function* () {
      const [low, high] = yield* enqueue({ group: "a", priority: -1 }, { group: "a", priority: 1 })
      const [other] = yield* enqueue({ group: "b", priority: -1 })
      assert.deepStrictEqual(idsOf(yield* claim({ now: 5, limit: 3 })), ids([high!, other!, low!]))
    })
  )

  rule("a higher priority comes before the turn of another group, and a lower one comes to its turn in time", () =>
    Effect.gen(function* () {
      const high = (createdAt: number) => of("b", 3, { priority: 10, createdAt, dueAt: createdAt })
      yield* enqueue(...of("a", 5), ...high(0))
      assert.strictEqual(groupsOf(yield* claim({ now: 10, limit: 3, leaseUntil: 1e9 })), "bbb")
      yield* enqueue(...high(590_000))
      assert.strictEqual(groupsOf(yield* claim({ now: 590_000, limit: 3, leaseUntil: 1e9 })), "bbb")
      // after more than ten minutes of waiting, the lower one comes before those that are due only now
      yield* enqueue(...high(610_000))
      assert.strictEqual(groupsOf(yield* claim({ now: 610_000, limit: 1, leaseUntil: 1e9 })), "a")
    })
  )

  rule("groups of several tasks share the turns of their queue", () =>
    Effect.gen(function* () {
      yield* enqueue(...of("a", 4), ...of("a", 4, { task: "U" }), ...of("b", 4, { task: "U" }))
      const claimed = yield* claim({ now: 10, limit: 4, tasks: [servedTask("T"), servedTask("U")] })
      assert.strictEqual(groupsOf(claimed), "abab")
    })
  )

  rule("a group whose runs may not be claimed leaves its turns to the others", () =>
    Effect.gen(function* () {
      yield* enqueue(...of("a", 4), ...of("b", 4, { task: "U" }))
      const request = { now: 10, limit: 4, tasks: [servedTask("T", 1), servedTask("U")] }
      assert.strictEqual(groupsOf(yield* claim(request)), "abbb")
    })
  )

  rule("all of more groups than a claim looks at come to their turn", () =>
    Effect.gen(function* () {
      yield* enqueue(...Array.from({ length: 500 }, (_, n) => ({ group: `g${n}` })))
      const seen = new Set<string | null>()
      for (let i = 0; i < 40 && seen.size < 500; i++) {
        const { runs } = yield* claim({ now: i, leaseUntil: 1e9, limit: 40 })
        runs.forEach(({ run }) => seen.add(run.group))
      }
      assert.strictEqual(seen.size, 500)
    })
  )
}

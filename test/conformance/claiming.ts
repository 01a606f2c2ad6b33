import { assert } from "@effect/vitest"
import { Broker, Store, type TaskRun } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import {
  claim,
  ended,
  enqueue,
  enqueueAndClaim,
  enqueueOne,
  ids,
  idsOf,
  lease,
  servedTask,
  settle,
  settleAndHold,
  stored,
  waiting
} from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

const minute = 60_000

/** How a broker gives out runs: order, leases, limits, holds, and when to ask again. */
export const claiming: Family = (rule) => {
  rule("a claim marks the run as running, with its consumer, its lease and the next fence", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne()
      const { runs } = yield* claim({ consumer: "A", now: 7, leaseUntil: 30_007 })
      const expected: TaskRun.Encoded = {
        ...run,
        state: "running",
        fence: 1,
        consumer: "A",
        leaseUntil: 30_007,
        startedAt: 7
      }
      assert.deepStrictEqual(runs, [{ run: expected, previous: "queued", refusedFor: null }])
      assert.deepStrictEqual(yield* stored(run.id), expected)
    })
  )

  rule("runs are claimed by priority, and first in, first out within one", () =>
    Effect.gen(function* () {
      const [low, medium, high, medium2, high2, low2] = yield* enqueue(
        ...[-10, 0, 10, 0, 10, -10].map((priority) => ({ priority }))
      )
      const claimed = yield* claim({ limit: 10 })
      assert.deepStrictEqual(idsOf(claimed), ids([high!, high2!, medium!, medium2!, low!, low2!]))
    })
  )

  rule("runs of one rank are claimed in the order of their ids, whatever the order of queueing", () =>
    Effect.gen(function* () {
      const [first, second, third] = yield* enqueue({ queue: "none" }, { queue: "none" }, { queue: "none" })
      const broker = yield* Broker.Broker
      yield* broker.cancel({ ids: ids([first!, second!, third!]), reason: "", now: 0 })
      // the same ids again, in another queue
      const again = [third!, first!, second!].map((run, i) => ({ ...run, id: changed(run.id), queue: "default", i }))
      yield* Effect.forEach(again, ({ i: _, ...run }) => broker.enqueue([run]))
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 3 })), ids([first!, second!, third!]).map(changed))
    })
  )

  rule("each minute of waiting makes up for one point of priority", () =>
    Effect.gen(function* () {
      const [low] = yield* enqueue({ priority: -10 })
      const [early, late] = yield* enqueue(
        { priority: 10, createdAt: 20 * minute - 1 },
        { priority: 10, createdAt: 20 * minute + 1 }
      )
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 3, now: 21 * minute })), ids([early!, low!, late!]))
    })
  )

  rule("the place of a delayed run counts from its due time, not from its making", () =>
    Effect.gen(function* () {
      const delayed = yield* enqueueOne({ dueAt: 1_000 })
      const later = yield* enqueueOne({ createdAt: 500 })
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 2, now: 1_000 })), ids([later, delayed]))
    })
  )

  rule("a run is not claimed before its due time, and from then on it is", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne({ dueAt: 1_000 })
      assert.deepStrictEqual(yield* claim({ now: 999 }), { runs: [], nextAt: 1_000, disabled: [] })
      const { runs } = yield* claim({ now: 1_000 })
      assert.deepStrictEqual(ids(runs.map(({ run }) => run)), [run.id])
      assert.deepStrictEqual(runs[0]!.previous, "scheduled")
    })
  )

  rule("a run that was delayed and is due is told of as scheduled before, also when others saw it due first", () =>
    Effect.gen(function* () {
      yield* enqueue({ dueAt: 1_000 }, { dueAt: 1_001 })
      yield* claim({ now: 2_000 })
      const { runs } = yield* claim({ now: 2_000 })
      assert.deepStrictEqual(
        runs.map(({ previous }) => previous),
        ["scheduled"]
      )
    })
  )

  rule("no more runs than asked for are claimed", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue(...Array(5).fill({}))
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 3 })), ids(runs.slice(0, 3)))
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 3 })), ids(runs.slice(3)))
    })
  )

  rule("only runs of the tasks and queues that the consumer serves are claimed", () =>
    Effect.gen(function* () {
      const [, mine, , also] = yield* enqueue(
        { task: "Unknown" },
        { task: "T", queue: "q1" },
        { task: "T", queue: "other" },
        { task: "U", queue: "q2" }
      )
      const request = { limit: 10, queues: ["q1", "q2"], tasks: [servedTask("T"), servedTask("U")] }
      assert.deepStrictEqual(idsOf(yield* claim(request)), ids([mine!, also!]))
      const store = yield* Store.Store
      assert.deepStrictEqual(yield* store.counts({}), { queued: 2, running: 2 })
    })
  )

  rule("one order holds over all queues and tasks of a consumer", () =>
    Effect.gen(function* () {
      const [a, b, c, d] = yield* enqueue(
        { task: "U", queue: "q1", priority: 1 },
        { task: "T", queue: "q2", priority: 4 },
        { task: "T", queue: "q1", priority: 2 },
        { task: "U", queue: "q2", priority: 3 }
      )
      const request = { limit: 4, queues: ["q1", "q2"], tasks: [servedTask("T"), servedTask("U")] }
      assert.deepStrictEqual(idsOf(yield* claim(request)), ids([b!, d!, c!, a!]))
    })
  )

  rule("many consumers of several processes that claim at once get each run exactly once", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const runs = yield* enqueue(...Array(100).fill({}))
      const claimSome = (consumer: string) =>
        Effect.replicateEffect(claim({ consumer, limit: 3 }), 5).pipe(Effect.map((claims) => claims.flatMap(idsOf)))
      const claims = yield* Effect.forEach(
        ["A", "B", "C", "D", "E", "F", "G", "H"],
        (consumer, i) => (i % 2 === 0 ? claimSome(consumer) : other.run(claimSome(consumer))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(claims.flat().sort(), ids(runs).slice().sort())
    })
  )

  rule("a run is not claimed by another consumer while its lease holds", () =>
    Effect.gen(function* () {
      yield* enqueueAndClaim()
      const { nextAt, runs } = yield* claim({ consumer: "B", now: lease - 1 })
      assert.deepStrictEqual(runs, [])
      assert.strictEqual(nextAt, lease)
    })
  )

  rule("a run whose lease has ended is claimed again: one crash more, a higher fence, the crashed attempt told", () =>
    Effect.gen(function* () {
      const first = yield* enqueueAndClaim({ createdAt: 10 })
      const { runs } = yield* claim({ consumer: "B", now: 10 + lease, leaseUntil: 99_000 })
      const endedAt = 10 + lease
      const ledger = JSON.stringify([
        { number: 1, consumer: "A", startedAt: 10, endedAt, outcome: { _tag: "Crashed" } }
      ])
      const expected = { ...first, fence: 2, crashes: 1, consumer: "B", leaseUntil: 99_000, startedAt: endedAt, ledger }
      assert.deepStrictEqual(runs, [{ run: expected, previous: "running", refusedFor: null }])
      assert.deepStrictEqual(yield* stored(first.id), expected)
    })
  )

  rule("each takeover counts one crash and raises the fence", () =>
    Effect.gen(function* () {
      yield* enqueueAndClaim()
      for (let n = 1; n <= 5; n++) {
        const { runs } = yield* claim({ consumer: `C${n}`, now: n * lease })
        assert.deepInclude(runs[0]!.run, { crashes: n, fence: n + 1 })
      }
    })
  )

  rule("runs whose lease has ended come before due ones, whatever their priority", () =>
    Effect.gen(function* () {
      const crashed = yield* enqueueAndClaim({ priority: -1_000 })
      const high = yield* enqueueOne({ priority: 1_000 })
      const request = { consumer: "B", now: lease }
      assert.deepStrictEqual(idsOf(yield* claim({ ...request, limit: 1 })), [crashed.id])
      assert.deepStrictEqual(idsOf(yield* claim({ ...request, limit: 1 })), [high.id])
    })
  )

  rule("a takeover gives no more runs than asked for, and only those of served tasks and queues", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue({}, {}, {}, { queue: "other" }, { task: "Unknown" })
      const all = { queues: ["default", "other"], tasks: [servedTask("T"), servedTask("Unknown")] }
      yield* claim({ ...all, limit: 5 })
      const first = idsOf(yield* claim({ consumer: "B", limit: 2, now: lease }))
      const second = idsOf(yield* claim({ consumer: "B", limit: 2, now: lease }))
      assert.strictEqual(first.length, 2)
      assert.deepStrictEqual([...first, ...second].sort(), ids(runs.slice(0, 3)).slice().sort())
    })
  )

  rule("a consumer takes over a run that it has lost itself", () =>
    Effect.gen(function* () {
      const lost = yield* enqueueAndClaim()
      const { runs } = yield* claim({ consumer: "A", now: lease })
      assert.deepInclude(runs[0]!.run, { id: lost.id, fence: 2, crashes: 1 })
    })
  )

  rule("a run that was settled to wait is claimed again with a higher fence, at its new due time", () =>
    Effect.gen(function* () {
      const first = yield* enqueueAndClaim()
      const retried = { ...waiting(first, 5_000, 100), attempt: 1, ledger: "[1]" }
      assert.deepStrictEqual(yield* settle(retried), ["Settled"])
      assert.deepStrictEqual(yield* stored(first.id), retried)
      assert.deepStrictEqual(yield* claim({ now: 4_999 }), { runs: [], nextAt: 5_000, disabled: [] })
      const { runs } = yield* claim({ now: 5_000 })
      assert.deepInclude(runs[0]!.run, { id: first.id, fence: 2, attempt: 1, crashes: 0, ledger: "[1]" })
      assert.deepStrictEqual(runs[0]!.previous, "scheduled")
    })
  )

  rule("a run that is given back at its old due time takes its old place", () =>
    Effect.gen(function* () {
      const [first, second] = yield* enqueue({}, { createdAt: 1 })
      const { runs } = yield* claim({ now: 10 })
      yield* settle(waiting(runs[0]!.run, 0, 20))
      assert.deepStrictEqual(idsOf(yield* claim({ now: 30, limit: 2 })), ids([first!, second!]))
    })
  )

  rule("there is no time to ask again when nothing waits", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* claim(), { runs: [], nextAt: null, disabled: [] })
      yield* enqueueOne()
      assert.strictEqual((yield* claim({ limit: 2 })).nextAt, null)
    })
  )

  rule("the time to ask again is the earliest of due times, other leases and holds of what is served", () =>
    Effect.gen(function* () {
      const served = { queues: ["default"], tasks: [servedTask("T"), servedTask("Held")] }
      const nextAt = (now: number) =>
        Effect.map(claim({ ...served, consumer: "B", now, limit: 10 }), (claimed) => claimed.nextAt)
      yield* enqueueOne({ dueAt: 90_000 })
      assert.strictEqual(yield* nextAt(0), 90_000)
      yield* enqueueOne({ dueAt: 80_000 })
      assert.strictEqual(yield* nextAt(1), 80_000)
      const held = yield* enqueueAndClaim({ task: "Held", createdAt: 2 }, { consumer: "A" })
      assert.strictEqual(yield* nextAt(3), 2 + lease)
      yield* settleAndHold(waiting(held, 20_000, 4), 20_000)
      assert.strictEqual(yield* nextAt(5), 20_000)
    })
  )

  rule("the time to ask again is never in the past", () =>
    Effect.gen(function* () {
      const tasks = ["T", "U", "V"].map((name) => servedTask(name, 2))
      for (const task of ["T", "U", "V"]) {
        yield* enqueue(...[0, 0, 5_000, 10_000, 35_000, 200_000].map((dueAt) => ({ task, dueAt })))
      }
      for (let now = 0; now <= 210_000; now += 5_000) {
        const { nextAt, runs } = yield* claim({ consumer: `C${now % 3}`, tasks, limit: 1, now })
        assert.isTrue(nextAt === null || nextAt > now, `asked at ${now}, told ${nextAt}`)
        for (const { run } of runs) {
          if (run.task === "U") {
            yield* settleAndHold(waiting(run, now + 2_500, now), now + 2_500)
          } else if (run.task === "V") {
            yield* settle(ended(run, "success", now))
          }
        }
      }
    })
  )

  rule("the end of a lease that has passed is no time to ask again, also when there was no place for the run", () =>
    Effect.gen(function* () {
      yield* enqueue({}, {}, {})
      yield* claim({ limit: 3 })
      assert.strictEqual((yield* claim({ consumer: "B", limit: 1, now: lease + 5 })).nextAt, null)
    })
  )

  rule("no more runs of a task are running than its limit, over all consumers", () =>
    Effect.gen(function* () {
      yield* enqueue(...Array(10).fill({}))
      const request = { tasks: [servedTask("T", 3)], limit: 2 }
      assert.strictEqual((yield* claim({ ...request, consumer: "A" })).runs.length, 2)
      assert.strictEqual((yield* claim({ ...request, consumer: "B" })).runs.length, 1)
      assert.strictEqual((yield* claim({ ...request, consumer: "C" })).runs.length, 0)
    })
  )

  rule("the limit of a task holds over all its queues, and when consumers of several processes race", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      yield* enqueue(...Array.from({ length: 40 }, (_, i) => ({ queue: `q${i % 4}` })))
      const request = { queues: ["q0", "q1", "q2", "q3"], tasks: [servedTask("T", 7)], limit: 3 }
      const claims = yield* Effect.forEach(
        ["A", "B", "C", "D", "E", "F"],
        (consumer, i) => (i % 2 === 0 ? claim({ ...request, consumer }) : other.run(claim({ ...request, consumer }))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(claims.flatMap(idsOf).length, 7)
      const store = yield* Store.Store
      assert.deepStrictEqual(yield* store.counts({}), { running: 7, queued: 33 })
    })
  )

  rule("a task at its limit does not keep others back", () =>
    Effect.gen(function* () {
      yield* enqueue(...Array(20).fill({ priority: 10 }))
      const others = yield* enqueue({ task: "U" }, { task: "U" })
      const request = { tasks: [servedTask("T", 1), servedTask("U")], limit: 5 }
      const claimed = yield* claim(request)
      assert.strictEqual(claimed.runs.length, 3)
      assert.deepStrictEqual(idsOf(claimed).slice(1), ids(others))
    })
  )

  rule("a place of a task at its limit is given to the next run, whatever ends the claim", () =>
    Effect.gen(function* () {
      const request = { tasks: [servedTask("T", 1)], limit: 2 }
      const runs = yield* enqueue({}, {}, {})
      const next = (now: number) => Effect.map(claim({ ...request, now }), ({ runs }) => runs.map(({ run }) => run))
      const [first] = yield* next(0)
      assert.strictEqual(first!.id, runs[0]!.id)
      assert.deepStrictEqual(yield* next(1), [])
      yield* settle(ended(first!, "failure", 2))
      const [second] = yield* next(3)
      assert.strictEqual(second!.id, runs[1]!.id)
      yield* settle(waiting(second!, 100_000, 4))
      assert.deepStrictEqual(ids(yield* next(5)), [runs[2]!.id])
    })
  )

  rule("a takeover needs no free place: the run keeps the one it has", () =>
    Effect.gen(function* () {
      const request = { tasks: [servedTask("T", 2)], limit: 5 }
      const runs = yield* enqueue({}, {}, {})
      yield* claim(request)
      const taken = yield* claim({ ...request, consumer: "B", now: lease })
      assert.deepStrictEqual(idsOf(taken).slice().sort(), ids(runs.slice(0, 2)))
    })
  )

  rule("those who listen are told when a task at its limit has a free place again", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const request = { tasks: [servedTask("T", 2)], limit: 5 }
      yield* enqueue({}, {}, {})
      const { runs } = yield* claim(request)
      assert.strictEqual(runs.length, 2)
      const signals = yield* broker.signals
      yield* settle(ended(runs[0]!.run, "success", 1))
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all, ({ _tag }) => _tag))
      yield* eventually(Effect.filterOrFail(told, (tags) => tags.includes("Work") || tags.includes("Changed")))
    })
  )

  rule("a task that is held back is not claimed before the hold ends; others are", () =>
    Effect.gen(function* () {
      const tasks = [servedTask("T"), servedTask("U")]
      const first = yield* enqueueAndClaim()
      const [second, other] = yield* enqueue({ priority: 10 }, { task: "U" })
      assert.deepStrictEqual(yield* settleAndHold(waiting(first, 5_000, 0), 5_000), ["Settled"])
      const before = yield* claim({ tasks, limit: 5, now: 4_999 })
      assert.deepStrictEqual([idsOf(before), before.nextAt], [[other!.id], 5_000])
      assert.deepStrictEqual(idsOf(yield* claim({ tasks, limit: 5, now: 5_000 })), ids([second!, first]))
    })
  )

  rule("a hold also holds back runs that are queued while it lasts", () =>
    Effect.gen(function* () {
      yield* settleAndHold(ended(yield* enqueueAndClaim(), "success", 0), 5_000)
      const run = yield* enqueueOne({ createdAt: 10 })
      assert.deepStrictEqual(yield* claim({ now: 20 }), { runs: [], nextAt: 5_000, disabled: [] })
      assert.deepStrictEqual(idsOf(yield* claim({ now: 5_000 })), [run.id])
    })
  )

  rule("a hold is not made shorter by another one", () =>
    Effect.gen(function* () {
      yield* enqueue({}, {}, {})
      const { runs } = yield* claim({ limit: 2 })
      yield* settleAndHold(waiting(runs[0]!.run, 5_000, 0), 5_000)
      yield* settleAndHold(waiting(runs[1]!.run, 1_000, 0), 1_000)
      assert.deepStrictEqual(yield* claim({ now: 4_999 }), { runs: [], nextAt: 5_000, disabled: [] })
    })
  )

  rule("many runs that become due at once are all claimed, in order", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const runs = yield* enqueue(...Array.from({ length: 700 }, (_, i) => ({ dueAt: 1_000 + (i % 7) })))
      const inOrder = runs.slice().sort((a, b) => a.dueAt - b.dueAt || (a.id < b.id ? -1 : 1))
      const claimed: Array<TaskRun.RunId> = []
      for (;;) {
        const some = yield* claim({ limit: 100, now: 2_000 })
        if (some.runs.length === 0) {
          assert.strictEqual(some.nextAt, null)
          break
        }
        claimed.push(...idsOf(some))
        yield* Broker.settle(
          broker,
          some.runs.map(({ run }) => ({ run: ended(run, "success", 2_000), logs: [], now: 2_000, hold: null }))
        )
      }
      assert.deepStrictEqual(claimed, ids(inOrder))
    })
  )
}

/** Another id with the same place among others. */
const changed = (id: TaskRun.RunId): TaskRun.RunId => id.replace("8000", "9000") as TaskRun.RunId

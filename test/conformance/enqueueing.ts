import { assert } from "@effect/vitest"
import { Broker, Store, type TaskRun } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import {
  askFor,
  claim,
  encoded,
  ended,
  enqueue,
  enqueueAndClaim,
  enqueueOne,
  ids,
  idsOf,
  keyed,
  settle,
  stored,
  waiting
} from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

/** What a broker does with new runs, and with their idempotency keys. */
export const enqueueing: Family = (rule) => {
  rule("each run of a call is answered for, in the order of the call", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const runs = yield* Effect.forEach([3, 1, 2], (priority) => encoded({ priority }))
      const results = yield* broker.enqueue(runs)
      assert.deepStrictEqual(
        results.map(({ _tag, run }) => [_tag, run.id]),
        runs.map(({ id }) => ["Queued", id])
      )
    })
  )

  rule("every field of a run is kept as it was given", () =>
    Effect.gen(function* () {
      const [parent, root, old] = yield* Effect.forEach([1, 2, 3], () => encoded())
      const run = yield* enqueueOne({
        ...keyed("a key: ü€😀", { holdMillis: 5_000, onConflict: "reject" }),
        task: "Mail.Send",
        queue: "mail/urgent",
        priority: -7,
        payload: JSON.stringify({ text: "quotes ' \" \\ and 日本語 and 😀\n\u2028" }),
        payloadVersion: 3,
        createdAt: 1_700_000_000_123,
        dueAt: 1_700_000_009_999,
        attempt: 2,
        crashes: 1,
        tags: ["mail", "50 % off", "ü"],
        group: "tenant-1",
        parentId: parent!.id,
        rootId: root!.id,
        retryOf: old!.id,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      })
      assert.deepStrictEqual(yield* stored(run.id), run)
    })
  )

  rule("an enqueue without runs is accepted", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      assert.deepStrictEqual(yield* broker.enqueue([]), [])
    })
  )

  rule("when one run of a call is refused, none is added and no key is reserved", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const store = yield* Store.Store
      const holder = yield* enqueueOne(keyed("taken"))
      const call = yield* Effect.forEach([{}, keyed("free"), keyed("taken", { onConflict: "reject" }), {}], encoded)
      const error = yield* Effect.flip(broker.enqueue(call))
      assert.strictEqual(error._tag, "IdempotencyConflict")
      assert.deepInclude(error, { task: "T", key: "taken", heldBy: holder.id })
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1 })
      assert.strictEqual((yield* askFor("free"))._tag, "Queued")
    })
  )

  rule("a key that is held gives the run that holds it, and adds nothing", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const holder = yield* enqueueOne(keyed("k"))
      assert.deepStrictEqual(yield* askFor("k"), { _tag: "Existing", run: holder })
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1 })
    })
  )

  rule("the run that holds a key is given as it is now", () =>
    Effect.gen(function* () {
      const claimed = yield* enqueueAndClaim(keyed("k", { holdMillis: null }))
      assert.deepStrictEqual((yield* askFor("k")).run, claimed)
      const done = ended(claimed, "success", 5)
      yield* settle(done)
      assert.deepStrictEqual((yield* askFor("k")).run, done)
    })
  )

  rule("within one call the first run with a key gets it", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const runs = yield* Effect.forEach([keyed("k"), {}, keyed("k")], encoded)
      const results = yield* broker.enqueue(runs)
      assert.deepStrictEqual(
        results.map(({ _tag, run }) => [_tag, run.id]),
        [
          ["Queued", runs[0]!.id],
          ["Queued", runs[1]!.id],
          ["Existing", runs[0]!.id]
        ]
      )
    })
  )

  rule("of many calls at once with one key, exactly one gets it", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const results = yield* Effect.forEach(Array(50), () => askFor("k"), { concurrency: "unbounded" })
      const queued = results.filter(({ _tag }) => _tag === "Queued")
      assert.strictEqual(queued.length, 1)
      assert.isTrue(results.every(({ run }) => run.id === queued[0]!.run.id))
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1 })
    })
  )

  rule("of many calls of several processes with the same keys, exactly one gets each", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
      const ask = Effect.forEach(keys, (key) => askFor(key), { concurrency: "unbounded" })
      const [here, there] = yield* Effect.all([ask, other.run(ask)], { concurrency: "unbounded" })
      keys.forEach((_, i) => {
        const both = [here[i]!, there[i]!]
        assert.strictEqual(both.filter(({ _tag }) => _tag === "Queued").length, 1)
        assert.strictEqual(both[0]!.run.id, both[1]!.run.id)
      })
    })
  )

  rule("a key belongs to one task", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* enqueueOne({ ...keyed("k"), task: "Other" })
      const [result] = yield* broker.enqueue([yield* encoded(keyed("k"))])
      assert.strictEqual(result!._tag, "Queued")
    })
  )

  for (const state of ["failure", "aborted", "cancelled", "interrupted", "rate_limited"] as const) {
    rule(`a run that ends as ${state} frees its key, however long a success would hold it`, () =>
      Effect.gen(function* () {
        const claimed = yield* enqueueAndClaim(keyed("k", { holdMillis: null }))
        yield* settle(ended(claimed, state, 5))
        assert.strictEqual((yield* askFor("k", 5))._tag, "Queued")
      })
    )
  }

  rule("a success without a hold frees its key", () =>
    Effect.gen(function* () {
      yield* settle(ended(yield* enqueueAndClaim(keyed("k")), "success", 5))
      assert.strictEqual((yield* askFor("k", 5))._tag, "Queued")
    })
  )

  rule("a success holds its key for the time it asked for, from its end, and no longer", () =>
    Effect.gen(function* () {
      yield* settle(ended(yield* enqueueAndClaim(keyed("k", { holdMillis: 1_000 })), "success", 500))
      assert.strictEqual((yield* askFor("k", 1_499))._tag, "Existing")
      assert.strictEqual((yield* askFor("k", 1_500))._tag, "Queued")
    })
  )

  rule("a success holds its key for ever where it asked for that", () =>
    Effect.gen(function* () {
      yield* settle(ended(yield* enqueueAndClaim(keyed("k", { holdMillis: null })), "success", 5))
      assert.strictEqual((yield* askFor("k", 1e13))._tag, "Existing")
    })
  )

  rule("a run keeps its key while it waits to be performed again", () =>
    Effect.gen(function* () {
      const first = yield* enqueueAndClaim(keyed("k"))
      yield* settle(waiting(first, 1_000, 5))
      assert.strictEqual((yield* askFor("k", 5)).run.id, first.id)
      const { runs } = yield* claim({ now: 1_000 })
      yield* settle(waiting(runs[0]!.run, 1_000, 1_000))
      assert.strictEqual((yield* askFor("k", 1_000)).run.id, first.id)
    })
  )

  rule("an end that was refused frees no key", () =>
    Effect.gen(function* () {
      const stale = yield* enqueueAndClaim(keyed("k"))
      const { runs } = yield* claim({ consumer: "B", now: 30_000 })
      assert.deepStrictEqual(ids(runs.map(({ run }) => run)), [stale.id])
      assert.deepStrictEqual(yield* settle(ended(stale, "failure", 30_001)), ["Lost"])
      assert.strictEqual((yield* askFor("k", 30_001))._tag, "Existing")
    })
  )

  rule("those who listen are told of new work", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const signals = yield* broker.signals
      yield* enqueueOne()
      const told = yield* eventually(Effect.filterOrFail(Queue.takeAll(signals), (all) => all.length > 0))
      assert.include(["Work", "Changed"], Array.from(told)[0]!._tag)
    })
  )

  rule("what one process queues another one claims", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const runs = yield* enqueue({}, {})
      assert.deepStrictEqual(idsOf(yield* other.run(claim({ limit: 5 }))), ids(runs))
    })
  )

  rule("what is queued survives the process that queued it", () =>
    Effect.gen(function* () {
      const first = yield* openProcess
      const run: TaskRun.Encoded = yield* first.run(enqueueOne({ payload: '{"n":1}' }))
      yield* first.close
      const second = yield* openProcess
      assert.deepStrictEqual(yield* second.run(stored(run.id)), run)
      assert.deepStrictEqual(idsOf(yield* second.run(claim())), [run.id])
    })
  )
}

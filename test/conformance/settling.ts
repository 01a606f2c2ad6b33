import { assert } from "@effect/vitest"
import { Broker, RunRecord, Store, TaskState } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import {
  askFor,
  claim,
  encoded,
  ended,
  enqueue,
  enqueueAndClaim,
  enqueueOne,
  keyed,
  lease,
  line,
  logOf,
  servedTask,
  settle,
  settleAll,
  stored,
  waiting
} from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

/** How claims end: settled once, under the fence, or not at all. */
export const settling: Family = (rule) => {
  for (const state of TaskState.Final.literals.filter((state) => state !== "rejected")) {
    rule(`a run that is settled as ${state} is kept as it was settled, and never claimed again`, () =>
      Effect.gen(function* () {
        const done = {
          ...ended(yield* enqueueAndClaim(), state, 5),
          attempt: 3,
          ledger: '["ü"]',
          progress: "{}",
          logged: 9
        }
        assert.deepStrictEqual(yield* settle(done), ["Settled"])
        assert.deepStrictEqual(yield* stored(done.id), done)
        assert.deepStrictEqual(yield* claim({ now: 10 * lease }), { runs: [], nextAt: null, disabled: [] })
      })
    )
  }

  rule("a claim is settled once: the second time is refused and writes nothing", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      const done = ended(run, "success", 5)
      assert.deepStrictEqual(yield* settle(done), ["Settled"])
      assert.deepStrictEqual(yield* settle(ended(run, "failure", 6)), ["Lost"])
      assert.deepStrictEqual(yield* settle(waiting(run, 0, 6)), ["Lost"])
      assert.deepStrictEqual(yield* stored(run.id), done)
    })
  )

  rule("of two settlements of one claim in one call the first counts", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      assert.deepStrictEqual(yield* settle(ended(run, "success", 5), ended(run, "failure", 6)), ["Settled", "Lost"])
      assert.strictEqual((yield* stored(run.id)).state, "success")
    })
  )

  rule("the holder of an older claim is refused and writes nothing: no record, no line, no hold, no freed key", () =>
    Effect.gen(function* () {
      const stale = yield* enqueueAndClaim(keyed("k"))
      const { runs } = yield* claim({ consumer: "B", now: lease })
      const current = runs[0]!.run
      const late = { logs: [line(stale.id, 0)], now: lease + 1, hold: { until: 1e9, limitKeys: null } }
      const other = yield* enqueueOne({ createdAt: lease })
      assert.deepStrictEqual(yield* settleAll([{ ...late, run: ended(stale, "failure", lease + 1) }]), ["Lost"])
      assert.deepStrictEqual(yield* settleAll([{ ...late, run: waiting(stale, 0, lease + 1) }]), ["Lost"])
      assert.deepStrictEqual(yield* stored(stale.id), current)
      assert.deepStrictEqual(yield* logOf(stale.id), [])
      assert.strictEqual((yield* askFor("k", lease + 1))._tag, "Existing")
      assert.strictEqual((yield* claim({ now: lease + 2 })).runs[0]!.run.id, other.id)
      assert.deepStrictEqual(yield* settle(ended(current, "success", lease + 3)), ["Settled"])
    })
  )

  rule("when the old and the new holder settle at the same time, the new one's result stands", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      for (let i = 0; i < 10; i++) {
        const stale = yield* enqueueAndClaim({ task: `T${i}` })
        const { runs } = yield* other.run(claim({ consumer: "B", tasks: [servedTask(`T${i}`)], now: lease }))
        const done = ended(runs[0]!.run, "success", lease + 1)
        const answers = yield* Effect.all([settle(ended(stale, "failure", lease)), other.run(settle(done))], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(answers, [["Lost"], ["Settled"]])
        assert.deepStrictEqual(yield* stored(stale.id), done)
      }
    })
  )

  rule("only a running run is settled: not a waiting, a cancelled or an unknown one", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const [queued, scheduled, cancelled] = yield* enqueue({}, { dueAt: 9_000 }, {})
      yield* broker.cancel({ ids: [cancelled!.id], reason: "", now: 1 })
      const unknown = yield* encoded()
      const runs = [queued!, scheduled!, cancelled!, unknown].map((run) => ended(run, "success", 2))
      assert.deepStrictEqual(yield* settle(...runs), ["Lost", "Lost", "Lost", "Lost"])
      const store = yield* Store.Store
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1, scheduled: 1, cancelled: 1 })
    })
  )

  rule("each settlement of a call is answered for, in order", () =>
    Effect.gen(function* () {
      yield* enqueue({}, {}, {})
      const { runs } = yield* claim({ limit: 3 })
      const [a, b, c] = runs.map(({ run }) => run)
      yield* settle(ended(b!, "success", 1))
      const answers = yield* settle(ended(a!, "success", 2), ended(b!, "failure", 2), waiting(c!, 9_000, 2))
      assert.deepStrictEqual(answers, ["Settled", "Lost", "Settled"])
      const store = yield* Store.Store
      assert.deepStrictEqual(yield* store.counts({}), { success: 2, scheduled: 1 })
    })
  )

  rule("a run that somebody cancelled is not performed again, but ends as cancelled", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim(keyed("k"))
      yield* broker.cancel({ ids: [run.id], reason: "not needed", now: 3 })
      const again = waiting(run, 9_000, 5)
      const record = RunRecord.cancelled(again, "not needed", 5)
      const answers = yield* Broker.settle(broker, [{ run: again, logs: [], now: 5, hold: null }])
      assert.deepStrictEqual(answers, [{ _tag: "Cancelled", run: record }])
      assert.deepStrictEqual(yield* stored(run.id), record)
      assert.deepStrictEqual(yield* claim({ now: 10_000 }), { runs: [], nextAt: null, disabled: [] })
      assert.strictEqual((yield* askFor("k", 6))._tag, "Queued")
    })
  )

  rule("a run that ends by itself after somebody cancelled it ends as it did", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim()
      yield* broker.cancel({ ids: [run.id], reason: "not needed", now: 3 })
      assert.deepStrictEqual(yield* settle(ended(run, "success", 5)), ["Settled"])
      assert.strictEqual((yield* stored(run.id)).state, "success")
    })
  )

  rule("the lines that come with a settlement are stored with it", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      const logs = [line(run.id, 0), line(run.id, 1)]
      yield* settleAll([{ run: { ...waiting(run, 0, 5), logged: 2 }, logs, now: 5, hold: null }])
      assert.deepStrictEqual(yield* logOf(run.id), logs)
      assert.strictEqual((yield* claim({ now: 6 })).runs[0]!.run.logged, 2)
    })
  )

  rule("those who listen are told of ends, by id", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim()
      const signals = yield* broker.signals
      yield* settle(ended(run, "success", 5))
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all))
      yield* eventually(
        Effect.filterOrFail(told, (all) =>
          all.some((signal) => signal._tag === "Changed" || (signal._tag === "Ended" && signal.ids.includes(run.id)))
        )
      )
    })
  )

  rule("those who listen are told when a run waits again", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim()
      const signals = yield* broker.signals
      yield* settle(waiting(run, 0, 5))
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all, ({ _tag }) => _tag))
      yield* eventually(Effect.filterOrFail(told, (tags) => tags.includes("Work") || tags.includes("Changed")))
    })
  )

  rule("other processes are told of ends too", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const other = yield* openProcess
      const run = yield* enqueueAndClaim()
      const signals = yield* broker.signals
      yield* other.run(settle(ended(run, "success", 5)))
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all))
      yield* eventually(
        Effect.filterOrFail(told, (all) =>
          all.some((signal) => signal._tag === "Changed" || (signal._tag === "Ended" && signal.ids.includes(run.id)))
        )
      )
    })
  )
}

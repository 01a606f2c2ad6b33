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
  stored
} from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

const cancel = (...runs: ReadonlyArray<TaskRun.Encoded>) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.cancel({ ids: ids(runs), reason: "not needed", now: 42 }))

/** What a cancellation does to a run, by the run's state. */
export const cancelling: Family = (rule) => {
  for (const [state, dueAt] of [
    ["queued", 0],
    ["scheduled", 9_000]
  ] as const) {
    rule(`a ${state} run is cancelled at once, and never claimed`, () =>
      Effect.gen(function* () {
        const run = yield* enqueueOne({ dueAt })
        const outcome = JSON.stringify({ _tag: "Cancelled", reason: "not needed" })
        const cancelled: TaskRun.Encoded = { ...run, state: "cancelled", endedAt: 42, outcome }
        assert.deepStrictEqual(yield* cancel(run), [{ _tag: "Cancelled", run: cancelled, previous: state }])
        assert.deepStrictEqual(yield* stored(run.id), cancelled)
        assert.deepStrictEqual(yield* claim({ now: 10_000 }), { runs: [], nextAt: null, disabled: [] })
      })
    )
  }

  rule("a running run is left to its consumer, who is asked to stop it", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim()
      const signals = yield* broker.signals
      assert.deepStrictEqual(yield* cancel(run), [{ _tag: "Requested" }])
      assert.strictEqual((yield* stored(run.id)).state, "running")
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all))
      yield* eventually(
        Effect.filterOrFail(told, (all) =>
          all.some((signal) => signal._tag === "Cancel" && signal.id === run.id && signal.reason === "not needed")
        )
      )
      assert.deepStrictEqual(yield* settle(ended(run, "cancelled", 50)), ["Settled"])
    })
  )

  rule("a run that has ended stays as it ended", () =>
    Effect.gen(function* () {
      const done = ended(yield* enqueueAndClaim(), "success", 5)
      yield* settle(done)
      assert.deepStrictEqual(yield* cancel(done), [{ _tag: "Ended" }])
      assert.deepStrictEqual(yield* stored(done.id), done)
    })
  )

  rule("a run can be cancelled once; later it has ended", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne()
      yield* cancel(run)
      assert.deepStrictEqual(yield* cancel(run), [{ _tag: "Ended" }])
    })
  )

  rule("each id of a call is answered for, in order, unknown ones too", () =>
    Effect.gen(function* () {
      const [first, second, third] = yield* enqueue({ priority: 1 }, {}, { dueAt: 9_000 })
      const { runs } = yield* claim()
      const results = yield* cancel(third!, yield* encoded(), runs[0]!.run, second!)
      assert.deepStrictEqual(
        results.map(({ _tag }) => _tag),
        ["Cancelled", "Unknown", "Requested", "Cancelled"]
      )
      assert.strictEqual(runs[0]!.run.id, first!.id)
    })
  )

  rule("a waiting run that is cancelled frees its key", () =>
    Effect.gen(function* () {
      yield* cancel(yield* enqueueOne(keyed("k", { holdMillis: null })))
      assert.strictEqual((yield* askFor("k", 50))._tag, "Queued")
    })
  )

  rule("those who listen are told of the end of a cancelled run", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueOne()
      const signals = yield* broker.signals
      yield* cancel(run)
      const told = Effect.map(Queue.takeAll(signals), (all) => Array.from(all))
      yield* eventually(
        Effect.filterOrFail(told, (all) =>
          all.some((signal) => signal._tag === "Changed" || (signal._tag === "Ended" && signal.ids.includes(run.id)))
        )
      )
    })
  )

  rule("a run that is claimed and cancelled at the same time is either claimed or cancelled, never both", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const runs = yield* enqueue(...Array(40).fill({}))
      const claims = Effect.replicateEffect(claim({ limit: 2 }), 10)
      const cancels = Effect.forEach(runs.slice().reverse(), (run) => cancel(run), { concurrency: 4 })
      const [claimed, results] = yield* Effect.all([claims, other.run(cancels)], { concurrency: "unbounded" })
      const taken = claimed.flatMap(idsOf)
      const cancelled = results.flat().flatMap((result) => (result._tag === "Cancelled" ? [result.run.id] : []))
      assert.strictEqual(new Set([...taken, ...cancelled]).size, taken.length + cancelled.length)
      const store = yield* Store.Store
      const counts = yield* store.counts({})
      assert.strictEqual(counts.running ?? 0, taken.length)
      assert.strictEqual(counts.cancelled ?? 0, cancelled.length)
    })
  )
}

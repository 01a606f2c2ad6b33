import { assert } from "@effect/vitest"
import { Broker, type TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import {
  claim,
  encoded,
  ended,
  enqueue,
  enqueueAndClaim,
  enqueueOne,
  idsOf,
  lease,
  settle,
  stored,
  waiting
} from "./encoded.js"
import type { Family } from "./harness.js"

const extend = (now: number, ...claims: ReadonlyArray<TaskRun.Encoded>) =>
  Effect.flatMap(Broker.Broker, (broker) =>
    broker.extend({
      claims: claims.map(({ fence, id, progress }) => ({ id, fence, progress })),
      leaseUntil: now + lease,
      now
    })
  )

/** The signs of life of a consumer, and what it is told in return. */
export const extending: Family = (rule) => {
  rule("an extended lease holds until its new end, and no longer", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      assert.deepStrictEqual(yield* extend(20_000, run), { lost: [], cancelled: [] })
      assert.deepStrictEqual(yield* claim({ consumer: "B", now: lease }), {
        runs: [],
        nextAt: 20_000 + lease,
        disabled: []
      })
      assert.deepStrictEqual(idsOf(yield* claim({ consumer: "B", now: 20_000 + lease })), [run.id])
    })
  )

  rule("a claim that was taken over is lost, and its holder cannot lengthen the lease of the new one", () =>
    Effect.gen(function* () {
      const stale = yield* enqueueAndClaim()
      const { runs } = yield* claim({ consumer: "B", now: lease })
      assert.deepStrictEqual(yield* extend(lease + 10, stale), { lost: [stale.id], cancelled: [] })
      assert.deepStrictEqual(yield* stored(stale.id), runs[0]!.run)
    })
  )

  rule("a claim whose run has ended, waits again or is unknown is lost, and stays what it is", () =>
    Effect.gen(function* () {
      const [a, b, c] = yield* enqueue({}, {}, {})
      const { runs } = yield* claim({ limit: 3 })
      const [done, again, held] = runs.map(({ run }) => run)
      yield* settle(ended(done!, "success", 1), waiting(again!, 9_000, 1))
      const unknown = yield* encoded({ fence: 1 })
      const { lost } = yield* extend(2, done!, again!, held!, unknown)
      assert.sameMembers([...lost], [a!.id, b!.id, unknown.id])
      assert.strictEqual((yield* stored(a!.id)).state, "success")
      assert.deepInclude(yield* stored(b!.id), { state: "scheduled", leaseUntil: null })
      assert.strictEqual((yield* stored(c!.id)).leaseUntil, 2 + lease)
    })
  )

  rule("a run that waits is not claimed by extending it", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne()
      assert.deepStrictEqual(yield* extend(1, run), { lost: [run.id], cancelled: [] })
      assert.deepStrictEqual(yield* stored(run.id), run)
    })
  )

  rule("progress is stored with the sign of life, and stays when the next one brings none", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      yield* extend(1, { ...run, progress: '{"value":0.5,"message":"half"}' })
      assert.strictEqual((yield* stored(run.id)).progress, '{"value":0.5,"message":"half"}')
      yield* extend(2, run)
      assert.strictEqual((yield* stored(run.id)).progress, '{"value":0.5,"message":"half"}')
    })
  )

  rule("a stale sign of life stores no progress", () =>
    Effect.gen(function* () {
      const stale = yield* enqueueAndClaim()
      yield* claim({ consumer: "B", now: lease })
      yield* extend(lease + 1, { ...stale, progress: "{}" })
      assert.strictEqual((yield* stored(stale.id)).progress, null)
    })
  )

  rule("the holder of a run that somebody asked to cancel is told so, with the reason, each time", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* enqueue({}, {})
      const { runs } = yield* claim({ limit: 2 })
      const [a, b] = runs.map(({ run }) => run)
      yield* broker.cancel({ ids: [b!.id], reason: "wrong", now: 1 })
      const told = { lost: [], cancelled: [{ id: b!.id, reason: "wrong" }] }
      assert.deepStrictEqual(yield* extend(2, a!, b!), told)
      assert.deepStrictEqual(yield* extend(3, a!, b!), told)
    })
  )

  rule("a wish to cancel outlives the claim: who takes the run over is told too", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* enqueueAndClaim()
      yield* broker.cancel({ ids: [run.id], reason: "wrong", now: 1 })
      const { runs } = yield* claim({ consumer: "B", now: lease })
      const { cancelled } = yield* extend(lease + 1, runs[0]!.run)
      assert.deepStrictEqual(cancelled, [{ id: run.id, reason: "wrong" }])
    })
  )

  rule("a sign of life without claims is accepted", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* extend(1), { lost: [], cancelled: [] })
    })
  )
}

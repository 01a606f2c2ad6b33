import { assert } from "@effect/vitest"
import { Broker, type TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, ended, enqueue, enqueueAndClaim, keyed, lease, servedTask, stored, waiting } from "./encoded.js"
import type { Family } from "./harness.js"

const settlement = (run: TaskRun.Encoded, now: number): Broker.Settlement => ({
  run,
  now,
  logs: [],
  hold: null
})

/** An exchange as consumer `A` of the task `T`, for one run at time 5, unless it is told otherwise. */
const exchange = (
  settlements: ReadonlyArray<Broker.Settlement>,
  request: Partial<Broker.ClaimRequest> | null = {}
): Effect.Effect<Broker.Exchanged, unknown, Broker.Broker> =>
  Effect.flatMap(Broker.Broker, (broker) =>
    broker.exchange({
      settlements,
      claim: request && {
        consumer: "A",
        queues: ["default"],
        queueLimits: [],
        tasks: [servedTask("T")],
        limit: 1,
        now: 5,
        leaseUntil: 5 + lease,
        ...request
      }
    })
  )

const claimedIds = ({ claimed }: Broker.Exchanged) => claimed?.runs.map(({ run }) => run.id)

/** Settling and claiming in one. */
export const exchanging: Family = (rule) => {
  rule("one exchange ends a claim and makes the next", () =>
    Effect.gen(function* () {
      const first = yield* enqueueAndClaim()
      const [second] = yield* enqueue({})
      const done = ended(first, "success", 5)
      const exchanged = yield* exchange([settlement(done, 5)])
      assert.deepStrictEqual(exchanged.settled, [{ _tag: "Settled" }])
      assert.deepStrictEqual(claimedIds(exchanged), [second!.id])
      assert.deepStrictEqual(yield* stored(first.id), done)
    })
  )

  rule("nothing to hand in and nothing wished for is nothing done", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* exchange([], null), { settled: [], claimed: null })
    })
  )

  rule("the place of a limited task that a settlement frees is filled by the same exchange", () =>
    Effect.gen(function* () {
      const limited = [servedTask("T", 1)]
      const first = yield* enqueueAndClaim({}, { tasks: limited })
      const [second, third] = yield* enqueue({}, {})
      assert.deepStrictEqual(claimedIds(yield* exchange([], { tasks: limited })), [])
      const exchanged = yield* exchange([settlement(ended(first, "success", 5), 5)], { tasks: limited, limit: 10 })
      assert.deepStrictEqual(claimedIds(exchanged), [second!.id])
      assert.deepStrictEqual((yield* claim({ tasks: limited, limit: 10, now: 6 })).runs, [])
      assert.strictEqual((yield* stored(third!.id)).state, "queued")
    })
  )

  rule("a run that is given back may be claimed again by the same exchange", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      const exchanged = yield* exchange([settlement(waiting(run, 0, 5), 5)])
      assert.deepStrictEqual(exchanged.settled, [{ _tag: "Settled" }])
      assert.deepInclude(exchanged.claimed?.runs[0]?.run, { id: run.id, fence: 2, startedAt: 5 })
    })
  )

  rule("a task that a settlement holds back is not claimed by the same exchange", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim()
      yield* enqueue({})
      const held = { ...settlement(waiting(run, 900, 5), 5), hold: { until: 900, limitKeys: null } }
      const exchanged = yield* exchange([held])
      assert.deepStrictEqual(exchanged.claimed, { runs: [], nextAt: 900, disabled: [] })
    })
  )

  rule("a settlement that is refused hinders neither the others nor the claim", () =>
    Effect.gen(function* () {
      const lost = yield* enqueueAndClaim()
      yield* claim({ consumer: "B", now: lease + 1 })
      const kept = yield* enqueueAndClaim()
      const [next] = yield* enqueue({})
      const exchanged = yield* exchange([
        settlement(ended(lost, "success", 5), 5),
        settlement(ended(kept, "success", 5), 5)
      ])
      assert.deepStrictEqual(
        exchanged.settled.map(({ _tag }) => _tag),
        ["Lost", "Settled"]
      )
      assert.deepStrictEqual(claimedIds(exchanged), [next!.id])
    })
  )

  rule("of many settlements each is answered in its place", () =>
    Effect.gen(function* () {
      const claims = yield* Effect.flatMap(enqueue(...Array.from({ length: 150 }, () => ({}))), () =>
        claim({ limit: 150 })
      )
      const runs = claims.runs.map(({ run }) => run)
      const settlements = runs.map((run, i) =>
        settlement(i % 3 === 0 ? { ...ended(run, "success", 5), fence: 9 } : ended(run, "success", 5), 5)
      )
      const { settled } = yield* exchange(settlements, null)
      assert.deepStrictEqual(
        settled.map(({ _tag }) => _tag),
        runs.map((_, i) => (i % 3 === 0 ? "Lost" : "Settled"))
      )
    })
  )

  rule("a key that a settlement frees is free for the next request", () =>
    Effect.gen(function* () {
      const run = yield* enqueueAndClaim(keyed("k"))
      yield* exchange([settlement(ended(run, "failure", 5), 5)])
      const broker = yield* Broker.Broker
      const again = { ...run, ...keyed("k"), id: run.id.replace("8000", "9000") as TaskRun.RunId, fence: 0 }
      const fresh = { ...again, state: "queued" as const, consumer: null, leaseUntil: null, startedAt: null }
      assert.strictEqual((yield* broker.enqueue([fresh]))[0]?._tag, "Queued")
    })
  )
}

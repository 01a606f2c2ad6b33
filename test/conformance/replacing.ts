import { assert } from "@effect/vitest"
import { Broker, type TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { claim, encoded, ended, enqueue, idsOf, keyed, settle, stored } from "./encoded.js"
import { type Family, openProcess } from "./harness.js"

const ask = (fields: Partial<TaskRun.Encoded>, options?: Broker.EnqueueOptions) =>
  Effect.gen(function* () {
    const broker = yield* Broker.Broker
    const [result] = yield* broker.enqueue([yield* encoded(fields)], options)
    return result!
  })

const replacing_ = (payload: string, fields: Partial<TaskRun.Encoded> = {}) => ({
  ...keyed("k", { onConflict: "replace" }),
  payload,
  ...fields
})

const debounced = (at: number, payload: string, latestDueAt: number | null = null) => ({
  ...keyed("k", { onConflict: "debounce", latestDueAt }),
  createdAt: at,
  dueAt: at + 100,
  payload
})

/** De-duplication beyond one run per key, and queues of bounded length. */
export const replacing: Family = (rule) => {
  rule("a request that replaces gives the waiting holder its payload, priority and keys, and adds nothing", () =>
    Effect.gen(function* () {
      const first = yield* ask(replacing_("1", { limitKeys: '["a"]', tags: ["t"] }))
      const second = yield* ask(replacing_("2", { payloadVersion: 3, priority: 4, limitKeys: '["b"]' }))
      const expected = { ...first.run, payload: "2", payloadVersion: 3, priority: 4, limitKeys: '["b"]' }
      assert.deepStrictEqual(second, { _tag: "Replaced", run: expected })
      assert.deepStrictEqual(yield* stored(first.run.id), expected)
      assert.deepStrictEqual(idsOf(yield* claim({ limit: 10 })), [first.run.id])
    })
  )

  rule("while the holder is running, the latest request waits with the key and is the one that is performed next", () =>
    Effect.gen(function* () {
      const first = yield* ask(replacing_("1"))
      const { runs } = yield* claim()
      const second = yield* ask(replacing_("2"))
      const third = yield* ask(replacing_("3"))
      assert.deepStrictEqual([second._tag, third._tag, third.run.id], ["Queued", "Replaced", second.run.id])
      yield* settle(ended(runs[0]!.run, "success", 1))
      assert.strictEqual((yield* ask(replacing_("4"))).run.id, second.run.id)
      const next = yield* claim({ limit: 10 })
      assert.deepStrictEqual(
        next.runs.map(({ run }) => [run.id, run.payload]),
        [[second.run.id, "4"]]
      )
      assert.strictEqual((yield* stored(first.run.id)).payload, "1")
    })
  )

  rule("a success that holds its key is not replaced", () =>
    Effect.gen(function* () {
      const held = { ...keyed("k", { onConflict: "replace", holdMillis: null }) }
      const first = yield* ask(held)
      const { runs } = yield* claim()
      yield* settle(ended(runs[0]!.run, "success", 1))
      assert.deepInclude(yield* ask(held), { _tag: "Existing" })
      assert.strictEqual((yield* ask(held)).run.id, first.run.id)
    })
  )

  rule("of several requests of one call the last one's payload stands", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const runs = yield* Effect.forEach(["1", "2", "3"], (payload) => encoded(replacing_(payload)))
      const results = yield* broker.enqueue(runs)
      assert.deepStrictEqual(
        results.map(({ _tag, run }) => [_tag, run.id]),
        [
          ["Queued", runs[0]!.id],
          ["Replaced", runs[0]!.id],
          ["Replaced", runs[0]!.id]
        ]
      )
      assert.strictEqual((yield* stored(runs[0]!.id)).payload, "3")
    })
  )

  rule("many requests that replace, from several processes, leave one run with the payload of one of them", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const results = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n),
        (n) => (n % 2 === 0 ? ask(replacing_(`${n}`)) : other.run(ask(replacing_(`${n}`)))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(results.map(({ run }) => run.id)).size, 1)
      assert.strictEqual(results.filter(({ _tag }) => _tag === "Queued").length, 1)
      assert.strictEqual((yield* claim({ limit: 10 })).runs.length, 1)
    })
  )

  rule("a debounced run is due when no other request came for the time, with the latest payload", () =>
    Effect.gen(function* () {
      const first = yield* ask(debounced(0, "1"))
      yield* ask(debounced(60, "2"))
      const early = yield* claim({ now: 100 })
      assert.deepStrictEqual([early.runs.length, early.nextAt], [0, 160])
      const { runs } = yield* claim({ now: 160 })
      assert.deepStrictEqual(
        runs.map(({ previous, run }) => [run.id, run.payload, previous]),
        [[first.run.id, "2", "scheduled"]]
      )
    })
  )

  rule("a debounced run is not put off beyond the latest moment of its first request", () =>
    Effect.gen(function* () {
      yield* ask(debounced(0, "1", 150))
      yield* ask(debounced(90, "2", 240))
      assert.deepInclude((yield* ask(debounced(120, "3", 270))).run, { dueAt: 150, payload: "3" })
      assert.strictEqual((yield* claim({ now: 150 })).runs.length, 1)
    })
  )

  rule("a throttled key is held until its moment after a success, and freed by a failure", () =>
    Effect.gen(function* () {
      const throttled = (createdAt: number) => ({ ...keyed("k", { holdUntil: createdAt + 1_000 }), createdAt })
      const failed = yield* ask(throttled(0))
      const { runs } = yield* claim()
      yield* settle(ended(runs[0]!.run, "failure", 10))
      const first = yield* ask(throttled(20))
      assert.notStrictEqual(first.run.id, failed.run.id)
      const again = yield* claim({ now: 20 })
      yield* settle(ended(again.runs[0]!.run, "success", 30))
      assert.strictEqual((yield* ask(throttled(1_019))).run.id, first.run.id)
      assert.strictEqual((yield* ask(throttled(1_020)))._tag, "Queued")
    })
  )

  rule("a call after which more runs would wait than are allowed adds nothing", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* enqueue({}, { dueAt: 1e9 }, { task: "U" }, { queue: "other" })
      const two = yield* Effect.forEach([1, 2], () => encoded())
      const error = yield* Effect.flip(broker.enqueue(two, { maxQueued: 3 }))
      assert.deepInclude(error, { _tag: "QueueFull", task: "T", queue: "default", maxQueued: 3 })
      assert.strictEqual((yield* broker.enqueue(two.slice(1), { maxQueued: 3 })).length, 1)
      assert.deepInclude(yield* Effect.flip(ask({}, { maxQueued: 3 })), { _tag: "QueueFull" })
      // a run that is being performed waits no longer
      yield* claim()
      assert.strictEqual((yield* ask({}, { maxQueued: 3 }))._tag, "Queued")
    })
  )

  rule("a request that adds nothing is not refused by a full queue", () =>
    Effect.gen(function* () {
      const first = yield* ask(replacing_("1"), { maxQueued: 1 })
      assert.strictEqual((yield* ask(replacing_("2"), { maxQueued: 1 })).run.id, first.run.id)
    })
  )

  rule("no more runs wait than are allowed, whoever queues at the same time", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const results = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, n) => n),
        (n) => Effect.either(n % 2 === 0 ? ask({}, { maxQueued: 7 }) : other.run(ask({}, { maxQueued: 7 }))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(results.filter(({ _tag }) => _tag === "Right").length, 7)
    })
  )
}

import { assert } from "@effect/vitest"
import { Broker, type Operating } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import { claim, enqueue, enqueueOne, idsOf, lease, servedTask, settleAll, waiting } from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

const add = (...controls: ReadonlyArray<Operating.Control>) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.control({ add: controls, remove: [] }))

const remove = (...controls: ReadonlyArray<Operating.Control>) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.control({ add: [], remove: controls }))

const pausedQueue: Operating.Control = { of: "queue", name: "default", state: "paused" }
const pausedTask: Operating.Control = { of: "task", name: "T", state: "paused" }
const disabledTask: Operating.Control = { of: "task", name: "T", state: "disabled" }

/** What operators decide about queues and tasks, and holds by key. */
export const controls: Family = (rule) => {
  rule("no run of a paused queue is claimed, and runs of others are", () =>
    Effect.gen(function* () {
      const [first, other] = yield* enqueue({}, { queue: "other" })
      yield* add(pausedQueue)
      const request = { queues: ["default", "other"], limit: 10 }
      assert.deepStrictEqual(idsOf(yield* claim(request)), [other!.id])
      yield* remove(pausedQueue)
      assert.deepStrictEqual(idsOf(yield* claim(request)), [first!.id])
    })
  )

  rule("no run of a paused task is claimed, and runs of others are", () =>
    Effect.gen(function* () {
      const [first, other] = yield* enqueue({}, { task: "U" })
      yield* add(pausedTask)
      const request = { tasks: [servedTask("T"), servedTask("U")], limit: 10 }
      assert.deepStrictEqual(idsOf(yield* claim(request)), [other!.id])
      yield* remove(pausedTask)
      assert.deepStrictEqual(idsOf(yield* claim(request)), [first!.id])
    })
  )

  rule("a run of a paused task or queue whose lease has ended waits too", () =>
    Effect.gen(function* () {
      const run = yield* enqueueOne()
      yield* claim()
      for (const control of [pausedTask, pausedQueue]) {
        yield* add(control)
        assert.deepStrictEqual(idsOf(yield* claim({ consumer: "B", now: lease })), [])
        yield* remove(control)
      }
      assert.deepStrictEqual(idsOf(yield* claim({ consumer: "B", now: lease })), [run.id])
    })
  )

  rule("a claim tells which of its tasks are disabled, and gives their runs to be ended", () =>
    Effect.gen(function* () {
      yield* enqueue({}, { task: "U" })
      yield* add(disabledTask, { of: "task", name: "X", state: "disabled" })
      const claimed = yield* claim({ tasks: [servedTask("T"), servedTask("U")], limit: 10 })
      assert.deepStrictEqual(claimed.disabled, ["T"])
      assert.strictEqual(claimed.runs.length, 2)
      yield* remove(disabledTask)
      assert.deepStrictEqual((yield* claim()).disabled, [])
    })
  )

  rule("controls are told of, hold for other processes, and survive this one", () =>
    Effect.gen(function* () {
      const one = yield* openProcess
      yield* one.run(add(pausedQueue, disabledTask, pausedQueue))
      yield* one.close
      const other = yield* openProcess
      const broker = yield* Broker.Broker
      const sorted = (all: ReadonlyArray<Operating.Control>) =>
        all.map(({ name, of, state }) => [of, name, state]).sort()
      assert.deepStrictEqual(sorted(yield* broker.controls), sorted([pausedQueue, disabledTask]))
      yield* enqueue({})
      assert.deepStrictEqual(idsOf(yield* other.run(claim())), [])
      yield* other.run(remove(pausedQueue, pausedTask))
      assert.deepStrictEqual(sorted(yield* broker.controls), sorted([disabledTask]))
    })
  )

  rule("who listens is told that something may be claimed again", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* add(pausedQueue)
      const signals = yield* broker.signals
      yield* remove(pausedQueue)
      yield* eventually(Effect.map(Queue.take(signals), ({ _tag }) => assert.include(["Work", "Changed"], _tag)))
    })
  )

  rule("a hold with keys holds the runs with these keys back, and no others", () =>
    Effect.gen(function* () {
      const a = JSON.stringify(["a"])
      const [first] = yield* enqueue({ limitKeys: a }, { limitKeys: a }, { limitKeys: JSON.stringify(["b"]) }, {})
      const { runs } = yield* claim({ limit: 1 })
      assert.strictEqual(runs[0]!.run.id, first!.id)
      yield* settleAll([{ run: waiting(runs[0]!.run, 5, 5), logs: [], now: 5, hold: { until: 100, limitKeys: a } }])
      const held = yield* claim({ now: 6, limit: 10 })
      assert.deepStrictEqual(
        held.runs.map(({ run }) => run.limitKeys),
        ['["b"]', null]
      )
      assert.strictEqual(held.nextAt, 100)
      assert.strictEqual((yield* claim({ now: 100, limit: 10 })).runs.length, 2)
    })
  )
}

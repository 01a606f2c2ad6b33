import { assert } from "@effect/vitest"
import { Broker, Store } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import { encoded } from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

const scheduleOf = (name: string, fields: Partial<Store.EncodedSchedule> = {}): Store.EncodedSchedule => ({
  name,
  task: "T",
  spec: '{"_tag":"Every"}',
  run: "{}",
  scope: null,
  declared: null,
  paused: false,
  nextTick: 1_000,
  waitingTick: null,
  lastTick: null,
  lastRunId: null,
  unfinished: [],
  createdAt: 7,
  revision: 7,
  ...fields
})

const put = (schedule: Store.EncodedSchedule, expected: number | null) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.putSchedules([{ schedule, expected, runs: [] }]))

const all = Effect.flatMap(Store.Store, (store) => store.schedules)

const waiting = Effect.flatMap(Store.Store, (store) => store.runs({ limit: 2_000 }))

/** Records of schedules, and the runs that are written with them. */
export const firing: Family = (rule) => {
  rule("a schedule is given back as it was put, whatever is in it", () =>
    Effect.gen(function* () {
      const { id } = yield* encoded()
      const other = yield* encoded()
      const full = scheduleOf('ä"b', {
        scope: "s",
        declared: '{"é":1}',
        paused: true,
        nextTick: null,
        waitingTick: 3,
        lastTick: 2,
        lastRunId: id,
        unfinished: [id, other.id],
        revision: 4_000_000_000_001
      })
      assert.deepStrictEqual(yield* put(full, null), [true])
      assert.deepStrictEqual(yield* put(scheduleOf("A"), null), [true])
      assert.deepStrictEqual(yield* all, [scheduleOf("A"), full])
    })
  )

  rule("it is written only over the revision that is expected", () =>
    Effect.gen(function* () {
      yield* put(scheduleOf("A"), null)
      assert.deepStrictEqual(yield* put(scheduleOf("A", { paused: true }), null), [false])
      assert.deepStrictEqual(yield* put(scheduleOf("A", { revision: 9 }), 8), [false])
      assert.deepStrictEqual(yield* put(scheduleOf("B", { revision: 8 }), 7), [false])
      assert.deepStrictEqual(yield* all, [scheduleOf("A")])
      assert.deepStrictEqual(yield* put(scheduleOf("A", { revision: 8, paused: true }), 7), [true])
      assert.deepStrictEqual(yield* all, [scheduleOf("A", { revision: 8, paused: true })])
    })
  )

  rule("runs are queued exactly with the schedules that are written", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      yield* Effect.forEach(["A", "B"], (name) => put(scheduleOf(name), null))
      const first = yield* encoded()
      const second = yield* encoded({ limitKeys: '["k"]', group: "g", tags: ["schedule:B"] })
      const refused = yield* encoded()
      const changes = [
        { schedule: scheduleOf("B", { revision: 8 }), expected: 7, runs: [first, second] },
        { schedule: scheduleOf("A", { revision: 8 }), expected: 6, runs: [refused] },
        { schedule: scheduleOf("C", { revision: 1 }), expected: null, runs: [] }
      ]
      assert.deepStrictEqual(yield* broker.fire(changes), [true, false, true])
      assert.deepStrictEqual(
        (yield* all).map(({ name, revision }) => [name, revision]),
        [
          ["A", 7],
          ["B", 8],
          ["C", 1]
        ]
      )
      assert.deepStrictEqual(yield* waiting, [second, first])
    })
  )

  rule("of many who fire one tick at once, one does", () =>
    Effect.gen(function* () {
      yield* put(scheduleOf("A"), null)
      const processes = yield* Effect.replicateEffect(openProcess, 3)
      const answers = yield* Effect.forEach(
        Array.from({ length: 12 }, (_, i) => processes[i % 3]!),
        ({ run }) =>
          Effect.flatMap(encoded(), (one) =>
            run(
              Effect.flatMap(Broker.Broker, (broker) =>
                broker.fire([{ schedule: scheduleOf("A", { revision: 8 }), expected: 7, runs: [one] }])
              )
            )
          ),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.flat().filter(Boolean).length, 1)
      assert.strictEqual((yield* waiting).length, 1)
    })
  )

  rule("a removed schedule is gone, and its runs stay", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const run = yield* encoded()
      yield* broker.fire([{ schedule: scheduleOf("A"), expected: null, runs: [run] }])
      assert.strictEqual(yield* broker.removeSchedules(["A", "B"]), 1)
      assert.deepStrictEqual(yield* all, [])
      assert.deepStrictEqual(yield* waiting, [run])
    })
  )

  rule("others hear of a change", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const signals = yield* other.run(Effect.flatMap(Broker.Broker, (broker) => broker.signals))
      yield* put(scheduleOf("A"), null)
      yield* eventually(
        Effect.map(Queue.takeAll(signals), (heard) =>
          assert.isTrue(Array.from(heard).some(({ _tag }) => _tag === "Schedules" || _tag === "Changed"))
        )
      )
    })
  )
}

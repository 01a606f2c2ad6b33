import { assert, describe, it } from "@effect/vitest"
import { Backend, Task, TaskManager } from "@effect-tasks/core"
import { Effect, Layer, TestClock } from "effect"

const Note = Task.make("Note")

const queue = (count: number) =>
  Effect.map(Note.queueAll(Array(count).fill(undefined)), (runs) => runs.map(({ id }): string => id))

/** The time that an id begins with. */
const timeOf = (id: string) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

/** A manager of its own, on a memory of its own. */
const withManager = Effect.provide(TaskManager.layer.pipe(Layer.provide(Backend.layerMemory)))

describe("the ids of runs", () => {
  it.effect("are UUIDs of version 7 and the variant of RFC 9562, with the time of the clock", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_700_000_000_123)
      for (const id of yield* queue(2_000)) {
        assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        assert.strictEqual(timeOf(id), 1_700_000_000_123)
      }
    }).pipe(withManager)
  )

  it.effect("are unique, and sort in the order of their making, within a millisecond and over many", () =>
    Effect.gen(function* () {
      const ids: Array<string> = []
      for (let i = 0; i < 5; i++) {
        ids.push(...(yield* queue(2_000)), ...(yield* queue(1)))
        yield* TestClock.adjust(1)
      }
      assert.strictEqual(new Set(ids).size, ids.length)
      assert.deepStrictEqual(ids, ids.slice().sort())
    }).pipe(withManager)
  )

  it.effect("go on ascending when the clock is set back", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(10_000)
      const before = yield* queue(100)
      yield* TestClock.setTime(5_000)
      const after = yield* queue(100)
      assert.deepStrictEqual([...before, ...after], [...before, ...after].sort())
    }).pipe(withManager)
  )

  it.effect("of two managers that begin in the same millisecond differ", () =>
    Effect.gen(function* () {
      const [a, b] = yield* Effect.all([withManager(queue(1_000)), withManager(queue(1_000))])
      assert.strictEqual(new Set([...a, ...b]).size, 2_000)
    })
  )
})

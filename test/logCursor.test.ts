import { assert, describe, it } from "@effect/vitest"
import { Store, TaskRun } from "@effect-tasks/core"
import { FastCheck } from "effect"
import { LogCursor } from "../packages/core/src/internal/logCursor.js"

const line = (seq: number, at = seq) =>
  new Store.LogLine({
    runId: TaskRun.RunId.make("a"),
    seq,
    attempt: 1,
    at,
    level: "INFO",
    message: `${seq}`,
    annotations: {},
    spans: []
  })

const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => line(from + i))

const seqs = (taken: ReadonlyArray<Store.LogLine>) => taken.map(({ seq }) => seq)

describe("LogCursor", () => {
  it.prop(
    "gives every line once and in order, however lines come",
    [FastCheck.array(FastCheck.tuple(FastCheck.boolean(), FastCheck.nat(19), FastCheck.nat(5)), { maxLength: 40 })],
    ([steps]) => {
      const cursor = new LogCursor()
      const taken: Array<Store.LogLine> = []
      for (const [isHeard, from, count] of steps) {
        const some = lines(from, Math.min(20, from + count))
        if (isHeard) {
          some.forEach((one) => cursor.hear(one))
        } else {
          cursor.read(some)
        }
        taken.push(...cursor.take(false))
      }
      cursor.read(lines(cursor.next, 20))
      taken.push(...cursor.take(true))
      assert.deepStrictEqual(
        seqs(taken),
        Array.from({ length: 20 }, (_, i) => i)
      )
    }
  )

  it("waits for the first lines where later ones are heard already", () => {
    const cursor = new LogCursor()
    cursor.hear(line(2))
    assert.deepStrictEqual(cursor.take(false), [])
    cursor.read(lines(0, 2))
    assert.deepStrictEqual(seqs(cursor.take(false)), [0, 1, 2])
  })

  it("passes over lines that were not kept once the store has those that follow", () => {
    const cursor = new LogCursor()
    cursor.read(lines(0, 900))
    assert.lengthOf(cursor.take(false), 900)
    cursor.hear(line(1_000))
    assert.deepStrictEqual(cursor.take(false), [])
    cursor.read(lines(950, 1_050))
    assert.deepStrictEqual(seqs(cursor.take(false)), seqs(lines(950, 1_050)))
  })

  it("goes back where a log goes on in the place of lines that were never stored", () => {
    const cursor = new LogCursor()
    cursor.hear(line(0, 0))
    cursor.hear(line(1, 1))
    assert.deepStrictEqual(seqs(cursor.take(false)), [0, 1])
    cursor.hear(line(1, 30_000))
    cursor.hear(line(2, 30_001))
    assert.deepStrictEqual(
      cursor.take(false).map(({ at, seq }) => [seq, at]),
      [
        [1, 30_000],
        [2, 30_001]
      ]
    )
  })
})

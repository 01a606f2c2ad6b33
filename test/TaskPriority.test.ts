import { assert, describe, it } from "@effect/vitest"
import { TaskPriority } from "@effect-tasks/core"
import { FastCheck, Schema } from "effect"

const { ageingMillis, isTaskPriority, limit, rank, toNumber } = TaskPriority

const priority = FastCheck.integer({ min: -limit, max: limit })
const due = FastCheck.integer({ min: 0, max: 4_102_444_800_000 })

describe("TaskPriority", () => {
  it("knows high, medium and low, and every integer up to the limit", () => {
    assert.isTrue(toNumber("high") > toNumber("medium") && toNumber("medium") > toNumber("low"))
    const fits = ["high", "medium", "low", -limit, 0, limit]
    const doesNot = ["urgent", 1.5, limit + 1, -limit - 1, Number.NaN, null, "5"]
    assert.deepStrictEqual([...fits, ...doesNot].filter(isTaskPriority), fits)
    assert.deepStrictEqual(Schema.decodeSync(TaskPriority.TaskPriority)(7), 7)
  })

  it.prop("puts the more urgent of two runs that are due together first", [due, priority, priority], ([at, a, b]) => {
    assert.strictEqual(Math.sign(rank(at, a) - rank(at, b)), Math.sign(b - a))
  })

  it.prop("puts the first of two runs of one priority first", [due, due, priority], ([a, b, p]) => {
    assert.strictEqual(Math.sign(rank(a, p) - rank(b, p)), Math.sign(a - b))
  })

  it.prop(
    "lets a minute of waiting make up for one point",
    [due, priority, FastCheck.nat(limit)],
    ([at, p, points]) => {
      assert.strictEqual(rank(at, p), rank(at + points * ageingMillis, p + points))
    }
  )

  it.prop(
    "lets no run starve: each comes before all that become due long enough after it",
    [due, priority, priority],
    ([at, mine, theirs]) => {
      const later = at + 2 * limit * ageingMillis + 1
      assert.isBelow(rank(at, mine), rank(later, theirs))
    }
  )
})

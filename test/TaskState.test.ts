import { assert, describe, it } from "@effect/vitest"
import { TaskError, TaskState } from "@effect-tasks/core"
import { Either, FastCheck } from "effect"

const { all, isFinal, path, transitions } = TaskState

const pairs = all.flatMap((from) => all.map((to) => [from, to] as const))

/** What the rules say about a pair of different states. */
const isAllowed = (from: TaskState.TaskState, to: TaskState.TaskState): boolean => {
  switch (from) {
    case "init":
      return to !== "init"
    case "scheduled":
      return to === "queued" || to === "running" || (isFinal(to) && to !== "rejected")
    case "queued":
    case "running":
      return to !== "init" && to !== "rejected"
    default:
      return false
  }
}

describe("TaskState", () => {
  it("has four unfinished and seven final states", () => {
    assert.deepStrictEqual(
      all.filter((state) => !isFinal(state)),
      ["init", "scheduled", "queued", "running"]
    )
    assert.strictEqual(all.filter(isFinal).length, 7)
  })

  it("gives no step from a state to itself", () => {
    all.forEach((state) => assert.deepStrictEqual(path(state, state), Either.right([])))
  })

  it("lets nothing follow a final state", () => {
    for (const [from, to] of pairs.filter(([from, to]) => isFinal(from) && from !== to)) {
      assert.deepStrictEqual(path(from, to), Either.left(new TaskError.InvalidTransition({ from, to })))
    }
  })

  it("allows what the rules allow, and refuses everything else by name", () => {
    for (const [from, to] of pairs.filter(([from, to]) => from !== to)) {
      const steps = path(from, to)
      assert.strictEqual(Either.isRight(steps), isAllowed(from, to), `${from} → ${to}`)
      if (Either.isLeft(steps)) {
        assert.deepStrictEqual(steps.left, new TaskError.InvalidTransition({ from, to }))
      }
    }
  })

  it("leads to the target by steps of the table, none of them twice", () => {
    for (const [from, to] of pairs) {
      const steps = Either.getOrElse(path(from, to), () => [])
      steps.forEach((step, i) => assert.include(transitions[i === 0 ? from : steps[i - 1]!], step))
      assert.strictEqual(new Set(steps).size, steps.length)
      if (steps.length > 0) {
        assert.strictEqual(steps[steps.length - 1], to)
      }
    }
  })

  it("takes an unstarted run to its end through queued and running", () => {
    for (const to of ["success", "failure", "aborted", "interrupted", "rate_limited"] as const) {
      assert.deepStrictEqual(path("init", to), Either.right(["queued", "running", to]))
    }
    assert.deepStrictEqual(path("init", "rejected"), Either.right(["rejected"]))
  })

  it("cancels a waiting run without performing it", () => {
    assert.deepStrictEqual(path("init", "cancelled"), Either.right(["queued", "cancelled"]))
    assert.deepStrictEqual(path("queued", "cancelled"), Either.right(["cancelled"]))
    assert.deepStrictEqual(path("scheduled", "cancelled"), Either.right(["cancelled"]))
  })

  it.prop(
    "never leads back to init, nor on from an end, on any walk",
    [FastCheck.array(FastCheck.nat())],
    ([choices]) => {
      let state: TaskState.TaskState = "init"
      for (const choice of choices) {
        const next: ReadonlyArray<TaskState.TaskState> = transitions[state]
        assert.strictEqual(next.length === 0, isFinal(state))
        if (next.length === 0) {
          return
        }
        state = next[choice % next.length]!
        assert.notStrictEqual(state, "init")
      }
    }
  )
})

import { CurrentRun, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { say } from "./lines.js"

/** Short, so that takeovers are seen within the test. */
export const lease = "2 seconds"

export const Work = Task.make("Work", {
  payload: { n: Schema.Int, millis: Schema.Int },
  success: Schema.Int,
  // a run may be unlucky more often than three times here: the tests kill without looking
  maxCrashes: 20
})

export const Chaos = TaskGroup.make(Work)

export const WorkLive = Work.toLayer(({ millis, n }) =>
  Effect.gen(function* () {
    const { id } = yield* CurrentRun.CurrentRun
    yield* Effect.sleep(millis)
    yield* say("performed", id)
    return n
  })
)

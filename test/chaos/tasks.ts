import { Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"

/** Short, so that takeovers are seen within the test. */
export const lease = "2 seconds"

export const Work = Task.make("Work", {
  payload: { n: Schema.Int },
  success: Schema.Int,
  // a run may be unlucky more often than three times here: the test kills without looking
  maxCrashes: 20
})

export const Chaos = TaskGroup.make(Work)

export const WorkLive = Work.toLayer(({ n }) => Effect.as(Effect.sleep("100 millis"), n))

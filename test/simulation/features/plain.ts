import { CurrentRun, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import type { Draw } from "../random.js"
import { feature } from "./feature.js"

/** Runs that take their time and succeed, with delays and priorities. */
const Plain = Task.make("Plain", { payload: { millis: Schema.Number } })

export const drawOptions = (draw: Draw) => ({
  ...(draw.chance(0.3) ? { delay: draw.int(1, 30_000) } : {}),
  ...(draw.chance(0.3) ? { priority: draw.int(-100, 100) } : {}),
  ...(draw.chance(0.2) ? { group: draw.pick(["a", "b"]) } : {})
})

export const plain = feature(
  "plain",
  TaskGroup.make(Plain),
  Plain.toLayer(({ millis }) =>
    Effect.log("begin").pipe(
      Effect.zipRight(Effect.sleep(millis / 2)),
      Effect.zipRight(CurrentRun.progress(0.5)),
      Effect.zipRight(Effect.sleep(millis / 2))
    )
  ),
  (draw) => {
    const payloads = draw.times(draw.chance(0.2) ? draw.int(2, 10) : 1, () => ({ millis: draw.int(0, 15_000) }))
    return Plain.queueAll(payloads, drawOptions(draw))
  }
)

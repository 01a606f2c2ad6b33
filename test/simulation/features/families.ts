import { RetryPolicy, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { feature } from "./feature.js"

/** Runs that queue others, which is tried again as often as the broker refuses. */
const Parent = Task.make("Parent", {
  payload: { children: Schema.Number, generations: Schema.Number },
  retry: RetryPolicy.make({ retries: 30, delay: "1 second" })
})
const Child = Task.make("Child", { payload: { millis: Schema.Number }, queue: "children" })

export const families = feature(
  "families",
  TaskGroup.make(Parent, Child),
  Layer.mergeAll(
    Parent.toLayer(({ children, generations }) =>
      Effect.gen(function* () {
        yield* Child.queueAll(Array.from({ length: children }, (_, i) => ({ millis: i * 500 })))
        if (generations > 0) {
          yield* Parent.queue({ children, generations: generations - 1 })
        }
      })
    ),
    Child.toLayer(({ millis }) => Effect.sleep(millis))
  ),
  (draw) => Parent.queue({ children: draw.int(0, 3), generations: draw.int(0, 2) })
)

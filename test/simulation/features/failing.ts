import { CurrentRun, RetryPolicy, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { feature } from "./feature.js"
import { drawOptions } from "./plain.js"

/** Runs that fail, die or take too long, and are tried again. */
const Flaky = Task.make("Flaky", {
  payload: { failures: Schema.Number, dies: Schema.Boolean, millis: Schema.Number },
  error: Schema.String,
  retry: RetryPolicy.make({ retries: 3, delay: "1 second", backoff: 2, jitter: 0.2 })
})

const Late = Task.make("Late", {
  payload: { lateTimes: Schema.Number },
  timeout: "2 seconds",
  retry: RetryPolicy.make({ retries: 2, delay: "500 millis" })
})

export const failing = feature(
  "failing",
  TaskGroup.make(Flaky, Late),
  Layer.mergeAll(
    Flaky.toLayer(({ dies, failures, millis }) =>
      Effect.gen(function* () {
        yield* Effect.sleep(millis)
        const { attempt } = yield* CurrentRun.CurrentRun
        if (attempt <= failures) {
          return yield* dies ? Effect.dieMessage("drawn") : Effect.fail("drawn")
        }
      })
    ),
    Late.toLayer(({ lateTimes }) =>
      Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => Effect.sleep(attempt <= lateTimes ? 3_000 : 1_000))
    )
  ),
  (draw) =>
    draw.chance(0.6)
      ? Flaky.queue({ failures: draw.int(0, 5), dies: draw.chance(0.3), millis: draw.int(0, 3_000) }, drawOptions(draw))
      : Late.queue({ lateTimes: draw.int(0, 4) }, drawOptions(draw))
)

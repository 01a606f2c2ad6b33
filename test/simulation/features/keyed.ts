import { Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { feature } from "./feature.js"

/** Runs of which one at a time may hold a key, for its life or for some time more; a shutdown ends them for good. */
const Keyed = Task.make("Keyed", {
  payload: { millis: Schema.Number, fails: Schema.Boolean },
  requeueOnInterrupt: false
})

export const keyed = feature(
  "keyed",
  TaskGroup.make(Keyed),
  Keyed.toLayer(({ fails, millis }) =>
    Effect.zipRight(Effect.sleep(millis), fails ? Effect.dieMessage("drawn") : Effect.void)
  ),
  (draw) =>
    Keyed.queue(
      { millis: draw.int(0, 10_000), fails: draw.chance(0.2) },
      {
        idempotencyKey: {
          key: draw.pick(["a", "b", "c"]),
          hold: draw.pick(["unfinished", "5 seconds", "forever"] as const),
          onConflict: draw.pick(["return", "reject"] as const)
        },
        ...(draw.chance(0.3) ? { delay: draw.int(1, 10_000) } : {})
      }
    )
)

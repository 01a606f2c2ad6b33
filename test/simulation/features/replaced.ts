import { Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { feature } from "./feature.js"

/** Requests that change the run which waits, and queues that are full. */
const Replaced = Task.make("Replaced", { payload: { millis: Schema.Number }, maxQueued: 20 })

export const replaced = feature(
  "replaced",
  TaskGroup.make(Replaced),
  Replaced.toLayer(({ millis }) => Effect.sleep(millis)),
  (draw) => {
    const key = draw.pick(["a", "b"])
    const idempotencyKey = draw.pick([
      { key, onConflict: "replace" },
      { key, debounce: "3 seconds", maxWait: "10 seconds" },
      { key, debounce: "5 seconds" },
      { key, throttle: "8 seconds" }
    ] as const)
    const options = draw.chance(0.8) ? { idempotencyKey } : {}
    return Replaced.queue({ millis: draw.int(0, 6_000) }, { ...options, maxQueued: draw.pick([1, 3, 20]) })
  }
)

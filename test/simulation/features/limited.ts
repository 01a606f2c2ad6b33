import { Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { feature } from "./feature.js"
import { drawOptions } from "./plain.js"

/** Tasks of which only so many runs may be performed at one time. */
const payload = { millis: Schema.Number }
const One = Task.make("One", { payload, maxConcurrency: 1 })
const Three = Task.make("Three", { payload, maxConcurrency: 3 })

export const limited = feature(
  "limited",
  TaskGroup.make(One, Three),
  Layer.mergeAll(
    One.toLayer(({ millis }) => Effect.sleep(millis)),
    Three.toLayer(({ millis }) => Effect.sleep(millis))
  ),
  (draw) => {
    const payloads = draw.times(draw.int(1, 5), () => ({ millis: draw.int(0, 8_000) }))
    const options = drawOptions(draw)
    return draw.chance(0.5) ? One.queueAll(payloads, options) : Three.queueAll(payloads, options)
  }
)

import { Limit, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { feature } from "./feature.js"
import { drawOptions } from "./plain.js"

/** Tasks with limits by key and by rate. */
const payload = { key: Schema.String, millis: Schema.Number }
const byKey = ({ key }: { readonly key: string }) => key

const PerKey = Task.make("PerKey", {
  payload,
  limit: Limit.all(Limit.concurrency({ max: 4 }), Limit.concurrency({ max: 1, key: byKey }))
})
const Bucket = Task.make("Bucket", {
  payload,
  limit: Limit.tokenBucket({ limit: 2, every: "5 seconds", burst: 3, key: byKey })
})
const Window = Task.make("Window", {
  payload,
  limit: Limit.all(
    Limit.fixedWindow({ limit: 3, window: "20 seconds", onLimit: "refuse" }),
    Limit.concurrency({ max: 2, key: byKey })
  )
})

const handler = ({ millis }: { readonly millis: number }) => Effect.sleep(millis)

export const throttled = feature(
  "throttled",
  TaskGroup.make(PerKey, Bucket, Window),
  Layer.mergeAll(PerKey.toLayer(handler), Bucket.toLayer(handler), Window.toLayer(handler)),
  (draw) => {
    const payloads = draw.times(draw.int(1, 5), () => ({ key: draw.pick(["a", "b", "c"]), millis: draw.int(0, 4_000) }))
    return draw.pick([PerKey, Bucket, Window]).queueAll(payloads, drawOptions(draw))
  }
)

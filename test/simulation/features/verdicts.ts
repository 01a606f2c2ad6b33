import { CurrentRun, Task, TaskGroup } from "@effect-tasks/core"
import { Clock, Effect, Layer, Schema } from "effect"
import { feature } from "./feature.js"
import { drawOptions } from "./plain.js"

/** Runs that decide about themselves: put off, hold their task back, or abort. */
const payload = { untilMillis: Schema.Number, restMillis: Schema.Number, aborts: Schema.Boolean }
const Snoozing = Task.make("Snoozing", { payload })
const Resting = Task.make("Resting", { payload })

type Payload = typeof Snoozing.payloadSchema.Type

const decide = (payload: Payload, putOff: typeof CurrentRun.snooze) =>
  Effect.gen(function* () {
    const { createdAt } = yield* CurrentRun.CurrentRun
    yield* Effect.sleep(100)
    if ((yield* Clock.currentTimeMillis) < createdAt + payload.untilMillis) {
      return yield* putOff(payload.restMillis)
    }
    if (payload.aborts) {
      return yield* CurrentRun.abort("drawn")
    }
  })

export const verdicts = feature(
  "verdicts",
  TaskGroup.make(Snoozing, Resting),
  Layer.mergeAll(
    Snoozing.toLayer((payload) => decide(payload, CurrentRun.snooze)),
    Resting.toLayer((payload) => decide(payload, CurrentRun.rateLimited))
  ),
  (draw) => {
    const payload = {
      untilMillis: draw.int(0, 10_000),
      restMillis: draw.int(1_000, 5_000),
      aborts: draw.chance(0.3)
    }
    return draw.chance(0.7) ? Snoozing.queue(payload, drawOptions(draw)) : Resting.queue(payload, drawOptions(draw))
  }
)

/* Tasks that keep the processor busy. */
import { createHash } from "node:crypto"
import { CurrentRun, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"

export const Hash = Task.make("Hash", { payload: { millis: Schema.Number }, executor: "thread" })

export const Endless = Task.make("Endless", { executor: "thread" })

export const Busy = TaskGroup.make(Hash, Endless)

/** Hashes what it has hashed. */
const hashFor = (millis: number): void => {
  let digest = Buffer.from("seed")
  for (const end = performance.now() + millis; performance.now() < end; ) {
    digest = createHash("sha256").update(digest).digest()
  }
}

export const BusyLive = Busy.toLayer({
  Hash: ({ millis }) => Effect.sync(() => hashFor(millis)),
  Endless: () =>
    Effect.zipRight(
      CurrentRun.progress(0),
      Effect.sync(() => hashFor(Number.POSITIVE_INFINITY))
    )
})

import { assert, describe, layer } from "@effect/vitest"
import { Clock, Duration, Effect } from "effect"
import { isSkipped } from "../postgres/database.js"
import { form } from "./form.js"
import { kill } from "./killing.js"
import { takeovers } from "./records.js"
import * as Scene from "./scene.js"
import { lease } from "./tasks.js"
import { trial } from "./trial.js"

const hour = Duration.toMillis("1 hour")

/** A worker that the machine leaves without its turn for so long loses its leases whatever its clock says. */
const stolenAtMost = 5

describe.skipIf(isSkipped)("clocks that are an hour wrong, on PostgreSQL", () => {
  layer(Scene.layer({ workers: { fast: hour, slow: -hour, right: 0 } }), {
    excludeTestServices: true,
    timeout: "60 seconds"
  })((it) => {
    it.effect("steal no leases from those who live, and keep none of those who have died", () =>
      Effect.gen(function* () {
        const { alive, killedAt } = yield* Scene.Scene
        let diedAt = 0
        const fault = Effect.gen(function* () {
          yield* Effect.sleep(form.shifted)
          diedAt = yield* Clock.currentTimeMillis
          yield* Effect.forEach(alive.splice(0, 2), (worker) => kill(worker, killedAt))
        })
        const taken = takeovers((yield* trial("two clocks an hour wrong, then killed", fault)).runs)
        assert.isAtMost(taken.filter(({ takenAt }) => takenAt < diedAt).length, stolenAtMost)

        const died = taken.filter(({ takenAt, worker }) => takenAt >= diedAt && killedAt.has(worker))
        assert.isAbove(died.length, 0, "nobody was killed at work")
        assert.isAtMost(Math.max(...died.map(({ takenAt }) => takenAt - diedAt)), 4 * Duration.toMillis(lease))
      })
    )
  })
})

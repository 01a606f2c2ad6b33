import { assert, describe, layer } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { isSkipped } from "../postgres/database.js"
import { form } from "./form.js"
import { killing } from "./killing.js"
import { takeovers } from "./records.js"
import * as Scene from "./scene.js"
import { lease } from "./tasks.js"
import { trial } from "./trial.js"

describe.skipIf(isSkipped)("kill -9, on PostgreSQL", () => {
  layer(Scene.layer({ workers: { worker0: 0, worker1: 0, worker2: 0 } }), {
    excludeTestServices: true,
    timeout: "60 seconds"
  })((it) => {
    it.effect("of a worker every second", () =>
      Effect.gen(function* () {
        const { alive, killedAt, start } = yield* Scene.Scene
        const { runs } = yield* trial("kill -9 every second", killing({ alive, kills: form.kills, start, killedAt }))
        const delays = takeovers(runs).flatMap(({ takenAt, worker }) => {
          const at = killedAt.get(worker)
          return at === undefined ? [] : [takenAt - at]
        })
        assert.isAbove(delays.length, 0, "nobody was killed at work")
        assert.isAtMost(Math.max(...delays), 4 * Duration.toMillis(lease))
      })
    )
  })
})

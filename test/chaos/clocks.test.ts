import { assert, describe, layer } from "@effect/vitest"
import { Duration, Effect } from "effect"
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
    it.effect("steal no leases of those who live", () =>
      Effect.gen(function* () {
        const { runs } = yield* trial("clocks an hour wrong", Effect.sleep(form.shifted))
        assert.isAtMost(takeovers(runs).length, stolenAtMost)
      })
    )

    it.effect("keep no leases of those who have died", () =>
      Effect.gen(function* () {
        const { alive, killedAt } = yield* Scene.Scene
        const killBoth = Effect.forEach(alive.splice(0, 2), (worker) => kill(worker, killedAt), { discard: true })
        const { runs } = yield* trial("both wrong clocks killed", killBoth)
        const taken = takeovers(runs).filter(({ worker }) => killedAt.has(worker))
        const slowest = Math.max(...taken.map(({ takenAt, worker }) => takenAt - killedAt.get(worker)!))
        assert.isAbove(taken.length, 0, "nobody was killed at work")
        assert.isAtMost(slowest, 4 * Duration.toMillis(lease))
      })
    )
  })
})

import { describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { isSkipped } from "../postgres/database.js"
import { terminateAll } from "./connections.js"
import { form } from "./form.js"
import * as Scene from "./scene.js"
import { holdRows, holdSnapshot } from "./transactions.js"
import { trial } from "./trial.js"

const scene = Scene.layer({ workers: { worker0: 0, worker1: 0, worker2: 0 } })

describe.skipIf(isSkipped)("a PostgreSQL server with other users", () => {
  layer(scene, { excludeTestServices: true, timeout: "60 seconds" })((it) => {
    it.effect("terminates all connections every second", () =>
      trial(
        "connections terminated",
        Effect.repeatN(Effect.zipRight(terminateAll, Effect.sleep("1 second")), form.terminations - 1)
      )
    )

    it.effect("has transactions that stay open, one with a snapshot, one with locked rows", () =>
      trial(
        "transactions held",
        Effect.all([holdSnapshot(form.transaction), holdRows(form.transaction)], {
          concurrency: "unbounded",
          discard: true
        })
      )
    )
  })
})

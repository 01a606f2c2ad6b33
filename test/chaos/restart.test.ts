import { NodeContext } from "@effect/platform-node"
import { describe, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as Cluster from "./cluster.js"
import { form } from "./form.js"
import * as Scene from "./scene.js"
import { trial } from "./trial.js"

const isSkipped = await Effect.runPromise(
  Cluster.isPossible.pipe(
    Effect.tap((isPossible) => {
      if (!isPossible) {
        console.warn("no initdb and pg_ctl: the test that restarts PostgreSQL is skipped")
      }
    }),
    Effect.map((isPossible) => !isPossible),
    Effect.provide(NodeContext.layer)
  )
)

class Own extends Context.Tag("@effect-tasks/test/chaos/OwnCluster")<Own, Cluster.Cluster>() {}

const OwnLive = Layer.provide(Layer.scoped(Own, Cluster.make), NodeContext.layer)

const SceneLive = Layer.unwrapEffect(
  Effect.map(Own, ({ url }) => Scene.layer({ url, owned: true, workers: { worker0: 0, worker1: 0 } }))
).pipe(Layer.provideMerge(OwnLive))

const modes = ["immediate", "fast"] as const

describe.skipIf(isSkipped)("a PostgreSQL server of one's own", () => {
  layer(SceneLive, { excludeTestServices: true, timeout: "60 seconds" })((it) => {
    it.effect("restarts", () =>
      Effect.flatMap(Own, ({ restart }) =>
        trial(
          "server restarted",
          Effect.forEach(
            Array.from({ length: form.restarts }, (_, i) => modes[i % 2]!),
            (mode, i) => Effect.zipRight(Effect.sleep(i === 0 ? 0 : "2 seconds"), restart(mode)),
            { discard: true }
          )
        )
      )
    )
  })
})

import { describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { isSkipped } from "../postgres/database.js"
import { form } from "./form.js"
import * as Network from "./network.js"
import { trial } from "./trial.js"

describe.skipIf(isSkipped)("the network before PostgreSQL", () => {
  layer(Network.layer({ worker0: 0, worker1: 0, worker2: 0 }), { excludeTestServices: true, timeout: "60 seconds" })(
    (it) => {
      it.effect("resets all connections every second", () =>
        Effect.flatMap(Network.Network, ({ cut }) =>
          trial("connections reset", Effect.repeatN(Effect.zipRight(cut, Effect.sleep("1 second")), form.cuts - 1))
        )
      )

      it.effect("stalls", () =>
        Effect.flatMap(Network.Network, ({ flow, stall }) =>
          trial("network stalled", Effect.zipRight(stall, Effect.ensuring(Effect.sleep(form.stall), flow)))
        )
      )

      it.effect("leaves connections half open", () =>
        Effect.flatMap(Network.Network, ({ halfOpen }) =>
          trial("connections half open", Effect.zipRight(halfOpen, Effect.sleep(form.halfOpen)))
        )
      )
    }
  )
})

import type { Broker } from "../Broker.js"
import type { Store } from "../Store.js"
import type { Bus } from "./bus.js"
import type { Meter } from "./metrics.js"
import type { Uuid7 } from "./uuid7.js"

/** What the loop and the operations of a scheduler share. */
export interface Parts {
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly bus: Bus
  readonly meter: Meter
  readonly ids: Uuid7
  readonly maxPayloadBytes: number
}

import type { Effect } from "effect"
import type { Broker, Enqueued } from "../Broker.js"
import type { Store } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Bus } from "./bus.js"
import type { Locks } from "./locks.js"
import type { Meter } from "./metrics.js"
import type { Uuid7 } from "./uuid7.js"
import type { Waiters } from "./waiters.js"

/** What the operations of a manager share. */
export interface Parts {
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly bus: Bus
  readonly meter: Meter
  readonly ids: Uuid7
  readonly waiters: Waiters
  readonly locks: Locks
  readonly maxPayloadBytes: number
  /** How many log lines of a run are kept. */
  readonly maxLogLines: number
  /** Hands runs to the broker, and tells of them. */
  readonly enqueue: (runs: ReadonlyArray<EncodedRun>) => Effect.Effect<ReadonlyArray<Enqueued>, BackendError>
}

import type { Duration, Effect } from "effect"
import type { Broker } from "../Broker.js"
import type { Store } from "../Store.js"
import type { Bus } from "./bus.js"
import type { HandlerEntry } from "./definition.js"
import type { InFlights } from "./inFlight.js"
import type { RunId } from "./run.js"

/** A run that a shutdown stopped. */
export interface StoppedRun {
  readonly id: RunId
  readonly task: string
}

export interface Settings {
  readonly id: string
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly bus: Bus
  readonly entries: ReadonlyMap<string, HandlerEntry>
  readonly queues: ReadonlyArray<string>
  readonly maxConcurrentTasks: number
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
  readonly cleanup: Duration.Duration
}

/** What the loops of a consumer share. */
export interface State extends Settings {
  readonly inFlights: InFlights
  /** Opened when there may be something to claim, or a place to perform it. */
  readonly wake: Effect.Latch
  /** Open while something is in flight. */
  readonly busy: Effect.Latch
  /** Open while nothing is in flight. */
  readonly idle: Effect.Latch
  /** Opened when there are log lines or progress to store. */
  readonly unsaved: Effect.Latch
  readonly report: {
    finished: number
    readonly givenBack: Array<StoppedRun>
    readonly interrupted: Array<StoppedRun>
  }
  stopping: boolean
  /** Until when runs that this consumer has lost sight of may be under a lease of its own. */
  lostUntil: number
  /** Whether the broker answered the latest claim, and when. */
  answered: { readonly ok: boolean; readonly at: number } | null
}

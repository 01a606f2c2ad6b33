import type { Duration, Effect, Runtime } from "effect"
import type { Broker, QueueLimit } from "../Broker.js"
import type { Store } from "../Store.js"
import type { Bus } from "./bus.js"
import type { HandlerEntry } from "./definition.js"
import type { Ended, InFlight, InFlights } from "./inFlight.js"
import type { Meter } from "./metrics.js"
import type { Prefetch } from "./prefetch.js"
import type { RunId } from "./run.js"
import type { Tracing } from "./tracing.js"

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
  readonly meter: Meter
  readonly tracing: Tracing
  readonly entries: ReadonlyMap<string, HandlerEntry>
  readonly queues: ReadonlyArray<string>
  readonly queueLimits: ReadonlyArray<QueueLimit>
  readonly maxConcurrentTasks: number
  /** The most runs that are claimed beyond the free places. */
  readonly maxPrefetch: number
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
  readonly cleanup: Duration.Duration
}

/** What the loops of a consumer share. */
export interface State extends Settings {
  readonly inFlights: InFlights
  /** What the fibers of attempts begin with: the application's tracer and loggers, and the capture of log lines. */
  readonly surroundings: Runtime.Runtime<never>
  /** One for each loop that exchanges: opened when there may be something to claim, a place for it, or an end to hand in. */
  readonly bells: Array<Effect.Latch>
  /** Open while something is in flight. */
  readonly busy: Effect.Latch
  /** Opened when there are log lines or progress to store. */
  readonly unsaved: Effect.Latch
  /** Opened when the consumer begins to stop. */
  readonly stop: Effect.Latch
  readonly report: {
    finished: number
    readonly givenBack: Array<StoppedRun>
    readonly interrupted: Array<StoppedRun>
  }
  stopping: boolean
  readonly prefetch: Prefetch
  /** What is claimed and waits for a place. */
  readonly waiting: Array<InFlight>
  /** Whether places are being filled: an attempt that ends meanwhile leaves it to who does so. */
  isFilling: boolean
  /** Attempts that have ended, and are to be handed in with the next exchange. */
  ended: Array<Ended>
  /** How many exchanges are under way, and how many runs these have asked for. */
  exchanging: number
  claiming: number
  /** Whether there may be something to claim, and how many signals have said so. */
  hungry: boolean
  heard: number
  /** From when on there may be, unless a signal comes before; `null` when the broker knows of nothing. */
  nextAt: number | null
  /** Until when runs that this consumer has lost sight of may be under a lease of its own. */
  lostUntil: number
  /** Whether the broker answered the latest claim, and when. */
  answered: { readonly ok: boolean; readonly at: number } | null
}

/** Wakes the loops that exchange. */
export const wake = ({ bells }: State): void => bells.forEach((bell) => bell.unsafeOpen())

import type { Clock, Duration, Effect, Fiber, Runtime } from "effect"
import type { Broker, QueueLimit, ServedTask } from "../Broker.js"
import type { Store } from "../Store.js"
import type { Final } from "../TaskState.js"
import type { Bus } from "./bus.js"
import type { HandlerEntry } from "./definition.js"
import type { Idle } from "./idle.js"
import type { Ended, InFlight, InFlights } from "./inFlight.js"
import type { Locks } from "./locks.js"
import type { Loop } from "./loops.js"
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
  readonly locks: Locks
  readonly tracing: Tracing
  readonly entries: ReadonlyMap<string, HandlerEntry>
  /** The queues to serve; `null`: those of the tasks. */
  readonly queues: ReadonlyArray<string> | null
  readonly queueLimits: ReadonlyArray<QueueLimit>
  readonly maxConcurrentTasks: number
  /** The most runs that are claimed beyond the free places. */
  readonly maxPrefetch: number
  /** How many log lines of a run are kept. */
  readonly maxLogLines: number
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
  readonly cleanup: Duration.Duration
}

/** The loops of a consumer. */
export interface Loops {
  readonly exchange: ReadonlyArray<Loop>
  readonly leases: Loop
  readonly reports: Loop
  readonly signals: Loop
  readonly presence: Loop
  readonly interruptions: Loop
  readonly callbacks: Loop
}

/** An end on which the broker has died: how often, though it answered others meanwhile. */
export interface Suspect {
  readonly ended: Ended
  readonly deaths: number
  readonly answers: number
}

/** What the loops of a consumer share. */
export interface State extends Omit<Settings, "entries" | "queues"> {
  /** The handlers of the tasks that it serves, what it asks for on their behalf, and where. */
  readonly entries: Map<string, HandlerEntry>
  readonly namedQueues: ReadonlyArray<string> | null
  tasks: ReadonlyArray<ServedTask>
  /** Whether one of the tasks has a limit per consumer. */
  hasRooms: boolean
  queues: ReadonlyArray<string>
  phase: "running" | "draining" | "stopping" | "stopped"
  readonly loops: Loops
  readonly clock: Clock.Clock
  readonly inFlights: InFlights
  /** What the fibers of attempts begin with: the application's tracer and loggers, and the capture of log lines. */
  readonly surroundings: Runtime.Runtime<never>
  /** What the calls of exchanges begin with: the same, but with no spans. */
  readonly untraced: Runtime.Runtime<never>
  /** One for each loop that exchanges: opened when there may be something to claim, a place for it, or an end to hand in. */
  readonly bells: Array<Effect.Latch>
  /** Open while something is in flight. */
  readonly busy: Effect.Latch
  /** Opened when there are log lines or progress to store. */
  readonly unsaved: Effect.Latch
  /** Opened when leases must be extended sooner than they usually are. */
  readonly leaseIsShort: Effect.Latch
  /** Opened when the consumer's record has to be renewed. */
  readonly unannounced: Effect.Latch
  /** Attempts that are being interrupted, in the order of time, and the latch that is open while there may be any. */
  readonly interrupted: Array<InFlight>
  readonly interruption: Effect.Latch
  readonly callbacks: Set<Fiber.RuntimeFiber<void>>
  /** Who waits until nothing is in flight, of one task or at all. */
  readonly idle: Idle
  /** Opened when the consumer begins to stop. */
  readonly stop: Effect.Latch
  /** How many runs have ended in each state since the drain began. */
  drained: { [S in Final]?: number } | null
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
  /** Ends on which the broker died, apart from the others. */
  suspects: ReadonlyArray<Suspect>
  /** How often the broker has answered. */
  answers: number
  /** How many exchanges are under way, and how many runs these have asked for. */
  exchanging: number
  claiming: number
  /** Whether there may be something to claim, and how many signals have said so. */
  hungry: boolean
  heard: number
  /** From when on there may be, unless a signal comes before; `null` when the broker knows of nothing. */
  nextAt: number | null
  /** Whether nothing was left to perform when the consumer, draining, asked last. */
  isDrained: boolean
  /** Until when runs that it has lost sight of may be under a lease of its own; 0 once it has asked for them since. */
  lostUntil: number
  /** The exchanges under way, and since when. */
  readonly asked: Set<{ readonly at: number }>
  /** Whether the broker answered the latest claim, and when. */
  answered: { readonly ok: boolean; readonly at: number } | null
}

/** Wakes the loops that exchange. */
export const wake = ({ bells }: State): void => bells.forEach((bell) => bell.unsafeOpen())

/** How many places no attempt is in. */
export const freePlaces = (state: State): number => Math.max(0, state.maxConcurrentTasks - state.inFlights.performing)

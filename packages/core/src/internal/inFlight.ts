import type { Fiber, FiberId } from "effect"
import type { Settlement } from "../Broker.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { HandlerEntry } from "./definition.js"
import type { RunId } from "./run.js"
import type { RunLog } from "./runLog.js"

/** Why the consumer interrupts an attempt. */
export type StopReason =
  | { readonly _tag: "Shutdown" }
  | { readonly _tag: "Cancel"; readonly reason: string }
  | { readonly _tag: "LostClaim" }

/** A claim that this consumer holds, from the moment it was given until it is settled or lost. */
export interface InFlight {
  readonly run: EncodedRun
  readonly entry: HandlerEntry
  readonly log: RunLog
  /** Whether the attempt has begun: a consumer that stops gives back what it has just claimed. */
  readonly isBegun: boolean
  /** The fiber of the attempt; `null` until it first waits. */
  fiber: Fiber.RuntimeFiber<void> | null
  /** Whether the attempt takes one of the consumer's places: until its end is decided. */
  isPerforming: boolean
  /** Why its fiber was interrupted; the first reason stands. */
  stop: StopReason | null
  /** What the handler has settled in a transaction of its own, once that is committed. */
  completed: Settlement | null
  /** The newest progress, and whether it has been stored. */
  progress: string | null
  progressIsStored: boolean
  /** Until when the lease holds for certain, by the broker's clock. */
  leaseUntil: number
}

/** An attempt that has ended, and what is to be written of it. */
export interface Ended {
  readonly inFlight: InFlight
  readonly settlement: Settlement
}

/** The claims that a consumer holds. */
export class InFlights {
  private readonly byId = new Map<RunId, InFlight>()
  private readonly byTask = new Map<string, number>()
  private performingCount = 0

  get size(): number {
    return this.byId.size
  }

  /** How many places are taken. */
  get performing(): number {
    return this.performingCount
  }

  get(id: RunId): InFlight | undefined {
    return this.byId.get(id)
  }

  sizeOf(task: string): number {
    return this.byTask.get(task) ?? 0
  }

  all(): ReadonlyArray<InFlight> {
    return Array.from(this.byId.values())
  }

  add(inFlight: InFlight): void {
    this.byId.set(inFlight.run.id, inFlight)
    this.byTask.set(inFlight.run.task, this.sizeOf(inFlight.run.task) + 1)
    this.performingCount += inFlight.isPerforming ? 1 : 0
  }

  /** The attempt is over; its place is free, though its end is still to be written. */
  freePlace(inFlight: InFlight): void {
    this.performingCount -= inFlight.isPerforming ? 1 : 0
    inFlight.isPerforming = false
  }

  /** Removes a claim, unless a newer claim of this consumer on the same run stands in its place. */
  remove(inFlight: InFlight): void {
    this.freePlace(inFlight)
    if (this.byId.get(inFlight.run.id) === inFlight) {
      this.byId.delete(inFlight.run.id)
    }
    this.byTask.set(inFlight.run.task, this.sizeOf(inFlight.run.task) - 1)
  }
}

/** Interrupts the attempt, without waiting for its finalizers. The first reason stands. */
export const stop = (inFlight: InFlight, reason: StopReason, by: FiberId.FiberId): void => {
  if (inFlight.stop === null) {
    inFlight.stop = reason
    inFlight.fiber?.unsafeInterruptAsFork(by)
  }
}

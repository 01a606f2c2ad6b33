import type { Fiber, FiberId } from "effect"
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
  fiber: Fiber.RuntimeFiber<void> | null
  /** Why its fiber was interrupted; the first reason stands. */
  stop: StopReason | null
  /** The newest progress, and whether it has been stored. */
  progress: string | null
  progressIsStored: boolean
  /** Until when the lease holds for certain, by the broker's clock. */
  leaseUntil: number
}

/** The claims that a consumer holds. */
export class InFlights {
  private readonly byId = new Map<RunId, InFlight>()
  private readonly byTask = new Map<string, number>()

  get size(): number {
    return this.byId.size
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
  }

  /** Removes a claim, unless a newer claim of this consumer on the same run stands in its place. */
  remove(inFlight: InFlight): void {
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

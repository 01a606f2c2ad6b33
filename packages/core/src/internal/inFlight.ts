import type { Fiber } from "effect"
import type { ClaimedRun, Settlement } from "../Broker.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { StopReason } from "./attemptResult.js"
import type { HandlerEntry } from "./definition.js"
import type { TaskMeter } from "./metrics.js"
import type { RunId } from "./run.js"
import type { RunLog } from "./runLog.js"
import type { Refusal } from "./settlement.js"

/** A claim that this consumer holds, from the moment it was given until it is settled or lost. */
export interface InFlight {
  readonly run: EncodedRun
  readonly entry: HandlerEntry
  readonly log: RunLog
  readonly meter: TaskMeter
  readonly previous: ClaimedRun["previous"]
  /** Why it is ended without an attempt, if it is. */
  readonly refusal: Refusal | null
  /** When it was claimed, by the broker's clock. */
  readonly claimedAt: number
  /**
   * `waiting` for a place, `performing` in one, `stuck` without one, as it ignores its interruption, or `ended`: what is to
   * be written of it is decided.
   */
  stage: "waiting" | "performing" | "stuck" | "ended"
  /** Whether the attempt has begun, and is told of: others are given back as if they had not been claimed. */
  isBegun: boolean
  /** When it began, in real time. */
  begunAt: number
  /** The fiber of the attempt; `null` until it first waits. */
  fiber: Fiber.RuntimeFiber<void> | null
  /** Why its fiber was interrupted; the first reason stands. */
  stop: StopReason | null
  /** Since when it is being interrupted, and why: it may also be that its time is over. */
  interrupted: { readonly reason: "Timeout" | StopReason["_tag"]; readonly at: number } | null
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
  /** Whether it has been handed in before, and the answer did not arrive. */
  readonly isRepeated?: true
}

/** The claims that a consumer holds. */
export class InFlights {
  private readonly byId = new Map<RunId, InFlight>()
  private readonly begunByTask = new Map<string, number>()
  private begunCount = 0
  private performingCount = 0
  private stuckCount = 0

  get size(): number {
    return this.byId.size
  }

  /** How many have begun, and are not settled yet. */
  get begun(): number {
    return this.begunCount
  }

  /** How many places are taken. */
  get performing(): number {
    return this.performingCount
  }

  /** How many ignore their interruption, and have left their places. */
  get stuck(): number {
    return this.stuckCount
  }

  get(id: RunId): InFlight | undefined {
    return this.byId.get(id)
  }

  begunOf(task: string): number {
    return this.begunByTask.get(task) ?? 0
  }

  /** How many runs of each task have begun, and are not settled yet. */
  get begunByTasks(): { readonly [task: string]: number } {
    return Object.fromEntries(Array.from(this.begunByTask).filter(([, begun]) => begun > 0))
  }

  all(): ReadonlyArray<InFlight> {
    return Array.from(this.byId.values())
  }

  add(inFlight: InFlight): void {
    this.byId.set(inFlight.run.id, inFlight)
  }

  begin(inFlight: InFlight): void {
    inFlight.stage = "performing"
    this.performingCount++
    this.countBegun(inFlight, 1)
  }

  /** Its end is decided; its place is free, though the end is still to be written. */
  end(inFlight: InFlight): void {
    this.leavePlace(inFlight)
    this.stuckCount -= inFlight.stage === "stuck" ? 1 : 0
    inFlight.stage = "ended"
  }

  /** It ignores its interruption: its place is free, though it goes on. */
  leaveStuck(inFlight: InFlight): void {
    this.leavePlace(inFlight)
    this.stuckCount += inFlight.stage === "stuck" ? 0 : 1
    inFlight.stage = "stuck"
  }

  private leavePlace(inFlight: InFlight): void {
    this.performingCount -= inFlight.stage === "performing" ? 1 : 0
  }

  /** Removes a claim, unless a newer claim of this consumer on the same run stands in its place. */
  remove(inFlight: InFlight): void {
    this.end(inFlight)
    if (this.byId.get(inFlight.run.id) === inFlight) {
      this.byId.delete(inFlight.run.id)
    }
    if (inFlight.isBegun) {
      this.countBegun(inFlight, -1)
    }
  }

  private countBegun(inFlight: InFlight, change: 1 | -1): void {
    inFlight.isBegun = change === 1
    this.begunCount += change
    this.begunByTask.set(inFlight.run.task, this.begunOf(inFlight.run.task) + change)
  }
}

import { Duration } from "effect"
import type { EncodedSchedule } from "../Store.js"
import { mostCaughtUp, punctuality } from "../TaskSchedule.js"
import type { RunId } from "./run.js"
import type { TaskSchedule } from "./scheduleModel.js"
import { lastUpTo, type Ticks } from "./ticks.js"

/*
 * What a schedule does at a moment: a pure decision, which every scheduler makes alike.
 */

/** A schedule whose texts have been read. */
export interface Scheduled {
  readonly stored: EncodedSchedule
  readonly spec: TaskSchedule
  readonly ticks: Ticks
}

/** What is to become of a schedule now. */
export interface Decision {
  /** The ticks whose runs are queued now, oldest first. */
  readonly fired: ReadonlyArray<number>
  /** The runs that have not ended; those of the fired ticks come on top of them. */
  readonly unfinished: ReadonlyArray<RunId>
  readonly nextTick: number | null
  readonly waitingTick: number | null
  readonly lastTick: number | null
  /** Ticks that were left out, because a run had not ended. */
  readonly skipped: ReadonlyArray<number>
  /** How many ticks were missed: nobody fired them in time, and they are not caught up on. */
  readonly missed: number
}

/** Whether a tick, or a decision about what waits, may be due. */
export const isDue = (scheduled: Scheduled, now: number): boolean => {
  const at = dueAt(scheduled)
  return at !== null && at <= now
}

/** When the next tick is fired, with its jitter. */
export const dueAt = ({ stored: { name, nextTick, paused }, ticks }: Scheduled): number | null =>
  paused || nextTick === null ? null : ticks.dueAt(name, nextTick)

const isFromCompletion = ({ spec }: Scheduled): boolean => spec._tag === "Every" && spec.anchor === "completion"

/** Whether the schedule waits for the end of its runs. */
export const isAwaiting = (scheduled: Scheduled): boolean => {
  const { nextTick, paused, unfinished, waitingTick } = scheduled.stored
  return (
    !paused && (waitingTick !== null || (isFromCompletion(scheduled) && nextTick === null && unfinished.length > 0))
  )
}

/** Whether a decision at this moment depends on which of the schedule's runs have ended. */
export const asksForEnds = (scheduled: Scheduled, now: number): boolean =>
  scheduled.stored.unfinished.length > 0 &&
  (isAwaiting(scheduled) ||
    (isDue(scheduled, now) && (scheduled.spec.overlap !== "allow" || isFromCompletion(scheduled))))

/** Whether a due tick asks that the runs which have not ended are cancelled. */
export const asksToCancel = (scheduled: Scheduled, now: number): boolean =>
  scheduled.spec.overlap === "cancelRunning" && isDue(scheduled, now)

/** The due ticks that are fired in order, and how many were missed. */
interface DueTicks {
  readonly ticks: ReadonlyArray<number>
  readonly last: number
  readonly missed: number
}

/** So many missed ticks of a cron expression are counted. */
const mostCounted = 1_000

const dueTicks = (scheduled: Scheduled, from: number, now: number): DueTicks | undefined => {
  const {
    spec,
    stored: { name },
    ticks
  } = scheduled
  if (ticks.dueAt(name, from) > now) {
    return undefined
  }
  if (isFromCompletion(scheduled)) {
    // the next tick is counted from the end of this one's run
    const isFired = spec.catchUp !== "none" || now - from <= Duration.toMillis(punctuality)
    return { ticks: isFired ? [from] : [], last: from, missed: isFired ? 0 : 1 }
  }
  const newest = lastUpTo(ticks, from, now)
  const last = ticks.dueAt(name, newest) <= now ? newest : lastUpTo(ticks, from, newest - 1)
  if (spec.catchUp === "all") {
    const all = newestTicks(ticks, from, last)
    return { ticks: all, last, missed: all[0] === from ? 0 : ticks.count(from, all[0]! - 1, mostCounted) }
  }
  const before = from === last ? 0 : ticks.count(from, last - 1, mostCounted)
  return spec.catchUp === "last" || now - ticks.dueAt(name, last) <= Duration.toMillis(punctuality)
    ? { ticks: [last], last, missed: before }
    : { ticks: [], last, missed: before + 1 }
}

/** The ticks from one to another: the newest, where there are too many. */
const newestTicks = (ticks: Ticks, from: number, last: number): ReadonlyArray<number> => {
  const all = [from]
  for (let tick = from; tick < last && all.length <= mostCaughtUp; ) {
    tick = ticks.next(tick) ?? last
    all.push(tick)
  }
  if (all.length <= mostCaughtUp) {
    return all
  }
  const newest = [last]
  while (newest.length < mostCaughtUp) {
    newest.push(lastUpTo(ticks, from, newest[newest.length - 1]! - 1))
  }
  return newest.reverse()
}

/** What overlap makes of the due ticks. */
class Overlapping {
  readonly fired: Array<number> = []
  readonly skipped: Array<number> = []
  waiting: number | null
  private busy: number
  private readonly overlap: TaskSchedule["overlap"]

  constructor(overlap: TaskSchedule["overlap"], waiting: number | null, busy: number) {
    this.overlap = overlap
    this.waiting = waiting
    this.busy = busy
    if (waiting !== null && busy === 0) {
      this.waiting = null
      this.fire(waiting)
    }
  }

  private fire(tick: number): void {
    this.fired.push(tick)
    this.busy++
  }

  take(tick: number): void {
    if (this.overlap === "allow" || this.busy === 0) {
      this.fire(tick)
    } else if (this.overlap === "queueOne" && this.waiting === null) {
      this.waiting = tick
    } else if (this.overlap === "cancelRunning") {
      this.replace(tick)
    } else {
      this.skipped.push(tick)
    }
  }

  /** The newest tick is the one that counts. */
  private replace(tick: number): void {
    const older = this.fired.pop()
    if (older !== undefined) {
      this.skipped.push(older)
      this.fired.push(tick)
    } else {
      if (this.waiting !== null) {
        this.skipped.push(this.waiting)
      }
      this.waiting = tick
    }
  }
}

/**
 * Decides; `undefined` when nothing changes. `ends` has those of the schedule's runs that have ended, with the time of it; it
 * may be empty where nothing asks for them.
 */
export const decide = (scheduled: Scheduled, now: number, ends: ReadonlyMap<RunId, number>): Decision | undefined => {
  const { spec, stored, ticks } = scheduled
  if (stored.paused) {
    return undefined
  }
  const unfinished = stored.unfinished.filter((id) => !ends.has(id))
  const hasEnded = isAwaiting(scheduled) && unfinished.length === 0
  const fromCompletion = isFromCompletion(scheduled)
  const nextTick =
    fromCompletion && stored.nextTick === null && hasEnded
      ? ticks.next(Math.max(...stored.unfinished.map((id) => ends.get(id) ?? now)))
      : stored.nextTick
  const due = nextTick === null ? undefined : dueTicks(scheduled, nextTick, now)
  if (due === undefined && !hasEnded) {
    return undefined
  }
  const overlapping = new Overlapping(spec.overlap, stored.waitingTick, unfinished.length)
  due?.ticks.forEach((tick) => overlapping.take(tick))
  const { fired, skipped, waiting } = overlapping
  const isBusy = unfinished.length > 0 || fired.length > 0
  const decision: Decision = {
    fired,
    unfinished,
    nextTick: due === undefined ? nextTick : ticks.next(fromCompletion ? now : due.last),
    waitingTick: waiting,
    lastTick: due?.last ?? stored.lastTick,
    skipped,
    missed: due?.missed ?? 0
  }
  return fromCompletion && isBusy ? { ...decision, nextTick: null } : decision
}

/** The record, when the schedule begins anew: it was made, changed or resumed. */
export const restarted = ({ spec, stored, ticks }: Scheduled, now: number): EncodedSchedule => ({
  ...stored,
  waitingTick: null,
  nextTick:
    spec._tag === "Every" && spec.anchor === "completion" && stored.unfinished.length > 0 ? null : ticks.next(now)
})

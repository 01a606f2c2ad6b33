import { DateTime, Duration, Either } from "effect"
import { InvalidSchedule } from "../ScheduleError.js"
import type { CronSchedule, EverySchedule, TaskSchedule } from "./scheduleModel.js"
import * as wallTimes from "./wallTimes.js"

/*
 * The ticks of a schedule: pure arithmetic, the same in every process.
 */

/** What can be asked of a schedule that is in order. Times are epoch milliseconds. */
export interface Ticks {
  /** The first tick after a moment, or `null` when there is none any more. */
  readonly next: (after: number) => number | null

  /** The first tick of a schedule that begins at a moment. */
  readonly first: (now: number) => number | null

  /** How many ticks there are from one tick to another, both counted, up to `most`. */
  readonly count: (from: number, to: number, most: number) => number

  /** When a tick is fired: its own time, and the jitter that this schedule's name draws for it. */
  readonly dueAt: (name: string, tick: number) => number
}

/** The ticks of a schedule, or why it cannot be used. */
export const compile = (schedule: TaskSchedule): Either.Either<Ticks, InvalidSchedule> => {
  let compiled = known.get(schedule)
  if (compiled === undefined) {
    compiled = Either.mapLeft(
      compileNew(schedule),
      (reason) => new InvalidSchedule({ schedule: describe(schedule), reason })
    )
    known.set(schedule, compiled)
  }
  return compiled
}

const known = new WeakMap<TaskSchedule, Either.Either<Ticks, InvalidSchedule>>()

const compileNew = (schedule: TaskSchedule): Either.Either<Ticks, string> => {
  const problem = problemOf(schedule)
  if (problem !== undefined) {
    return Either.left(problem)
  }
  return schedule._tag === "Cron"
    ? Either.map(wallTimes.make(schedule.expression, schedule.timeZone), (next) => ticksOf(schedule, next))
    : Either.right(ticksOf(schedule, everyNext(schedule)))
}

/** The latest time that a date can tell. */
const lastMoment = 8.64e15

const isMoment = (at: number | null): boolean => at === null || (Number.isSafeInteger(at) && Math.abs(at) <= lastMoment)

const problemOf = (schedule: TaskSchedule): string | undefined => {
  const { endAt, jitterMillis, startAt } = schedule
  if (!isMoment(startAt) || !isMoment(endAt)) {
    return "startAt and endAt must be valid dates"
  }
  if (startAt !== null && endAt !== null && endAt < startAt) {
    return "endAt must not be before startAt"
  }
  if (!Number.isSafeInteger(jitterMillis)) {
    return "the jitter must be a finite duration"
  }
  return schedule._tag === "Every" && !(Number.isSafeInteger(schedule.millis) && schedule.millis >= 1)
    ? "the interval must be a finite duration of at least a millisecond"
    : undefined
}

const everyNext = ({ anchor, millis, startAt }: EverySchedule): wallTimes.NextMoment => {
  if (anchor === "completion") {
    return (after) => after + millis
  }
  const origin = startAt ?? 0
  return (after) => origin + (Math.floor((after - origin) / millis) + 1) * millis
}

const ticksOf = (schedule: TaskSchedule, moment: wallTimes.NextMoment): Ticks => {
  const { endAt, jitterMillis, startAt } = schedule
  const startsAt = startAt ?? Number.NEGATIVE_INFINITY
  const endsAt = Math.min(endAt ?? lastMoment, lastMoment)
  const within = (tick: number | null): number | null => (tick === null || tick > endsAt ? null : tick)
  const isCompletion = schedule._tag === "Every" && schedule.anchor === "completion"
  const next = (after: number): number | null =>
    isCompletion ? within(Math.max(moment(after) ?? 0, startsAt)) : within(moment(Math.max(after, startsAt - 1)))
  return {
    next,
    first: (now) => (schedule._tag === "Every" && schedule.immediately ? within(Math.max(now, startsAt)) : next(now)),
    count: (from, to, most) => {
      if (schedule._tag === "Every") {
        return Math.min(Math.floor((to - from) / schedule.millis) + 1, most)
      }
      let count = 1
      for (let tick = next(from); tick !== null && tick <= to && count < most; tick = next(tick)) {
        count++
      }
      return count
    },
    dueAt: (name, tick) => {
      if (jitterMillis === 0) {
        return tick
      }
      // never so late that the next tick would come first
      const room = (next(tick) ?? tick + jitterMillis) - tick
      return tick + Math.floor(fraction(`${name}\u0000${tick}`) * Math.min(jitterMillis, room))
    }
  }
}

/** A number from 0 to 1 that is drawn by a text: the same in every process (FNV-1a, and a mixing of its bits). */
const fraction = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}

/**
 * The last tick up to a moment, where `from` is a tick that is not after it. It halves what lies between, so that it is quick
 * also after a long time.
 */
export const lastUpTo = ({ next }: Ticks, from: number, upTo: number): number => {
  let last = from
  let end = upTo
  while (true) {
    const following = next(last)
    if (following === null || following > end) {
      return last
    }
    const middle = Math.floor((following + end) / 2)
    const later = next(middle)
    if (later !== null && later <= end) {
      last = later
    } else {
      last = following
      end = middle
    }
  }
}

export const preview = (ticks: Ticks, from: number, count: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  let tick = ticks.next(from)
  while (tick !== null && found.length < count) {
    found.push(tick)
    tick = ticks.next(tick)
  }
  return found
}

/** A time as people read it. */
export const showTime = (at: number): string =>
  isMoment(at) ? DateTime.formatIso(DateTime.unsafeMake(at)) : String(at)

const showDuration = (millis: number): string => Duration.format(Duration.millis(millis))

const base = (schedule: CronSchedule | EverySchedule): string => {
  if (schedule._tag === "Cron") {
    return `"${schedule.expression}" in ${schedule.timeZone}`
  }
  const every = `every ${showDuration(schedule.millis)}`
  return schedule.anchor === "completion" ? `${every} after the run before has ended` : every
}

/** Documented in `TaskSchedule`. */
export const describe = (schedule: TaskSchedule): string =>
  [
    base(schedule),
    ...(schedule.jitterMillis === 0 ? [] : [`up to ${showDuration(schedule.jitterMillis)} later`]),
    ...(schedule.startAt === null ? [] : [`from ${showTime(schedule.startAt)}`]),
    ...(schedule.endAt === null ? [] : [`until ${showTime(schedule.endAt)}`])
  ].join(", ")

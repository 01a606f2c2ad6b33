import { Cron, DateTime, Either, Option } from "effect"

/*
 * The moments of a cron expression in a time zone. The expression is asked for wall times, as if the zone had no changes of
 * its clock; here they become moments, by a rule of our own (documented in `TaskSchedule`):
 *
 * - a wall time that a change leaves out comes as much later as the clock was put forward
 * - a wall time that a change brings twice comes the first time only; both times, where the expression names no hours
 */

const day = 86_400_000

/** No two changes of a clock are so near to each other. */
const stride = 7 * day

/** The first moment after `after`, or `null` where there is none within reach. */
export type NextMoment = (after: number) => number | null

/** Makes it, or says why the expression or the zone cannot be used. */
export const make = (expression: string, timeZone: string): Either.Either<NextMoment, string> =>
  Either.gen(function* () {
    const zone = yield* Either.fromOption(
      DateTime.zoneFromString(timeZone),
      () => `there is no time zone "${timeZone}"; name one of the IANA database, such as Europe/London`
    )
    const cron = yield* Either.mapLeft(Cron.parse(expression.trim(), "UTC"), ({ message }) => message)
    const next = nextWallTime(cron)
    if (next(reference) === null) {
      return yield* Either.left("it never comes: no date is like this")
    }
    return timeZone === "UTC" ? next : inZone(next, zone, cron.hours.size === 0)
  })

/** Some moment from which on every expression that ever comes does so. */
const reference = Date.UTC(2000, 0, 1)

const nextWallTime =
  (cron: Cron.Cron): NextMoment =>
  (after) => {
    try {
      return Cron.next(cron, after).getTime()
    } catch {
      return null
    }
  }

/** A change of the clock: the first moment with another offset, and the offset before. */
interface Change {
  readonly at: number
  readonly before: number
}

const inZone = (nextWall: NextMoment, zone: DateTime.TimeZone, isEveryHour: boolean): NextMoment => {
  const offsetAt = (moment: number): number =>
    Option.match(DateTime.makeZoned(moment, { timeZone: zone }), { onNone: () => 0, onSome: DateTime.zonedOffset })

  /** The first change after `from`, up to `upTo`. */
  const firstChange = (from: number, upTo: number): Change | undefined => {
    const before = offsetAt(from)
    for (let low = from; low < upTo; low += stride) {
      let high = Math.min(low + stride, upTo)
      if (offsetAt(high) !== before) {
        let same = low
        while (high - same > 1) {
          const middle = Math.floor((same + high) / 2)
          if (offsetAt(middle) === before) {
            same = middle
          } else {
            high = middle
          }
        }
        return { at: high, before }
      }
    }
    return undefined
  }

  /** The first moment from `start` on, if the offset stays as it is there; `last` is the change before, if it is near. */
  const steadily = (start: number, last: Change | undefined): number | null => {
    const offset = offsetAt(start)
    const jump = last === undefined ? 0 : offset - last.before
    const isRepeat = last !== undefined && jump < 0 && !isEveryHour
    const from = isRepeat ? Math.max(start, last.at - jump) : start
    const wall = nextWall(from + offset - 1)
    const moment = wall === null ? null : wall - offset
    if (last === undefined || jump <= 0) {
      return moment
    }
    const leftOut = nextWall(start + last.before - 1)
    return leftOut !== null && leftOut - last.before < last.at + jump
      ? Math.min(leftOut - last.before, moment ?? Number.POSITIVE_INFINITY)
      : moment
  }

  return (after) => {
    let start = after + 1
    let last = firstChange(start - day, start)
    while (true) {
      const moment = steadily(start, last)
      if (moment === null) {
        return null
      }
      const change = firstChange(start, moment)
      if (change === undefined) {
        return moment
      }
      start = change.at
      last = change
    }
  }
}

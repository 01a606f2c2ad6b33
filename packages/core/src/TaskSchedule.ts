/**
 * When a task is performed by itself: by a cron expression in a time zone, or at an interval. A plain value; `TaskScheduler`
 * fires its ticks.
 *
 * **Changes of the clock.** A cron expression names wall times of its zone. A wall time that a change of the clock leaves out
 * comes as much later as the clock was put forward: 01:30 in London is 02:30 on that day in March. A wall time that a change
 * brings twice comes the first time only, unless the hour of the expression is `*`: what comes every hour, or every few
 * minutes, goes on through both.
 *
 * @since 0.1.0
 */
import { Duration, Either, Option } from "effect"
import type * as model from "./internal/scheduleModel.js"
import * as ticks from "./internal/ticks.js"
import type { InvalidSchedule } from "./ScheduleError.js"

export {
  /**
   * A schedule, and the schema of its stored form. Times are epoch milliseconds.
   *
   * @since 0.1.0
   * @category schemas
   */
  TaskSchedule
} from "./internal/scheduleModel.js"

/**
 * What becomes of a tick while an earlier run of the schedule has not ended (it waits, or is performed):
 *
 * - `skip`: it is left out, with a warning
 * - `allow`: its run is queued all the same
 * - `queueOne`: it waits until that run has ended. One tick waits at the most; those that come meanwhile are left out
 * - `cancelRunning`: that run is cancelled, and the tick is fired as soon as it has ended. Of several ticks the newest is
 *
 * @since 0.1.0
 * @category models
 */
export type Overlap = typeof model.Overlap.Type

/**
 * Which of the ticks that were missed, because no scheduler was there, are fired later:
 *
 * - `none`: none. The last one still counts as in time up to `punctuality` after it
 * - `last`: the last one only
 * - `all`: all of them, oldest first, but no more than the newest `mostCaughtUp`
 *
 * @since 0.1.0
 * @category models
 */
export type CatchUp = typeof model.CatchUp.Type

/**
 * What an interval is counted from: a fixed `grid`, or the `completion` of the run before.
 *
 * @since 0.1.0
 * @category models
 */
export type Anchor = typeof model.Anchor.Type

/**
 * What all schedules have.
 *
 * - `jitter`: each tick is fired later by up to this much, so that not everything begins at once. How much is drawn from the
 *   name of the schedule and the tick, so all schedulers agree, and it never reaches the next tick. Default: none
 * - `startAt`, `endAt` (a `Date` or epoch milliseconds): no tick before, no tick after. Default: without
 * - `overlap`: Default: `skip`
 * - `catchUp`: Default: `last`
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly jitter?: Duration.DurationInput | undefined
  readonly startAt?: Date | number | undefined
  readonly endAt?: Date | number | undefined
  readonly overlap?: Overlap | undefined
  readonly catchUp?: CatchUp | undefined
}

/**
 * - `timeZone`: the zone whose wall times the expression names, from the IANA database, or an offset. Default: `UTC`
 *
 * @since 0.1.0
 * @category models
 */
export interface CronOptions extends Options {
  readonly timeZone?: string | undefined
}

/**
 * - `anchor`: `grid` has its ticks at fixed distances from `startAt`, or from the beginning of 1970 (UTC), whoever starts
 *   when; `completion` has the next tick so long after the run before has ended. Default: `grid`
 * - `immediately`: whether there is a tick when the schedule is made, too. A restart makes it no second time. Default: false
 *
 * @since 0.1.0
 * @category models
 */
export interface EveryOptions extends Options {
  readonly anchor?: Anchor | undefined
  readonly immediately?: boolean | undefined
}

/**
 * `catchUp: "all"` fires no more missed ticks at one time than this, the newest.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostCaughtUp = 1_000

/**
 * A tick that is fired within this time is not late.
 *
 * @since 0.1.0
 * @category constants
 */
export const punctuality: Duration.Duration = Duration.seconds(10)

const millisOf = (duration: Duration.DurationInput): number => Math.max(0, Math.ceil(Duration.toMillis(duration)))

const commonOf = ({ catchUp = "last", endAt, jitter, overlap = "skip", startAt }: Options) => ({
  jitterMillis: jitter === undefined ? 0 : millisOf(jitter),
  startAt: startAt === undefined ? null : Number(startAt),
  endAt: endAt === undefined ? null : Number(endAt),
  overlap,
  catchUp
})

/**
 * By a cron expression: minute, hour, day of the month, month and day of the week, or six fields with the second first. Each
 * is `*`, a number, a name (`MON`, `JAN`), a range (`9-17`), a step (`0-59/15`, or `*` with one), or a list of these. Where both days
 * are restricted, either is enough.
 *
 * An expression or a zone that cannot be used is an `InvalidSchedule` where the schedule is used.
 *
 * @example
 * ```ts
 * import { TaskSchedule } from "@effect-tasks/core"
 *
 * const nightly = TaskSchedule.cron("0 3 * * *", { timeZone: "Europe/London", catchUp: "last", overlap: "skip" })
 * const officeHours = TaskSchedule.cron("0 9-17 * * MON-FRI", { timeZone: "America/New_York", jitter: "1 minute" })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const cron = (expression: string, options: CronOptions = {}): model.TaskSchedule => ({
  _tag: "Cron",
  expression,
  timeZone: options.timeZone ?? "UTC",
  ...commonOf(options)
})

/**
 * At an interval.
 *
 * @example
 * ```ts
 * import { TaskSchedule } from "@effect-tasks/core"
 *
 * const tick = TaskSchedule.every("10 seconds", { jitter: "1 second" })
 * const rest = TaskSchedule.every("5 minutes", { anchor: "completion", immediately: true })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const every = (interval: Duration.DurationInput, options: EveryOptions = {}): model.TaskSchedule => ({
  _tag: "Every",
  millis: millisOf(interval),
  anchor: options.anchor ?? "grid",
  immediately: options.immediately ?? false,
  ...commonOf(options)
})

/**
 * The schedule itself when it is in order, or why it cannot be used.
 *
 * @since 0.1.0
 * @category ticks
 */
export const validate = (schedule: model.TaskSchedule): Either.Either<model.TaskSchedule, InvalidSchedule> =>
  Either.map(ticks.compile(schedule), () => schedule)

/**
 * The first tick after a moment (epoch milliseconds), without its jitter; `None` when there is none any more. An interval from
 * `completion` is counted from the moment.
 *
 * @since 0.1.0
 * @category ticks
 */
export const next = (
  schedule: model.TaskSchedule,
  after: Date | number
): Either.Either<Option.Option<number>, InvalidSchedule> =>
  Either.map(ticks.compile(schedule), ({ next }) => Option.fromNullable(next(Number(after))))

/**
 * The next ticks after `from`, without their jitter: `count` of them, or as many as there are.
 *
 * @example
 * ```ts
 * import { TaskSchedule } from "@effect-tasks/core"
 *
 * const mondays = TaskSchedule.cron("0 9 * * MON")
 * const comingUp = TaskSchedule.preview(mondays, { from: new Date("2030-01-01"), count: 3 })
 * ```
 *
 * @since 0.1.0
 * @category ticks
 */
export const preview = (
  schedule: model.TaskSchedule,
  options: { readonly from: Date | number; readonly count: number }
): Either.Either<ReadonlyArray<number>, InvalidSchedule> =>
  Either.map(ticks.compile(schedule), (compiled) => ticks.preview(compiled, Number(options.from), options.count))

/**
 * The schedule in words, for people.
 *
 * @since 0.1.0
 * @category ticks
 */
export const describe = (schedule: model.TaskSchedule): string => ticks.describe(schedule)

import { Schema } from "effect"

/** What becomes of a tick while an earlier run of the schedule has not ended. Documented in `TaskSchedule`. */
export const Overlap = Schema.Literal("allow", "skip", "queueOne", "cancelRunning")

/** Which of the ticks that nobody fired in time are fired later. Documented in `TaskSchedule`. */
export const CatchUp = Schema.Literal("none", "last", "all")

/** What an interval is counted from. Documented in `TaskSchedule`. */
export const Anchor = Schema.Literal("grid", "completion")

const common = {
  jitterMillis: Schema.Number,
  startAt: Schema.NullOr(Schema.Number),
  endAt: Schema.NullOr(Schema.Number),
  overlap: Overlap,
  catchUp: CatchUp
}

export const CronSchedule = Schema.TaggedStruct("Cron", {
  expression: Schema.String,
  timeZone: Schema.String,
  ...common
})

export type CronSchedule = typeof CronSchedule.Type

export const EverySchedule = Schema.TaggedStruct("Every", {
  millis: Schema.Number,
  anchor: Anchor,
  immediately: Schema.Boolean,
  ...common
})

export type EverySchedule = typeof EverySchedule.Type

/** Documented in `TaskSchedule`. */
export const TaskSchedule = Schema.Union(CronSchedule, EverySchedule)

export type TaskSchedule = typeof TaskSchedule.Type

/**
 * The failures of schedules.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * A schedule that cannot be used: its expression, its time zone or an option is wrong, or it never comes.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidSchedule extends Schema.TaggedError<InvalidSchedule>(
  "@effect-tasks/core/ScheduleError/InvalidSchedule"
)("InvalidSchedule", { schedule: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `the schedule ${this.schedule} cannot be used: ${this.reason}`
  }
}

/**
 * There is a schedule of this name already. Nothing was added.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScheduleExists extends Schema.TaggedError<ScheduleExists>(
  "@effect-tasks/core/ScheduleError/ScheduleExists"
)("ScheduleExists", { name: Schema.String }) {
  override get message(): string {
    return `there is a schedule named "${this.name}" already: edit it, or choose another name`
  }
}

/**
 * No schedule has this name.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScheduleNotFound extends Schema.TaggedError<ScheduleNotFound>(
  "@effect-tasks/core/ScheduleError/ScheduleNotFound"
)("ScheduleNotFound", { name: Schema.String }) {
  override get message(): string {
    return `there is no schedule named "${this.name}": it was never added on this backend, or it was removed`
  }
}

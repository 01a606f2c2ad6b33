/**
 * The part of a broker that changes schedules, and fires them.
 *
 * This is for those who write a backend; applications use `TaskScheduler`. The records are read from the `Store`.
 *
 * @since 0.1.0
 */
import type { Effect } from "effect"
import type { EncodedSchedule } from "./Store.js"
import type { BackendError } from "./TaskError.js"
import type { Encoded as EncodedRun } from "./TaskRun.js"

/**
 * A new record of a schedule, and the runs that come with it. It is written exactly when the stored record has the revision
 * `expected`, or, where that is `null`, when there is none of the name.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScheduleChange {
  readonly schedule: EncodedSchedule
  readonly expected: number | null
  readonly runs: ReadonlyArray<EncodedRun>
}

/**
 * What a broker does with schedules.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations {
  /**
   * Fires ticks: writes the new record of each schedule, and accepts its runs (`queued`, without idempotency keys) in the
   * same commit. Where the record is not the expected one, neither is written: another scheduler was quicker, or somebody
   * has changed the schedule. So each tick is fired once, and none is lost. The answers stand in the order of the changes.
   */
  readonly fire: (changes: ReadonlyArray<ScheduleChange>) => Effect.Effect<ReadonlyArray<boolean>, BackendError>

  /** The same for changes that people and programs make; all schedulers are told (`Schedules`). */
  readonly putSchedules: (changes: ReadonlyArray<ScheduleChange>) => Effect.Effect<ReadonlyArray<boolean>, BackendError>

  /** Removes schedules, and tells all schedulers. Their runs stay. Gives how many there were. */
  readonly removeSchedules: (names: ReadonlyArray<string>) => Effect.Effect<number, BackendError>
}

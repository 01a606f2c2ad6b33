/**
 * How long ended runs are kept.
 *
 * By default a success is kept for 7 days, and every other end for 30. What is older is removed in the background, a few runs
 * at a time, with its log lines. A run that has not ended is never removed, and an idempotency key stays held for its time,
 * whether its run is still kept or not.
 *
 * @since 0.1.0
 */
import type { Final } from "@effect-tasks/core/TaskState"
import type { Duration } from "effect"

/**
 * How long a run is kept after its end.
 *
 * @since 0.1.0
 * @category models
 */
export type Keep = Duration.DurationInput | "forever"

/**
 * How long runs are kept, by the state in which they have ended.
 *
 * @since 0.1.0
 * @category models
 */
export type ByState = { readonly [State in Final]?: Keep | undefined }

/**
 * How long runs are kept: by the state in which they have ended, and by task where one has rules of its own. A state that is
 * not given, for a task or at all, is kept as long as the next more general rule says.
 *
 * @example
 * ```ts
 * import type { Retention } from "@effect-tasks/sql"
 *
 * const retention: Retention.Retention = {
 *   success: "1 day",
 *   failure: "forever",
 *   tasks: {
 *     Poll: { success: "10 minutes" }
 *   }
 * }
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface Retention extends ByState {
  readonly tasks?: { readonly [task: string]: ByState } | undefined
}

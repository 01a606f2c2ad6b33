/**
 * How urgent a run is beside the others of its queue.
 *
 * A priority is an integer; more is sooner. Inside one priority runs are taken first in, first out. So that a low run
 * never starves, waiting counts: every minute that a run has been due longer than another makes up for one point of
 * priority. A `low` run (-10) is thus taken before every `high` run (10) that became due more than twenty minutes
 * after it.
 *
 * The rule is a sum that never changes while a run waits, `rank = due − priority × 1 minute`, so an index serves it. It
 * is the linear ageing of operating-system schedulers, written as a virtual deadline.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The largest distance from `medium`, in both directions.
 *
 * @since 0.1.0
 * @category constants
 */
export const limit = 1_000

/**
 * How much waiting makes up for one point of priority, in milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const ageingMillis = 60_000

/**
 * The names of the usual priorities.
 *
 * @since 0.1.0
 * @category constants
 */
export const names = { high: 10, medium: 0, low: -10 } as const

/**
 * A priority by name, or any integer from -1,000 to 1,000. The default is `medium`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TaskPriority = Schema.Union(
  Schema.Literal("high", "medium", "low"),
  Schema.Int.pipe(Schema.between(-limit, limit))
)

/**
 * @since 0.1.0
 * @category models
 */
export type TaskPriority = typeof TaskPriority.Type

/**
 * Whether a value is a priority.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTaskPriority: (u: unknown) => u is TaskPriority = Schema.is(TaskPriority)

/**
 * The number behind a priority.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toNumber = (priority: TaskPriority): number => (typeof priority === "number" ? priority : names[priority])

/**
 * The place in the claim order, in milliseconds: a smaller rank is claimed sooner, ties go to the smaller run id.
 *
 * @since 0.1.0
 * @category ordering
 */
export const rank = (dueAt: number, priority: number): number => dueAt - priority * ageingMillis

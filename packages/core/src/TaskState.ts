/**
 * The states of a run, and the one table that says which may follow which.
 *
 * ```text
 * init → queued | scheduled → running → success | failure | aborted | cancelled | interrupted | rate_limited
 * init → rejected
 * ```
 *
 * Everything here is pure; the effects that carry a transition out live in the runtime.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"
import * as Either from "effect/Either"
import { InvalidTransition } from "./TaskError.js"

/**
 * The states in which a run waits or works.
 *
 * - `init`: made, not yet handed to the broker
 * - `scheduled`: waits for its due time (a delay, a retry, a snooze)
 * - `queued`: due, waits for a consumer
 * - `running`: claimed by a consumer
 *
 * @since 0.1.0
 * @category schemas
 */
export const Unfinished = Schema.Literal("init", "scheduled", "queued", "running")

/**
 * @since 0.1.0
 * @category models
 */
export type Unfinished = typeof Unfinished.Type

/**
 * The states in which a run has ended. A final state never changes.
 *
 * - `success`: the handler succeeded
 * - `failure`: it failed or died, and no retry remains
 * - `aborted`: the task itself decided to stop, or the task is disabled
 * - `cancelled`: a person or a program cancelled it
 * - `interrupted`: stopped by a shutdown and not given back
 * - `rate_limited`: refused by a limit, and the task says refuse
 * - `rejected`: never accepted, because the queue was full
 *
 * @since 0.1.0
 * @category schemas
 */
export const Final = Schema.Literal(
  "success",
  "failure",
  "aborted",
  "cancelled",
  "interrupted",
  "rate_limited",
  "rejected"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Final = typeof Final.Type

/**
 * Every state of a run.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TaskState = Schema.Union(Unfinished, Final)

/**
 * @since 0.1.0
 * @category models
 */
export type TaskState = typeof TaskState.Type

/**
 * Every state, in the order of a run's life.
 *
 * @since 0.1.0
 * @category constants
 */
export const all: ReadonlyArray<TaskState> = [...Unfinished.literals, ...Final.literals]

const finals: ReadonlySet<string> = new Set(Final.literals)

/**
 * Whether a run in this state has ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFinal = (state: TaskState): state is Final => finals.has(state)

/**
 * The table: which states may follow directly, each with one event.
 *
 * From `running` a run may go back to `queued` (given back by a shutdown, or taken over after its lease ended) or to
 * `scheduled` (a retry or a snooze).
 *
 * @since 0.1.0
 * @category constants
 */
export const transitions: { readonly [From in TaskState]: ReadonlyArray<TaskState> } = {
  init: ["queued", "scheduled", "rejected"],
  scheduled: ["queued", "cancelled"],
  queued: ["scheduled", "running", "cancelled"],
  running: ["queued", "scheduled", "success", "failure", "aborted", "cancelled", "interrupted", "rate_limited"],
  success: [],
  failure: [],
  aborted: [],
  cancelled: [],
  interrupted: [],
  rate_limited: [],
  rejected: []
}

/**
 * The steps that lead from one state to another, the target included.
 *
 * - The same state gives no step: a no-op, without an event.
 * - A pair of the table gives one step.
 * - `init`, `scheduled` and `queued` reach a later state through the states between them, all at the same moment: a run
 *   which is performed in place passes `queued` and `running`.
 * - Any other pair is an `InvalidTransition`.
 *
 * @example
 * ```ts
 * import { TaskState } from "@effect-tasks/core"
 * import { Either } from "effect"
 *
 * Either.getOrThrow(TaskState.path("init", "success")) // ["queued", "running", "success"]
 * ```
 *
 * @since 0.1.0
 * @category transitions
 */
export const path = (from: TaskState, to: TaskState): Either.Either<ReadonlyArray<TaskState>, InvalidTransition> => {
  if (from === to) {
    return Either.right([])
  }
  if (transitions[from].includes(to)) {
    return Either.right([to])
  }
  switch (from) {
    case "init":
    case "scheduled": {
      return to === "running" || (to !== "rejected" && isFinal(to))
        ? Either.map(path("queued", to), (rest) => ["queued" as const, ...rest])
        : Either.left(new InvalidTransition({ from, to }))
    }
    case "queued": {
      return to !== "rejected" && isFinal(to)
        ? Either.right(["running", to])
        : Either.left(new InvalidTransition({ from, to }))
    }
    default:
      return Either.left(new InvalidTransition({ from, to }))
  }
}

/**
 * What happens to a run: one event for each transition, named after the new state.
 *
 * A normal run gives `init`, `queued`, `running`, `success`, in this order; events of one run are never re-ordered.
 * `queued` and all later events are published after the backend has committed them.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"
import { TaskRun } from "./internal/run.js"
import { TaskState } from "./TaskState.js"

/**
 * A transition: the new `state`, the state before, when it happened (epoch milliseconds), and a copy of the run in the new
 * state.
 *
 * @since 0.1.0
 * @category models
 */
export class TaskEvent extends Schema.Class<TaskEvent>("@effect-tasks/core/TaskEvent")({
  state: TaskState,
  previous: Schema.NullOr(TaskState),
  at: Schema.Number,
  run: TaskRun
}) {}

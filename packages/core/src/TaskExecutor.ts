/**
 * Having the attempts of tasks performed elsewhere than in a fiber of the consumer: in a thread, in another process. For
 * those who write such a place; `NodeExecutor` of `@effect-tasks/node` is one for Node.js.
 *
 * The consumer keeps what belongs to the run: its claim, its time limit, its ledger, its retries and its events. An executor
 * performs one attempt at a time in each of its places, and sees only what is encoded: the payload as a text goes there, and
 * lines, progress and the encoded outcome come back.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer } from "effect"
import * as executing from "./internal/executing.js"
import * as handlers from "./internal/handlers.js"
import type * as Task from "./Task.js"
import type { DuplicateTask, InvalidOption } from "./TaskError.js"
import * as TaskGroup from "./TaskGroup.js"

export type {
  /**
   * - `reserve`: waits until there is a place for an attempt of this task, and keeps it until the Scope closes. What it waits
   *   does not count towards the time limit of the attempt. It fails when no place can be made
   *
   * @since 0.1.0
   * @category models
   */
  Executor,
  /**
   * Performs an attempt, and tells what it reports, in order. It is called in an uninterruptible region, and never fails. When
   * its fiber is interrupted it has the handler interrupted, and ends when that has ended, or is stopped: `Interrupted`, or the
   * outcome of a handler that went on in spite of it. A place that is lost meanwhile makes an `ExecutorCrashed` outcome.
   *
   * @since 0.1.0
   * @category models
   */
  Perform
} from "./internal/executing.js"
export {
  /**
   * How an attempt ended: by itself, put off by the task, or because it was interrupted.
   *
   * @since 0.1.0
   * @category schemas
   */
  End,
  /**
   * A line that was logged: when, its level, what, and the labels and beginnings of the spans around it, the innermost first.
   *
   * @since 0.1.0
   * @category schemas
   */
  Line,
  /**
   * What an attempt tells while it is performed.
   *
   * @since 0.1.0
   * @category schemas
   */
  Report,
  /**
   * One attempt that is to be performed: what is known of its run, the span that it goes on with, and the level from which on
   * its lines are wanted.
   *
   * @since 0.1.0
   * @category schemas
   */
  Request
} from "./internal/executing.js"

/**
 * Who performs the attempts of tasks whose `executor` is a thread or a process.
 *
 * @since 0.1.0
 * @category services
 */
export class TaskExecutor extends Context.Tag("@effect-tasks/core/TaskExecutor")<TaskExecutor, executing.Executor>() {}

/**
 * The handlers of a group whose attempts the executor performs; for a consumer they are handlers like any other. Fails when
 * a task of the group is `inline`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>
): Layer.Layer<TaskGroup.Handler<Tasks>, DuplicateTask | InvalidOption, TaskExecutor> =>
  Layer.unwrapEffect(
    Effect.map(TaskGroup.byName(group), (tasks) => executing.layer(Array.from(tasks.values()), TaskExecutor))
  )

/**
 * The other side: performs attempts with the handlers that are here. The lines of an attempt go to its reports, instead of
 * the console.
 *
 * @since 0.1.0
 * @category constructors
 */
export const performer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>
): Effect.Effect<executing.Perform, DuplicateTask, TaskGroup.Handler<Tasks>> =>
  Effect.flatMap(TaskGroup.byName(group), (tasks) =>
    Effect.map(handlers.entriesOf<Tasks, TaskGroup.Handler<Tasks>>(tasks.values()), executing.performer)
  )

/**
 * Gives what an effect logs to a function, in place of the console: for what is logged where the handlers are, but by none
 * of them.
 *
 * @since 0.1.0
 * @category logging
 */
export const forwardLogs: (
  onLine: (line: typeof executing.Line.Type) => void
) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = executing.forwarding

/**
 * Logs a line here that was logged there.
 *
 * @since 0.1.0
 * @category logging
 */
export const log: (line: typeof executing.Line.Type) => Effect.Effect<void> = executing.log

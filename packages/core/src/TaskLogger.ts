/**
 * The observers of an application's runs: each sees every lifecycle event, and every line that a handler logs.
 *
 * An observer has a fiber and a buffer of its own, so one that fails or is slow never affects a run or another observer;
 * what it has not seen yet is handed to it before the Layer closes.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, LogLevel } from "effect"
import type { LogLine } from "./Store.js"
import type { TaskEvent } from "./TaskEvent.js"
import { isFinal } from "./TaskState.js"

/**
 * An observer.
 *
 * - `name`: for messages about it
 * - `minLevel`: lines below this level are not shown to it. Default: all that Effect's minimum log level lets through
 * - `onEvent`, `onLine`: what it does. A failure is logged, and the observer goes on
 *
 * @since 0.1.0
 * @category models
 */
export interface Observer {
  readonly name: string
  readonly minLevel?: LogLevel.LogLevel | undefined
  readonly onEvent?: ((event: TaskEvent) => Effect.Effect<void, unknown>) | undefined
  readonly onLine?: ((line: LogLine) => Effect.Effect<void, unknown>) | undefined
}

/**
 * The observers in force. None by default.
 *
 * @since 0.1.0
 * @category services
 */
export class TaskLogger extends Context.Reference<TaskLogger>()("@effect-tasks/core/TaskLogger", {
  defaultValue: (): ReadonlyArray<Observer> => []
}) {}

/**
 * Adds observers to those of the Layers below.
 *
 * @example
 * ```ts
 * import { Backend, TaskLogger, TaskManager } from "@effect-tasks/core"
 * import { Console, Layer } from "effect"
 *
 * const Main = TaskManager.layer.pipe(
 *   Layer.provide(TaskLogger.layer({ name: "stdout", onEvent: (event) => Console.log(event.state, event.run.id) })),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (...observers: ReadonlyArray<Observer>): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.map(TaskLogger, (known) => Context.unsafeMake(new Map([[TaskLogger.key, [...known, ...observers]]])))
  )

/**
 * An observer that writes one line per event to the application's own logger: failures as warnings, other ends at info, the
 * rest at debug level.
 *
 * @since 0.1.0
 * @category observers
 */
export const console: Observer = {
  name: "console",
  onEvent: ({ at, run, state }) => {
    const took = isFinal(state) && run.startedAt !== null ? { millis: at - run.startedAt } : {}
    const level = state === "failure" ? LogLevel.Warning : isFinal(state) ? LogLevel.Info : LogLevel.Debug
    return Effect.annotateLogs(Effect.logWithLevel(level, `${run.task} ${state}`), {
      run: run.id,
      attempt: isFinal(state) ? (run.attempts.at(-1)?.number ?? 0) : run.attempt + 1,
      ...took
    })
  }
}

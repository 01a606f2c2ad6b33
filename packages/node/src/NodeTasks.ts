/**
 * What an application on Node.js needs around its tasks: the entry point with its signals and exit codes, log lines, and
 * options from the environment.
 *
 * Every value of the configuration has a default, and its name begins with `EFFECT_TASKS_`; `docs/configuration.md` lists
 * them all. What the code says wins over the configuration.
 *
 * @since 0.1.0
 */

import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { Backend } from "@effect-tasks/core/Backend"
import type * as Task from "@effect-tasks/core/Task"
import * as TaskConsumer from "@effect-tasks/core/TaskConsumer"
import type { BackendError, DuplicateTask, InvalidOption } from "@effect-tasks/core/TaskError"
import type { TaskEvents } from "@effect-tasks/core/TaskEvents"
import type * as TaskGroup from "@effect-tasks/core/TaskGroup"
import * as TaskManager from "@effect-tasks/core/TaskManager"
import {
  Cause,
  Config,
  type ConfigError,
  Console,
  type Duration,
  Effect,
  Layer,
  type LogLevel,
  Option,
  Record,
  type Schema
} from "effect"
import * as executing from "./internal/executing.js"
import * as failure from "./internal/failure.js"
import * as logging from "./internal/logging.js"
import * as settings from "./internal/settings.js"
import { exitOnSecondSignal } from "./internal/signals.js"
import type * as NodeLogger from "./NodeLogger.js"

/**
 * How log lines are written: for people (`pretty`), as one JSON object per line (`json`), or the first on a terminal and
 * the second elsewhere (`auto`).
 *
 * @since 0.1.0
 * @category models
 */
export type LogFormat = settings.LogFormat

/**
 * What is logged, and how. What is left out comes from the configuration.
 *
 * - `level`: lines below it are neither written nor kept with their runs. Default: info
 * - `format`: Default: `auto`
 * - `lifecycle`: a line for each end of a run, and at debug level for each of its other states. Default: false
 * - `file`: a file to which the lines of runs are written too; its level and its `lifecycle` are these unless it says otherwise
 *
 * @since 0.1.0
 * @category models
 */
export interface LoggerOptions {
  readonly level?: LogLevel.LogLevel | undefined
  readonly format?: LogFormat | undefined
  readonly lifecycle?: boolean | undefined
  readonly file?: NodeLogger.FileOptions | undefined
}

/**
 * The options of a consumer as the configuration gives them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerConfig {
  readonly name: string
  readonly maxConcurrentTasks: number
  /** `undefined`: those that its tasks name. */
  readonly queues: ReadonlyArray<string> | undefined
  readonly lease: Duration.Duration
  readonly grace: Duration.Duration
  readonly cleanup: Duration.Duration
  readonly prefetch: number
  readonly tracing: "parent" | "link"
  readonly queueLimits: { readonly [queue: string]: number }
  readonly maxLogLines: number
}

/**
 * The configuration: values that `Config` reads from the environment, or from the `ConfigProvider` in force.
 *
 * @example
 * ```ts
 * import { NodeTasks } from "@effect-tasks/node"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const { lease, maxConcurrentTasks } = yield* NodeTasks.config.consumer
 *   yield* Effect.log(`up to ${maxConcurrentTasks} runs at one time, claimed for ${lease}`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category configuration
 */
export const config: {
  readonly logger: Config.Config<{
    readonly level: LogLevel.LogLevel
    readonly format: LogFormat
    readonly lifecycle: boolean
    /** `undefined`: no file is written. */
    readonly file: string | undefined
    readonly fileMode: NodeLogger.FileMode
    readonly fileMaxBytes: number
    readonly fileBackups: number
  }>
  readonly consumer: Config.Config<ConsumerConfig>
  readonly manager: Config.Config<{ readonly maxPayloadBytes: number; readonly maxLogLines: number }>
} = {
  logger: Config.all({
    level: settings.logLevel.config,
    format: settings.logFormat.config,
    lifecycle: settings.logLifecycle.config,
    file: Config.map(settings.logFile.config, Option.getOrUndefined),
    fileMode: settings.logFileMode.config,
    fileMaxBytes: settings.logFileMaxBytes.config,
    fileBackups: settings.logFileBackups.config
  }),
  consumer: Config.all({
    name: settings.consumerName.config,
    maxConcurrentTasks: settings.consumerConcurrency.config,
    queues: settings.consumerQueues.config,
    lease: settings.consumerLease.config,
    grace: settings.consumerGrace.config,
    cleanup: settings.consumerCleanup.config,
    prefetch: settings.consumerPrefetch.config,
    tracing: settings.consumerTracing.config,
    queueLimits: settings.consumerQueueLimits.config,
    maxLogLines: settings.maxLogLines.config
  }),
  manager: Config.all({ maxPayloadBytes: settings.maxPayloadBytes.config, maxLogLines: settings.maxLogLines.config })
}

const given = <Options extends object>(overrides: Options) =>
  Record.filter(overrides as Readonly<Record<string, unknown>>, (value) => value !== undefined)

/**
 * A consumer with the options of the configuration; those that are given here win. Its id begins with the host's name and
 * the process id, so that one sees who performed a run.
 *
 * @example
 * ```ts
 * import { Backend, Task, TaskGroup } from "@effect-tasks/core"
 * import { NodeTasks } from "@effect-tasks/node"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const Greet = Task.make("Greet", { payload: { name: Schema.String } })
 * const GreetLive = Greet.toLayer(({ name }) => Effect.log(`hello ${name}`))
 *
 * const Main = NodeTasks.consumer(TaskGroup.make(Greet), { grace: "10 seconds" }).pipe(
 *   Layer.provide(GreetLive),
 *   Layer.provideMerge(NodeTasks.manager()),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const consumer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  overrides: TaskConsumer.Options = {}
): Layer.Layer<
  TaskConsumer.TaskConsumer,
  DuplicateTask | InvalidOption | BackendError | ConfigError.ConfigError,
  TaskGroup.Handler<Tasks> | TaskEvents | Backend
> =>
  Layer.unwrapEffect(
    Effect.map(config.consumer, (configured) => TaskConsumer.layer(group, { ...configured, ...given(overrides) }))
  )

/**
 * A manager with the options of the configuration; those that are given here win.
 *
 * @since 0.1.0
 * @category layers
 */
export const manager = (
  overrides: TaskManager.Options = {}
): Layer.Layer<TaskManager.TaskManager | TaskEvents, InvalidOption | ConfigError.ConfigError, Backend> =>
  Layer.unwrapEffect(
    Effect.map(config.manager, (configured) => TaskManager.layerWith({ ...configured, ...given(overrides) }))
  )

/**
 * Log lines on the standard output, in place of Effect's own logger, and those of runs in a file where there is to be one. `runMain` uses it; a program that ends by itself can
 * be given it too.
 *
 * @example
 * ```ts
 * import { NodeTasks } from "@effect-tasks/node"
 * import { Effect } from "effect"
 *
 * const program = Effect.log("at work").pipe(Effect.provide(NodeTasks.layerLogger({ format: "pretty" })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLogger = (
  options: LoggerOptions = {}
): Layer.Layer<never, ConfigError.ConfigError | NodeLogger.LogFileError | InvalidOption> => logging.layer(options)

/**
 * Runs an application that goes on until it is stopped: builds the Layer, and closes it at the first SIGINT or SIGTERM.
 *
 * - A signal: the Layer closes in order; consumers let running attempts finish within their grace. Exit code 0
 * - A second signal: the process ends at once, with exit code 130. What ran is taken over once its lease has ended
 * - The Layer fails: a line on the standard error for each typed error, the stack of each defect. Exit code 1
 *
 * The Layer needs nothing from outside: a task without its handler is a type error that names the task.
 *
 * @example
 * ```ts
 * import { Backend, Task, TaskGroup } from "@effect-tasks/core"
 * import { NodeTasks } from "@effect-tasks/node"
 * import { Effect, Layer } from "effect"
 *
 * const Tidy = Task.make("Tidy")
 * const TidyLive = Tidy.toLayer(() => Effect.log("tidy again"))
 *
 * export const main = () =>
 *   NodeTasks.runMain(
 *     NodeTasks.consumer(TaskGroup.make(Tidy)).pipe(
 *       Layer.provide(TidyLive),
 *       Layer.provide(NodeTasks.manager()),
 *       Layer.provide(Backend.layerMemory)
 *     ),
 *     { lifecycle: true }
 *   )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const runMain = <A, E>(layer: Layer.Layer<A, E>, options: LoggerOptions = {}): void => {
  exitOnSecondSignal()
  Effect.never.pipe(
    Effect.onInterrupt(() => Effect.log("stopping; a second signal ends the process at once")),
    Effect.provide(Layer.provideMerge(layer, layerLogger(options))),
    Effect.onError((cause) => (Cause.isInterruptedOnly(cause) ? Effect.void : Console.error(failure.render(cause)))),
    NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
  )
}

/**
 * How a run is performed in place, what is told of it, and what is logged.
 *
 * - `json`: the result is written as JSON, in the encoded form of the task's schema. Default: false, for people
 * - `retry`: whether the task's `retry` holds here too. Default: true
 * - `tags`: beside the task's own
 *
 * @since 0.1.0
 * @category models
 */
export interface ExecuteOptions extends LoggerOptions, Task.ExecuteOptions {
  readonly json?: boolean | undefined
}

/**
 * Performs one run of a task in this process and ends it: for a command of a scheduler of the system, or one that a person
 * types. It builds the Layer, performs the run in place with its retries, writes what it gave to the standard output, closes
 * the Layer, and exits. Log lines go to the standard error.
 *
 * - The run succeeds, or its task aborts it (a line on the standard error): exit code 0
 * - It fails, or the Layer does: a line on the standard error for each typed error, the stack of each defect. Exit code 1
 * - SIGINT or SIGTERM: the run is interrupted and recorded so, the Layer closes. Exit code 130 or 143. A second signal ends
 *   the process at once, with 130
 *
 * @example
 * ```ts
 * import { Backend, Task } from "@effect-tasks/core"
 * import { NodeTasks } from "@effect-tasks/node"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const Count = Task.make("Count", { payload: { text: Schema.String }, success: Schema.Number })
 *
 * export const main = () =>
 *   NodeTasks.executeAndExit(
 *     Count,
 *     { text: process.argv[2] ?? "" },
 *     Count.toLayer(({ text }) => Effect.succeed(text.length)).pipe(
 *       Layer.provideMerge(NodeTasks.manager()),
 *       Layer.provide(Backend.layerMemory)
 *     ),
 *     { json: true }
 *   )
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const executeAndExit = <
  Name extends string,
  Payload extends Schema.Schema.All,
  Success extends Schema.Schema.All,
  Error extends Schema.Schema.All,
  E
>(
  task: Task.Task<Name, Payload, Success, Error>,
  payload: Schema.Schema.Type<Payload>,
  layer: Layer.Layer<TaskManager.TaskManager | Task.Handler<Name>, E>,
  options: ExecuteOptions = {}
): void => {
  const { json = false, retry, tags, ...logger } = options
  const run = task.execute(payload, { retry, tags })
  executing.runAndExit(
    executing.perform(run, task, { json }),
    Layer.provideMerge(layer, logging.layer(logger, "stderr"))
  )
}

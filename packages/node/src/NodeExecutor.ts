/**
 * Performing tasks that keep the processor busy in threads and child processes, so that the consumer's own loop stays free.
 *
 * A task says where it belongs (`executor: "thread"`). Its handler Layer is given to `serve` in a module of its own, the
 * entry, which each thread or process runs; the application provides `layer` in place of the handler Layer. All else stays as
 * it is: schemas, retries, time limits, logs, progress, cancellation.
 *
 * @since 0.1.0
 */
import type * as Task from "@effect-tasks/core/Task"
import type { DuplicateTask, ExecutorUnavailable, InvalidOption } from "@effect-tasks/core/TaskError"
import * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import type * as TaskGroup from "@effect-tasks/core/TaskGroup"
import { Console, Effect, Layer, Option, Runtime, type Scope } from "effect"
import * as host from "./internal/executor/host.js"
import * as options from "./internal/executor/options.js"
import * as pool from "./internal/executor/pool.js"
import * as port from "./internal/executor/port.js"
import { serve as serveThrough } from "./internal/executor/serve.js"

/**
 * How many workers there are, and how they live.
 *
 * - `poolSize`: how many threads there may be, and how many processes; each performs one attempt at a time. Default: the
 *   number of cores less one, at least 1
 * - `eager`: starts all of them when the Layer is built, which fails when the entry does. Default: each is started when it is
 *   first needed
 * - `startTimeout`: how long the entry may take to load and build its Layer. Default: 30 seconds
 * - `grace`: how long an interrupted handler may take to end, and an idle worker to close, before it is stopped by force.
 *   Default: 500 milliseconds
 * - `idleTimeout`: a worker that has nothing to do for so long is closed. Default: never
 * - `maxTasksPerWorker`: a worker is replaced when it has performed so many attempts. Default: never
 * - `env`: environment variables beside those of this process
 * - `execArgv`: options of Node.js. Default: those of this process
 *
 * @since 0.1.0
 * @category models
 */
export interface PoolOptions extends options.PoolOptions {}

/**
 * - `entry`: the module that calls `serve`, as a URL of a file or an absolute path. It is JavaScript: what a compiler makes of
 *   `hash.worker.ts` is named `hash.worker.js`
 * - `thread`: what is different for threads; and the memory that each may have (`resourceLimits`, in megabytes). Default: no
 *   limit but that of the process
 * - `process`: what is different for processes; and `killAfter`, how long after SIGTERM a process gets SIGKILL. Together with
 *   `grace` it should be less than the consumer's `cleanup`. Default: 2 seconds
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends options.Options {}

/**
 * The handlers of a group of tasks, performed by threads and child processes: by which, each task's `executor` says. It
 * stands where the handler Layer would. The workers end with the Layer.
 *
 * @example
 * ```ts
 * import { Backend, Task, TaskGroup } from "@effect-tasks/core"
 * import { NodeExecutor, NodeTasks } from "@effect-tasks/node"
 * import { Layer, Schema } from "effect"
 *
 * const Hash = Task.make("Hash", {
 *   payload: { text: Schema.String },
 *   success: Schema.String,
 *   timeout: "1 minute",
 *   executor: "thread"
 * })
 *
 * const HashRemote = NodeExecutor.layer(TaskGroup.make(Hash), {
 *   entry: new URL("./hash.worker.js", import.meta.url),
 *   poolSize: 2
 * })
 *
 * const Main = NodeTasks.consumer(TaskGroup.make(Hash)).pipe(
 *   Layer.provide(HashRemote),
 *   Layer.provideMerge(NodeTasks.manager()),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: Options
): Layer.Layer<TaskGroup.Handler<Tasks>, DuplicateTask | InvalidOption | ExecutorUnavailable> =>
  Layer.provide(TaskExecutor.layer(group), Layer.scoped(TaskExecutor.TaskExecutor, make(group, options)))

const make = Effect.fnUntraced(function* (
  group: TaskGroup.TaskGroup<Task.Any>,
  given: Options
): Effect.fn.Return<TaskExecutor.Executor, InvalidOption | ExecutorUnavailable, Scope.Scope> {
  const threads = yield* poolOf("thread", group, given)
  const processes = yield* poolOf("process", group, given)
  return { reserve: ({ executor }) => (executor === "thread" ? threads : processes) }
})

const poolOf = Effect.fnUntraced(function* (
  kind: "thread" | "process",
  group: TaskGroup.TaskGroup<Task.Any>,
  given: Options
) {
  const tasks = group.tasks.filter(({ executor }) => executor === kind).map(({ name }) => name)
  const checked = yield* options.check(kind, given)
  const runtime = yield* Effect.runtime<never>()
  return yield* pool.make({
    ...checked,
    entry: options.nameOf(checked.entry),
    eager: checked.eager && tasks.length > 0,
    tasks,
    start: kind === "thread" ? host.thread(checked) : host.childProcess(checked),
    onLine: (line) => void Runtime.runSyncExit(runtime, TaskExecutor.log(line))
  })
})

/**
 * The entry of a thread or a child process: performs the tasks of a group with these handlers, for the application that has
 * started it. It is called once, at the end of its module. What the handlers log goes to the logs of their runs and to the
 * application's loggers, and what they write to the standard output and the standard error becomes lines of log too.
 *
 * A program that no `layer` has started prints what is wrong, and ends with exit code 1.
 *
 * @example
 * ```ts
 * import { Task, TaskGroup } from "@effect-tasks/core"
 * import { NodeExecutor } from "@effect-tasks/node"
 * import { Effect, Schema } from "effect"
 * import { scryptSync } from "node:crypto"
 *
 * const Hash = Task.make("Hash", { payload: { text: Schema.String }, success: Schema.String, executor: "thread" })
 *
 * const HashLive = Hash.toLayer(({ text }) => Effect.sync(() => scryptSync(text, "salt", 64).toString("hex")))
 *
 * export const main = () => NodeExecutor.serve(TaskGroup.make(Hash), HashLive)
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const serve = <Tasks extends Task.Any, E>(
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: Layer.Layer<TaskGroup.Handler<Tasks>, E>
): void => {
  const program = Option.match(port.open(), {
    onNone: () =>
      Effect.zipRight(
        Console.error(
          "error: this module is the entry of NodeExecutor.layer, which starts it in a thread or a process"
        ),
        Effect.sync(() => {
          process.exitCode = 1
        })
      ),
    onSome: (port) => serveThrough(port, group, handlers)
  })
  Effect.runFork(program)
}

/**
 * The worker's side: a Scope that owns the fibers which perform runs.
 *
 * A consumer claims runs of the tasks that it serves, performs each in a fiber of its own, keeps their leases alive, and
 * settles them. It survives any outage of the backend. When its Scope closes, it shuts down in order: claiming stops,
 * running attempts get until the grace deadline, those still running are interrupted and their finalizers run, their runs
 * are given back or recorded as `interrupted`, and what is buffered is written.
 *
 * @since 0.1.0
 */
import { Clock, Context, Duration, Effect, Layer, type Scope } from "effect"
import type { Backend } from "./Backend.js"
import { Broker } from "./Broker.js"
import { TaskEvents } from "./internal/bus.js"
import * as consumer from "./internal/consumer.js"
import type { StoppedRun } from "./internal/consumerState.js"
import type { HandlerEntry } from "./internal/definition.js"
import * as metrics from "./internal/metrics.js"
import * as uuid7 from "./internal/uuid7.js"
import { Store } from "./Store.js"
import type * as Task from "./Task.js"
import { type BackendError, type DuplicateTask, InvalidOption } from "./TaskError.js"
import * as TaskGroup from "./TaskGroup.js"

/**
 * The options of a consumer.
 *
 * - `name`: the beginning of its id, to recognise it by. Default: `consumer`
 * - `maxConcurrentTasks`: how many runs it performs at one time. Default: 10
 * - `queues`: the queues it serves. Default: those that its tasks name
 * - `queueLimits`: how many runs of a queue, by its name, may be running at one time over all consumers; all consumers of the
 *   queue are to say the same. Default: no limit
 * - `prefetch`: the most runs that it claims beyond its free places. It does so only while runs are so short that it will
 *   have begun them within some 20 milliseconds, and gives back what has waited for 250. Default: 500
 * - `lease`: how long a claim holds without a sign of life. It is extended every third of it. After a crash another
 *   consumer takes the run over once it has ended. Default: 30 seconds
 * - `grace`: how long running attempts may go on when the consumer stops. Default: 30 seconds
 * - `cleanup`: how long an interrupted attempt's finalizers may take before it is reported as overrun and left behind.
 *   Default: 5 seconds
 * - `tracing`: whether the span of an attempt is a child of the span that queued the run, in one trace (`parent`), or
 *   begins a trace of its own with a link to it (`link`), which suits runs that are queued by thousands. Default: `parent`
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly name?: string | undefined
  readonly maxConcurrentTasks?: number | undefined
  readonly prefetch?: number | undefined
  readonly queues?: ReadonlyArray<string> | undefined
  readonly queueLimits?: { readonly [queue: string]: number } | undefined
  readonly lease?: Duration.DurationInput | undefined
  readonly grace?: Duration.DurationInput | undefined
  readonly cleanup?: Duration.DurationInput | undefined
  readonly tracing?: "parent" | "link" | undefined
}

/**
 * What a shutdown did: how many attempts finished within the grace, which runs were given back to the queue, which ended
 * as `interrupted`, and which ignored their interruption and were left behind (their leases will end).
 *
 * @since 0.1.0
 * @category models
 */
export interface ShutdownReport {
  readonly finished: number
  readonly givenBack: ReadonlyArray<StoppedRun>
  readonly interrupted: ReadonlyArray<StoppedRun>
  readonly overran: ReadonlyArray<StoppedRun>
}

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  StoppedRun
} from "./internal/consumerState.js"

/**
 * A consumer at work.
 *
 * - `id`: its name and a random part; stands in the attempts that it makes
 * - `alive`: its loops have not ended
 * - `ready`: alive, not stopping, and the backend answered when it last asked
 * - `running`, `runningOf`: how many runs it performs now, in all and of one task
 * - `gracefullyStop`: shuts it down as the closing of its Scope does, and tells what became of the runs. Stopping twice
 *   gives the same report
 *
 * @since 0.1.0
 * @category services
 */
export class TaskConsumer extends Context.Tag("@effect-tasks/core/TaskConsumer")<
  TaskConsumer,
  {
    readonly id: string
    readonly alive: Effect.Effect<boolean>
    readonly ready: Effect.Effect<boolean>
    readonly running: Effect.Effect<number>
    readonly runningOf: (task: Task.Any) => Effect.Effect<number>
    readonly gracefullyStop: Effect.Effect<ShutdownReport>
  }
>() {}

/**
 * Starts a consumer in this scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: Options = {}
): Effect.Effect<
  typeof TaskConsumer.Service,
  DuplicateTask | InvalidOption | BackendError,
  TaskGroup.Handler<Tasks> | TaskEvents | Backend | Scope.Scope
> =>
  Effect.gen(function* () {
    const tasks = yield* TaskGroup.byName(group)
    const context = yield* Effect.context<TaskGroup.Handler<Tasks>>()
    const entries = new Map<string, HandlerEntry>()
    for (const task of tasks.values()) {
      entries.set(task.name, context.unsafeMap.get(task.key))
    }
    const ids = yield* uuid7.make
    const [id] = ids.at(yield* Clock.currentTimeMillis, 1)
    const positive = (option: string, value: Duration.DurationInput) => checkDuration(option, Duration.decode(value))
    return yield* consumer.make({
      id: `${options.name ?? "consumer"}-${id}`,
      broker: yield* Broker,
      store: yield* Store,
      bus: yield* TaskEvents,
      meter: yield* metrics.make,
      tracing: options.tracing ?? "parent",
      entries,
      queues: options.queues ?? Array.from(new Set(group.tasks.map((task) => task.queueName))),
      queueLimits: yield* Effect.forEach(Object.entries(options.queueLimits ?? {}), ([queue, max]) =>
        Effect.map(checkCount(`queueLimits.${queue}`, max, 1), (maxConcurrency) => ({ queue, maxConcurrency }))
      ),
      maxConcurrentTasks: yield* checkCount("maxConcurrentTasks", options.maxConcurrentTasks ?? 10, 1),
      maxPrefetch: yield* checkCount("prefetch", options.prefetch ?? 500, 0),
      lease: yield* positive("lease", options.lease ?? "30 seconds"),
      grace: Duration.decode(options.grace ?? "30 seconds"),
      cleanup: Duration.decode(options.cleanup ?? "5 seconds")
    })
  })

const checkCount = (option: string, value: number, least: number): Effect.Effect<number, InvalidOption> =>
  Number.isSafeInteger(value) && value >= least
    ? Effect.succeed(value)
    : new InvalidOption({ option, value, expected: `an integer, ${least} or more` })

const checkDuration = (option: string, value: Duration.Duration): Effect.Effect<Duration.Duration, InvalidOption> =>
  Duration.isFinite(value) && Duration.toMillis(value) >= 100
    ? Effect.succeed(value)
    : new InvalidOption({ option, value: Duration.format(value), expected: "at least 100 milliseconds, and finite" })

/**
 * A consumer of a group of tasks. It needs the handler of every task of the group: a missing one is a type error that names
 * the task.
 *
 * @example
 * ```ts
 * import { Backend, Task, TaskConsumer, TaskGroup, TaskManager } from "@effect-tasks/core"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const Greet = Task.make("Greet", { payload: { name: Schema.String } })
 * const GreetLive = Greet.toLayer(({ name }) => Effect.log(`hello ${name}`))
 *
 * const Main = TaskConsumer.layer(TaskGroup.make(Greet), { maxConcurrentTasks: 20 }).pipe(
 *   Layer.provide(GreetLive),
 *   Layer.provideMerge(TaskManager.layer),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: Options = {}
): Layer.Layer<
  TaskConsumer,
  DuplicateTask | InvalidOption | BackendError,
  TaskGroup.Handler<Tasks> | TaskEvents | Backend
> => Layer.scoped(TaskConsumer, make(group, options))

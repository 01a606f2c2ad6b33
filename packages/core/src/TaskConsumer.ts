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
import type * as callbacks from "./internal/callbacks.js"
import * as checking from "./internal/checking.js"
import * as consumer from "./internal/consumer.js"
import type { HandlerEntry } from "./internal/definition.js"
import * as handlers from "./internal/handlers.js"
import * as locks from "./internal/locks.js"
import type * as loops from "./internal/loops.js"
import * as metrics from "./internal/metrics.js"
import { defaultMaxLines } from "./internal/runLog.js"
import type * as status from "./internal/status.js"
import type * as stopping from "./internal/stopping.js"
import type * as stuck from "./internal/stuck.js"
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
 * - `cleanup`: how long an interrupted attempt's finalizers may take before it is reported as stuck and its place is filled
 *   again; at a shutdown, before it is reported as overrun and left behind. Default: 5 seconds
 * - `tracing`: whether the span of an attempt is a child of the span that queued the run, in one trace (`parent`), or
 *   begins a trace of its own with a link to it (`link`), which suits runs that are queued by thousands. Default: `parent`
 * - `maxLogLines`: how many lines of a run's log are kept in the store: of more the first nine tenths and the last ones, with a
 *   word on how many were left out. Observers see all of them. 0 keeps none. Default: 1,000
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
  readonly maxLogLines?: number | undefined
}

/**
 * What a shutdown did: how many attempts finished within the grace, which runs were given back to the queue, which ended
 * as `interrupted`, and which ignored their interruption and were left behind: their leases are no longer extended, so others
 * take them over, and what they still come to is not written.
 *
 * @since 0.1.0
 * @category models
 */
export interface ShutdownReport extends stopping.ShutdownReport {}

/**
 * What a drain did: all that its shutdown tells of, and `ended`, how many runs have ended in each state since it began.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainReport extends stopping.DrainReport {}

/**
 * One of a consumer's loops, as `status` tells of it.
 *
 * - `name`: `exchange` (claims runs and hands in their ends; `exchange ahead` is its second, where the broker is another
 *   process), `leases`, `reports` (stores log lines and progress), `signals`, `presence` (the consumer's record),
 *   `interruptions` (looks for handlers that ignore theirs) and `callbacks`
 * - `state`: `working`; `backingOff` before it tries again what has failed; `ended` with the consumer
 * - `failures`: how many there have been in a row; 0 when it has worked last
 * - `lastError`: the message of the latest failure, and when it was (epoch milliseconds); it stays after a recovery
 *
 * @since 0.1.0
 * @category models
 */
export interface LoopStatus extends loops.LoopStatus {}

/**
 * A run whose handler ignores its interruption. Its place is open to other runs, its claim is kept until it does end.
 *
 * - `reason`: why it was interrupted
 * - `since`: when it was interrupted (epoch milliseconds)
 *
 * @since 0.1.0
 * @category models
 */
export interface StuckRun extends stuck.StuckRun {}

/**
 * What a consumer tells of itself.
 *
 * - `phase`: `running`, `draining`, `stopping` or `stopped`
 * - `alive`, `ready`: as below
 * - `loops`: each of its loops
 * - `running`, `runningByTask`: how many runs have begun and are not settled yet, in all and by the name of the task
 * - `waiting`: how many runs it has claimed ahead
 * - `stuck`: the runs whose handlers ignore their interruption
 *
 * @since 0.1.0
 * @category models
 */
export interface Status extends status.Status {}

/**
 * How a callback is called.
 *
 * - `every`: how long after its registration it is called first, and from the beginning of one call to that of the next. Calls
 *   do not overlap: one that takes longer puts the next off until it has ended
 * - `jitter`: each of these times is made longer or shorter by up to so much, drawn anew. Default: none
 * - `once`: it is called a single time. Default: false
 *
 * @since 0.1.0
 * @category models
 */
export interface CallbackOptions extends callbacks.CallbackOptions {}

/**
 * A callback that is registered; `unregister` ends it, and interrupts a call under way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Callback extends callbacks.Callback {}

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
 * - `status`: what it does now, with the state of each of its loops
 * - `alive`: it serves a task, and its loops have not ended. A loop that fails or dies is begun again, so only the consumer's
 *   end ends them
 * - `ready`: alive, neither draining nor stopping, and the backend answered when it last asked: within the last three poll
 *   intervals, and without letting it wait for a third of the lease
 * - `running`, `runningOf`: how many runs it performs now, in all and of one task
 * - `add`: serves the tasks of a group too, as soon as their handlers are there. All or none are added; a task that it serves
 *   already stays as it is, another task of the same name is a `DuplicateTask`. Unless the consumer was given `queues`, it
 *   serves those of the new tasks too
 * - `remove`: claims no more runs of a task, gives back those that have not begun, and returns when no other is in flight
 * - `registerCallback`: calls an effect every so often for as long as the consumer lives, or until it is unregistered,
 *   which interrupts a call under way. A call that fails or dies is logged, and the next one comes all the same. Each has a Scope of
 *   its own
 * - `drain`: performs all that is due, and what becomes due meanwhile; then stops as `gracefullyStop` does. What is scheduled
 *   for later is left, and so are runs that a limit or a hold keeps back. The grace begins after it, so only the end of the
 *   Scope, or `gracefullyStop`, cuts it. Draining twice gives the same report
 * - `gracefullyStop`: shuts it down as the closing of its Scope does, and tells what became of the runs. Stopping twice
 *   gives the same report
 *
 * @example
 * ```ts
 * import { TaskConsumer } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const batch = Effect.gen(function* () {
 *   const consumer = yield* TaskConsumer.TaskConsumer
 *   yield* consumer.registerCallback(
 *     Effect.flatMap(consumer.status, ({ running, waiting }) => Effect.log({ running, waiting })),
 *     { every: "1 minute", jitter: "5 seconds" }
 *   )
 *   const { ended } = yield* consumer.drain
 *   return ended.failure ?? 0
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class TaskConsumer extends Context.Tag("@effect-tasks/core/TaskConsumer")<
  TaskConsumer,
  {
    readonly id: string
    readonly status: Effect.Effect<Status>
    readonly alive: Effect.Effect<boolean>
    readonly ready: Effect.Effect<boolean>
    readonly running: Effect.Effect<number>
    readonly runningOf: (task: Task.Any) => Effect.Effect<number>
    readonly add: <Tasks extends Task.Any>(
      group: TaskGroup.TaskGroup<Tasks>
    ) => Effect.Effect<void, DuplicateTask, TaskGroup.Handler<Tasks>>
    readonly remove: (task: Task.Any) => Effect.Effect<void>
    readonly registerCallback: <E, R>(
      callback: Effect.Effect<unknown, E, R>,
      options: CallbackOptions
    ) => Effect.Effect<Callback, InvalidOption, Exclude<R, Scope.Scope>>
    readonly drain: Effect.Effect<DrainReport>
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
    const entries = yield* entriesOf(group)
    const ids = yield* uuid7.make
    const [id] = ids.at(yield* Clock.currentTimeMillis, 1)
    const positive = (option: string, value: Duration.DurationInput) => checkDuration(option, Duration.decode(value))
    const made = yield* consumer.make({
      id: `${options.name ?? "consumer"}-${id}`,
      broker: yield* Broker,
      store: yield* Store,
      bus: yield* TaskEvents,
      meter: yield* metrics.make,
      locks: yield* locks.make(yield* Broker),
      tracing: options.tracing ?? "parent",
      entries,
      queues: options.queues ?? null,
      queueLimits: yield* Effect.forEach(Object.entries(options.queueLimits ?? {}), ([queue, max]) =>
        Effect.map(checking.count(`queueLimits.${queue}`, max, 1), (maxConcurrency) => ({ queue, maxConcurrency }))
      ),
      maxConcurrentTasks: yield* checking.count("maxConcurrentTasks", options.maxConcurrentTasks ?? 10, 1),
      maxPrefetch: yield* checking.count("prefetch", options.prefetch ?? 500, 0),
      maxLogLines: yield* checking.count("maxLogLines", options.maxLogLines ?? defaultMaxLines, 0),
      lease: yield* positive("lease", options.lease ?? "30 seconds"),
      grace: Duration.decode(options.grace ?? "30 seconds"),
      cleanup: Duration.decode(options.cleanup ?? "5 seconds")
    })
    return { ...made, add: (group) => Effect.flatMap(entriesOf(group), made.add) }
  })

/** The handlers of a group, by the names of its tasks. */
const entriesOf = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>
): Effect.Effect<ReadonlyMap<string, HandlerEntry>, DuplicateTask, TaskGroup.Handler<Tasks>> =>
  Effect.flatMap(TaskGroup.byName(group), (tasks) => handlers.entriesOf(tasks.values()))

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

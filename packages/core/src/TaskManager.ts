/**
 * The producer's side: queue, wait, look, cancel, retry, and perform in place.
 *
 * Most programs use it through a task (`SendEmail.queue(…)`); the service itself has what concerns runs of any task.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, type Scope } from "effect"
import type { Backend } from "./Backend.js"
import { Broker } from "./Broker.js"
import * as bus from "./internal/bus.js"
import * as checking from "./internal/checking.js"
import * as locks from "./internal/locks.js"
import * as manager from "./internal/manager.js"
import { type RuntimeQueue, type RuntimeQueueOptions, TaskManager } from "./internal/managerTag.js"
import * as metrics from "./internal/metrics.js"
import { defaultMaxLines } from "./internal/runLog.js"
import * as uuid7 from "./internal/uuid7.js"
import * as waiters from "./internal/waiters.js"
import { Store } from "./Store.js"
import type { InvalidOption } from "./TaskError.js"
import type { TaskEvents } from "./TaskEvents.js"
import { TaskLogger } from "./TaskLogger.js"

export type {
  /**
   * What `clear` has cancelled: how many runs in all, and of each priority.
   *
   * @since 0.1.0
   * @category models
   */
  Cleared,
  /**
   * What `edit` changes: the priority, and when the run is due (`delay` from now, or `at` a `Date` or epoch milliseconds).
   *
   * @since 0.1.0
   * @category models
   */
  EditOptions,
  /**
   * How many runs have ended at once, and of how many the consumer was asked.
   *
   * @since 0.1.0
   * @category models
   */
  ManyCancelled,
  /**
   * A page of runs; `next` is the `before` of the page after it, `null` on the last.
   *
   * @since 0.1.0
   * @category models
   */
  Page,
  /**
   * What `runs` asks for: the filters of `Store.RunQuery`, and how many (default 50, at the most 1,000).
   *
   * @since 0.1.0
   * @category models
   */
  RunsQuery,
  /**
   * A function that queues from code that is no Effect, and returns at once.
   *
   * - `"accepted"`: the run will be queued, or its failure told
   * - `"full"`: so many wait already; offer it later, or leave it
   * - `"closed"`: the scope of the queue has closed
   *
   * `pending` is how many were accepted and are not queued yet; `flush` waits until there are none.
   *
   * @since 0.1.0
   * @category models
   */
  RuntimeQueue,
  /**
   * What was accepted, and could not be queued, and why: nothing of it was queued, unless the backend did not say.
   *
   * @since 0.1.0
   * @category models
   */
  RuntimeQueueFailure,
  /**
   * - `capacity`: how many may wait before the next is refused as `"full"`. Default: 10,000
   * - `closeTimeout`: how long the closing of the scope waits for the backend; what is left then is told as a failure.
   *   Default: 30 seconds
   * - `onError`: is told of each run that could not be queued. Default: a warning in the log
   *
   * @since 0.1.0
   * @category models
   */
  RuntimeQueueOptions,
  /**
   * What is paused: a queue, or a task by its name.
   *
   * @since 0.1.0
   * @category models
   */
  Target
} from "./internal/managerTag.js"
export {
  /**
   * The manager.
   *
   * - `get`, `logs`: the record and the log of a run
   * - `runs`: a page of runs, newest first, by task, state, queue, tag, group, parent, root and time
   * - `counts`: how many runs are in each state
   * - `cancel`: ends a waiting run, asks the consumer of a running one to interrupt it
   * - `retry`: queues an ended run once more, as a new run with `retryOf`
   * - `count`, `cancelAll`, `retryAll`, `purge`: what matches a filter, counted or acted on
   * - `clear`: cancels what waits in a queue, with counts per priority
   * - `edit`: priority and due time of a run that waits
   * - `pause`, `resume`: a queue or a task; `disable`, `enable`: a task; `controls`: what is in force
   * - `queue`, `createRun`, `execute`, `handle`: what `Task` offers in typed form
   * - `queueRun`: hands over what `createRun` has made
   * - `runtimeQueue`: a plain function that queues
   * - `acquireLock`, `withLock`: what `TaskLock` offers
   *
   * @example
   * ```ts
   * import { TaskManager } from "@effect-tasks/core"
   * import { Effect } from "effect"
   *
   * const retryFailures = Effect.gen(function*() {
   *   const manager = yield* TaskManager.TaskManager
   *   const page = yield* manager.runs({ task: "SendEmail", state: ["failure"] })
   *   return yield* Effect.forEach(page.items, (run) => manager.retry(run.id))
   * })
   * ```
   *
   * @since 0.1.0
   * @category services
   */
  TaskManager
} from "./internal/managerTag.js"

/**
 * - `maxPayloadBytes`: the largest encoded payload, in bytes. Default: 1 MiB
 * - `maxLogLines`: how many log lines are kept of a run that is performed in place; the logs of others are read accordingly, so
 *   it is to be that of the consumers (see `TaskConsumer.Options`). Default: 1,000
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly maxPayloadBytes?: number | undefined
  readonly maxLogLines?: number | undefined
}

/**
 * The default of `maxPayloadBytes`: 1 MiB.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxPayloadBytes = 1_048_576

/**
 * The default of `maxLogLines`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxLogLines: number = defaultMaxLines

/**
 * A manager, and the events of its runtime, over a backend.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<TaskManager | TaskEvents, InvalidOption, Backend> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.all({
        maxPayloadBytes: checking.count("maxPayloadBytes", options.maxPayloadBytes ?? defaultMaxPayloadBytes, 1),
        maxLogLines: checking.count("maxLogLines", options.maxLogLines ?? defaultMaxLines, 0)
      }),
      made
    )
  )

const made = (options: { readonly maxPayloadBytes: number; readonly maxLogLines: number }) =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const broker = yield* Broker
      const store = yield* Store
      const meter = yield* metrics.make
      const events = new bus.Bus(meter)
      yield* Effect.forEach(yield* TaskLogger, (observer) => events.observe(observer), { discard: true })
      const service = manager.make({
        broker,
        store,
        bus: events,
        meter,
        ids: yield* uuid7.make,
        waiters: yield* waiters.make(broker, store),
        locks: yield* locks.make(broker),
        ...options
      })
      return Context.make(TaskManager, service).pipe(Context.add(bus.TaskEvents, events))
    })
  )

/**
 * `layerWith` and its defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<TaskManager | TaskEvents, never, Backend> = made({
  maxPayloadBytes: defaultMaxPayloadBytes,
  maxLogLines: defaultMaxLines
})

/**
 * A plain function that queues, for callbacks of code that is no Effect: it returns at once, and what it accepts is handed to
 * the backend soon after, many runs at a time. While the backend is away, what was accepted waits.
 *
 * When the scope closes, nothing more is accepted, and all that was is durable before the closing is over.
 *
 * The payload is checked when it is handed over, so a caller must not change it afterwards; one that does not fit its schema
 * is told to `onError`, as is everything else that could not be queued. Times count from the call.
 *
 * @example
 * ```ts
 * import { Task, TaskManager } from "@effect-tasks/core"
 * import { Effect, Schema } from "effect"
 *
 * const Import = Task.make("Import", { payload: { path: Schema.String } })
 *
 * declare const watch: (onChange: (path: string) => void) => Effect.Effect<never>
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* TaskManager.runtimeQueue({ onError: ({ error }) => console.error(error.message) })
 *   yield* watch((path) => {
 *     if (queue(Import, { path }) !== "accepted") {
 *       console.error(`${path} is left out`)
 *     }
 *   })
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category queueing
 */
export const runtimeQueue = (
  options: RuntimeQueueOptions = {}
): Effect.Effect<RuntimeQueue, InvalidOption, TaskManager | Scope.Scope> =>
  Effect.flatMap(TaskManager, (manager) => manager.runtimeQueue(options))

/**
 * The producer's side: queue, wait, look, cancel, retry, and perform in place.
 *
 * Most programs use it through a task (`SendEmail.queue(…)`); the service itself has what concerns runs of any task.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer } from "effect"
import type { Backend } from "./Backend.js"
import { Broker } from "./Broker.js"
import * as bus from "./internal/bus.js"
import { checkCount } from "./internal/definition.js"
import * as manager from "./internal/manager.js"
import { TaskManager } from "./internal/managerTag.js"
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
   * - `queue`, `execute`, `handle`: what `Task` offers in typed form
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
 * A manager, and the events of its runtime, over a backend.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<TaskManager | TaskEvents, InvalidOption, Backend> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.all({
        maxPayloadBytes: checkCount("maxPayloadBytes", options.maxPayloadBytes ?? defaultMaxPayloadBytes, 1),
        maxLogLines: checkCount("maxLogLines", options.maxLogLines ?? defaultMaxLines, 0)
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

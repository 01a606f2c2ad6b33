/**
 * What the runtime counts and measures, as metrics of Effect.
 *
 * Managers and consumers count by themselves: whoever exports the metrics of an application (`@effect/opentelemetry`, or
 * `Metric.snapshot`) finds them under the names of `all`. What only the backend knows, how many runs wait and for how long,
 * is asked for by `layer`. The labels that hold where a manager or a consumer is made (`Effect.tagMetrics`) stand on its
 * metrics too. Durations are in seconds.
 *
 * @since 0.1.0
 */
import { Duration, Effect, Layer, Schedule } from "effect"
import { Broker } from "./Broker.js"
import * as metrics from "./internal/metrics.js"
import { Store } from "./Store.js"

export type {
  /**
   * A metric: its name, its kind, the labels that it has, and what it tells.
   *
   * @since 0.1.0
   * @category models
   */
  Description
} from "./internal/metrics.js"

export {
  /**
   * The metrics that there are. Their names and labels are part of the public interface.
   *
   * @since 0.1.0
   * @category constants
   */
  all
} from "./internal/metrics.js"

/**
 * - `every`: how long between two questions to the store. Default: 15 seconds
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly every?: Duration.DurationInput | undefined
}

/**
 * Asks the store how many unfinished runs there are, and shows it as `effect_tasks_queue_depth` and
 * `effect_tasks_queue_oldest_due_seconds`. All machines would tell the same, so one of them is enough. When the store does
 * not answer, the gauges stay as they are.
 *
 * @example
 * ```ts
 * import { Backend, TaskManager, TaskMetrics } from "@effect-tasks/core"
 * import { Layer } from "effect"
 *
 * const Main = Layer.mergeAll(TaskManager.layer, TaskMetrics.layer({ every: "30 seconds" })).pipe(
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<never, never, Store | Broker> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const broker = yield* Broker
      const store = yield* Store
      const meter = new metrics.QueueMeter(yield* Effect.metricLabels)
      yield* Effect.zipWith(store.queues, broker.now, (queues, now) => meter.show(queues, now)).pipe(
        Effect.catchAllCause((cause) => Effect.logWarning("the depths of the queues could not be read", cause)),
        Effect.repeat(Schedule.spaced(Duration.decode(options.every ?? "15 seconds"))),
        Effect.withTracerEnabled(false),
        Effect.forkScoped
      )
    })
  )

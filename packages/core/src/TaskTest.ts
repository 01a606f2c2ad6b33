/**
 * The test kit of an application: its tasks on a memory backend, in virtual time, with what they logged at hand.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer } from "effect"
import * as Backend from "./Backend.js"
import type { LogLine } from "./Store.js"
import type { TaskEvent } from "./TaskEvent.js"
import type { TaskEvents } from "./TaskEvents.js"
import * as TaskLogger from "./TaskLogger.js"
import * as TaskManager from "./TaskManager.js"

/**
 * What happened so far: every event, and every line that handlers logged, in order.
 *
 * @since 0.1.0
 * @category services
 */
export class Recorded extends Context.Tag("@effect-tasks/core/TaskTest/Recorded")<
  Recorded,
  {
    readonly events: Effect.Effect<ReadonlyArray<TaskEvent>>
    readonly lines: Effect.Effect<ReadonlyArray<LogLine>>
  }
>() {}

/**
 * A memory backend, a manager, and a record of events and log lines. It takes the test's `Clock`, so delays, retries and
 * timeouts pass with `TestClock.adjust`.
 *
 * @example
 * ```ts
 * import { Task, TaskConsumer, TaskGroup, TaskTest } from "@effect-tasks/core"
 * import { Effect, Layer, TestClock, TestContext } from "effect"
 *
 * const Remind = Task.make("Remind")
 * const Workers = TaskConsumer.layer(TaskGroup.make(Remind)).pipe(
 *   Layer.provide(Remind.toLayer(() => Effect.log("remember"))),
 *   Layer.provideMerge(TaskTest.layer)
 * )
 *
 * const test = Effect.gen(function*() {
 *   const run = yield* Remind.queue(undefined, { delay: "1 hour" })
 *   yield* TestClock.adjust("1 hour")
 *   return (yield* run.poll).state // "success"
 * }).pipe(Effect.provide(Workers), Effect.provide(TestContext.TestContext))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<TaskManager.TaskManager | TaskEvents | Backend.Backend | Recorded> = Layer.unwrapEffect(
  Effect.sync(() => {
    const events: Array<TaskEvent> = []
    const lines: Array<LogLine> = []
    const observer: TaskLogger.Observer = {
      name: "TaskTest",
      onEvent: (event) => Effect.sync(() => events.push(event)),
      onLine: (line) => Effect.sync(() => lines.push(line))
    }
    const recorded = Layer.succeed(Recorded, {
      events: Effect.sync(() => events.slice()),
      lines: Effect.sync(() => lines.slice())
    })
    return Layer.provideMerge(TaskManager.layer, Backend.layerMemory).pipe(
      Layer.provide(TaskLogger.layer(observer)),
      Layer.merge(recorded)
    )
  })
)

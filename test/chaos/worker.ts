/* A worker process of the chaos tests. Its argument says what it is; on standard output it tells what it does. */
import { NodeRuntime } from "@effect/platform-node"
import { TaskConsumer, TaskEvents, TaskManager } from "@effect-tasks/core"
import { Cause, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import { backendOf } from "./backends.js"
import { say } from "./lines.js"
import { OrdersText } from "./orders.js"
import * as ShiftedClock from "./shiftedClock.js"
import { Chaos, LimitedLive, lease, limits, WorkLive } from "./tasks.js"

const Told = Layer.scopedDiscard(
  TaskEvents.on("success", (event) => say("settled", event.run.id)).pipe(Effect.zipRight(say("ready", "to work")))
)

/** What would stand in the log of an application: the test shows it when it fails. */
const Warned = Logger.replace(
  Logger.defaultLogger,
  Logger.make(({ cause, logLevel, message }) => {
    if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) {
      const why = Cause.isEmpty(cause) ? "" : Cause.pretty(cause)
      Effect.runSync(say("warned", `${logLevel.label} ${[message].flat().map(String).join(" ")} ${why}`))
    }
  })
)

const Main = Layer.unwrapEffect(
  Effect.map(Schema.decodeUnknown(OrdersText)(process.argv[2]), ({ backend, clockShift, name }) =>
    TaskConsumer.layer(Chaos, { name, lease, maxConcurrentTasks: 5, queueLimits: { limited: limits.queue } }).pipe(
      Layer.provide([WorkLive, LimitedLive]),
      Layer.provideMerge(Told),
      Layer.provide(TaskManager.layer),
      Layer.provide(backendOf(backend)),
      Layer.provide(Warned),
      Layer.provide(ShiftedClock.layer(clockShift ?? 0))
    )
  )
)

NodeRuntime.runMain(Layer.launch(Main))

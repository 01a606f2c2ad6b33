/* A worker process of the chaos tests: `worker.ts FILE NAME`. It tells on standard output what it has settled. */
import { NodeRuntime } from "@effect/platform-node"
import { TaskConsumer, TaskEvents, TaskManager } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Console, Effect, Layer, Logger } from "effect"
import { Chaos, lease, WorkLive } from "./tasks.js"

const [filename = "", name = ""] = process.argv.slice(2)

const Told = Layer.scopedDiscard(
  TaskEvents.on("success", (event) => Console.log(`settled ${event.run.id}`)).pipe(
    Effect.zipRight(Console.log("ready"))
  )
)

const Main = TaskConsumer.layer(Chaos, { name, lease, maxConcurrentTasks: 5 }).pipe(
  Layer.provide(WorkLive),
  Layer.merge(Told),
  Layer.provide(TaskManager.layer),
  Layer.provide(SqliteBackend.layer({ filename })),
  Layer.provide(Logger.remove(Logger.defaultLogger))
)

NodeRuntime.runMain(Layer.launch(Main))

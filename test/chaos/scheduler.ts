/* A scheduler process of the chaos tests. Its argument says where the backend is; the test declares the schedule. */
import { NodeRuntime } from "@effect/platform-node"
import { TaskGroup, TaskManager, TaskScheduler } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { backendOf } from "./backends.js"
import { Beating } from "./beats.js"
import { say } from "./lines.js"

const Main = Layer.unwrapEffect(
  Effect.map(Schema.decodeUnknown(Schema.parseJson(Beating))(process.argv[2]), ({ backend }) =>
    Layer.scopedDiscard(say("ready", "to fire")).pipe(
      Layer.provide(TaskScheduler.layer(TaskGroup.make(), { scope: "process" })),
      Layer.provide(TaskManager.layer),
      Layer.provide(backendOf(backend))
    )
  )
)

NodeRuntime.runMain(Layer.launch(Main))

/* A scheduler process of the chaos tests. Its argument says where the backend is, and when the ticks begin and end. */
import { NodeRuntime } from "@effect/platform-node"
import { TaskManager, TaskScheduler } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { backendOf } from "./backends.js"
import { Beating, beats } from "./beats.js"
import { say } from "./lines.js"

const Main = Layer.unwrapEffect(
  Effect.map(Schema.decodeUnknown(Schema.parseJson(Beating))(process.argv[2]), ({ backend, startAt }) =>
    Layer.scopedDiscard(say("ready", "to fire")).pipe(
      Layer.provide(TaskScheduler.layer(beats(startAt))),
      Layer.provide(TaskManager.layer),
      Layer.provide(backendOf(backend))
    )
  )
)

NodeRuntime.runMain(Layer.launch(Main))

/** A worker: a process of its own. The demo starts it, kills it, and starts another. */
import { FetchHttpClient } from "@effect/platform"
import { NodeContext, NodeStream } from "@effect/platform-node"
import { NodeTasks } from "@effect-tasks/node"
import { SqliteBackend } from "@effect-tasks/sql"
import { Config, Effect, Layer, Stream } from "effect"
import { layer as ClientLive } from "./client.js"
import { GzipFileLive, HashFileLive } from "./handlers.js"
import { FileTasks } from "./tasks.js"

/** However the demo ends, its end of this pipe closes, and no worker stays behind. */
const EndWithParent = Layer.scopedDiscard(
  Stream.runDrain(NodeStream.stdin).pipe(
    Effect.ignore,
    Effect.zipRight(Effect.sync(() => process.kill(process.pid, "SIGTERM"))),
    Effect.forkScoped
  )
)

const Worker = NodeTasks.consumer(FileTasks).pipe(
  Layer.provide([HashFileLive, GzipFileLive]),
  Layer.provide(NodeTasks.manager()),
  Layer.provide(SqliteBackend.layerConfig({ filename: Config.string("EFFECT_TASKS_SQLITE_FILENAME") })),
  Layer.provide(ClientLive),
  Layer.provide([FetchHttpClient.layer, NodeContext.layer])
)

NodeTasks.runMain(Layer.merge(Worker, EndWithParent))

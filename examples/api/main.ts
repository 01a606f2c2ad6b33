/* Define, handle, compose: an application of two tasks on SQLite. Run it, then press Ctrl-C. */
import { TaskConsumer, TaskManager } from "@effect-tasks/core"
import { NodeTasks } from "@effect-tasks/node"
import { SqliteBackend } from "@effect-tasks/sql"
import { Layer } from "effect"
import { Mailer } from "./mailer.js"
import { DigestLive, Mail, SendEmailLive } from "./tasks.js"

// Needs every handler of Mail: leaving DigestLive out is a type error that names "Digest".
const Workers = TaskConsumer.layer(Mail, { maxConcurrentTasks: 20, grace: "30 seconds" }).pipe(
  Layer.provide([SendEmailLive, DigestLive])
)

const Main = Workers.pipe(
  Layer.provideMerge(TaskManager.layer),
  Layer.provide(SqliteBackend.layer({ filename: "tasks.db" })),
  Layer.provide(Mailer.Live)
)

NodeTasks.runMain(Main) // SIGINT/SIGTERM: structured shutdown within the grace, exit code 0; second signal: at once, 130

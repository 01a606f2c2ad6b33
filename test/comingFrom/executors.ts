/** What the rows about threads and processes share: an application whose tasks are performed there, real ones. */
import { Backend, TaskConsumer, TaskManager, type TaskRun } from "@effect-tasks/core"
import { NodeExecutor } from "@effect-tasks/node"
import { Effect, Layer, Option, Stream } from "effect"
import { bundle } from "../executor/bundle.js"
import { type Deed, Group, type InProcess, type InThread } from "../executor/tasks.js"

/** The application, with the workers of `test/executor`: they do the deed that they are given. */
export const elsewhere = (options: Omit<NodeExecutor.Options, "entry"> = {}) =>
  Layer.unwrapScoped(
    Effect.map(bundle, (entryOf) =>
      TaskConsumer.layer(Group, { grace: 0 }).pipe(
        Layer.provide(NodeExecutor.layer(Group, { entry: entryOf("worker"), poolSize: 1, ...options })),
        Layer.provideMerge(TaskManager.layer),
        Layer.provideMerge(Backend.layerMemory)
      )
    )
  )

/** Where a deed was done. */
export interface Facts {
  readonly pid: number
  readonly isMainThread: boolean
  readonly threadId: number
}

/** Has a deed done, and gives what came of it. */
export const perform = (task: typeof InThread | typeof InProcess, deed: Deed) =>
  task.queueAndWait({ deed }, { timeout: "30 seconds" })

/** Waits for the first report of a deed: the id of its thread or process. */
export const begun = (run: Pick<TaskRun.Handle<typeof InThread>, "progress">) =>
  Effect.map(Stream.runHead(run.progress), (progress) => Option.getOrThrow(progress).value)

/** Whether a process is there. */
export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** What is to be done: two tasks, and how they fail, wait and are tried again. No code that does it. */
import { Task, TaskGroup } from "@effect-tasks/core"
import { Schedule, Schema } from "effect"

/** A file: where it is, and the name under which it is reported. */
export const SourceFile = Schema.Struct({ name: Schema.String, path: Schema.String })

export type SourceFile = typeof SourceFile.Type

export class CannotRead extends Schema.TaggedError<CannotRead>()("CannotRead", {
  path: Schema.String,
  reason: Schema.String
}) {}

export class ServiceFailed extends Schema.TaggedError<ServiceFailed>()("ServiceFailed", { reason: Schema.String }) {}

/** One run per file. It queues a `GzipFile` of its own. */
export const HashFile = Task.make("HashFile", {
  description: "Hashes a file, lets it be compressed, and reports the hash to the service",
  payload: SourceFile,
  success: Schema.Struct({ bytes: Schema.Number, sha256: Schema.String }),
  error: Schema.Union(CannotRead, ServiceFailed),
  // The input of the schedule is the error, a `TaskTimeout` or a `TaskDefect`. A file that is gone stays gone.
  retry: Schedule.exponential("100 millis", 1.5).pipe(
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(10)),
    Schedule.whileInput((failure: Task.Failure<CannotRead | ServiceFailed>) => failure._tag !== "CannotRead")
  ),
  timeout: "1 second"
})

export const GzipFile = Task.make("GzipFile", {
  description: "Compresses a file and keeps the size",
  payload: SourceFile,
  success: Schema.Struct({ bytes: Schema.Number, gzipped: Schema.Number }),
  error: CannotRead,
  // before the files that still wait, so that each is done before the next is begun
  priority: "high"
})

export const FileTasks = TaskGroup.make(HashFile, GzipFile)

import * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import { Schema } from "effect"

/*
 * What a pool and its workers tell each other: JSON texts, over the port of a thread or the channel of a child process.
 * Whatever else goes over these is not for us.
 */

/** Marks the environment of a child process that is a worker, and the data of a thread that is one. */
export const mark = "EFFECT_TASKS_WORKER"

const tagged = Schema.TaggedStruct

const ToWorker = Schema.Union(
  tagged("Perform", { id: Schema.Number, request: TaskExecutor.Request }),
  tagged("Interrupt", { id: Schema.Number }),
  tagged("Close", {})
)

/** What a worker is told. */
export type ToWorker = typeof ToWorker.Type

const FromWorker = Schema.Union(
  tagged("Ready", { tasks: Schema.Array(Schema.String) }),
  tagged("Failed", { reason: Schema.String }),
  tagged("Line", { line: TaskExecutor.Line }),
  tagged("Report", { id: Schema.Number, report: TaskExecutor.Report }),
  tagged("Ended", { id: Schema.Number, end: TaskExecutor.End })
)

/** What a worker tells: a line is one that belongs to no attempt. */
export type FromWorker = typeof FromWorker.Type

export const decodeToWorker = Schema.decodeUnknownOption(Schema.parseJson(ToWorker))

export const decodeFromWorker = Schema.decodeUnknownOption(Schema.parseJson(FromWorker))

/** A message as a text. A result that is not JSON is one that does not fit. */
export const encode = (message: ToWorker | FromWorker): string => {
  try {
    return JSON.stringify(message)
  } catch (error) {
    if (message._tag !== "Ended") {
      throw error
    }
    const end = { _tag: "Outcome", outcome: { _tag: "ResultInvalid", issue: `its encoded form is not JSON: ${error}` } }
    return JSON.stringify({ ...message, end })
  }
}

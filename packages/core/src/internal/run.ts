import { Schema } from "effect"
import { TaskState } from "../TaskState.js"

/** The id of a run: a UUID of version 7, so ids sort by the time of their making. */
export const RunId = Schema.String.pipe(Schema.brand("@effect-tasks/core/RunId"))

export type RunId = typeof RunId.Type

const tagged = Schema.TaggedStruct

/** What stands in the place of a value that cannot be decrypted. Documented in `TaskRun`. */
export class Encrypted extends Schema.TaggedClass<Encrypted>("@effect-tasks/core/TaskRun/Encrypted")("Encrypted", {
  keyId: Schema.String
}) {}

/** How an attempt, or a run as a whole, ended. Values and errors are in their encoded form. */
export const Outcome = Schema.Union(
  tagged("Success", { value: Schema.optional(Schema.Unknown) }),
  tagged("Failure", { error: Schema.Unknown, cause: Schema.String }),
  tagged("Defect", { name: Schema.String, message: Schema.String, cause: Schema.String }),
  tagged("Timeout", { timeoutMillis: Schema.Number }),
  tagged("Aborted", { reason: Schema.String }),
  tagged("Cancelled", { reason: Schema.String }),
  tagged("Interrupted", { reason: Schema.String }),
  tagged("RateLimited", { retryAfterMillis: Schema.Number }),
  tagged("Crashed", {}),
  tagged("ExecutorCrashed", { reason: Schema.String }),
  tagged("TooManyCrashes", { crashes: Schema.Number }),
  tagged("PayloadInvalid", { issue: Schema.String }),
  tagged("ResultInvalid", { issue: Schema.String }),
  tagged("Undecryptable", { keyId: Schema.String }),
  Encrypted
)

export type Outcome = typeof Outcome.Type

/** One try at a run. */
export class Attempt extends Schema.Class<Attempt>("@effect-tasks/core/TaskRun/Attempt")({
  number: Schema.Number,
  consumer: Schema.String,
  startedAt: Schema.Number,
  endedAt: Schema.Number,
  outcome: Outcome
}) {}

/** One line of a run's log. Documented in `Store`. */
export class LogLine extends Schema.Class<LogLine>("@effect-tasks/core/Store/LogLine")({
  runId: RunId,
  seq: Schema.Number,
  attempt: Schema.Number,
  at: Schema.Number,
  level: Schema.String,
  message: Schema.String,
  annotations: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
  spans: Schema.Array(Schema.String)
}) {}

/** How far a handler says it has come. */
export const Progress = Schema.Struct({ value: Schema.Number, message: Schema.NullOr(Schema.String) })

/** The public record of a run. Documented in `TaskRun`. */
export class TaskRun extends Schema.Class<TaskRun>("@effect-tasks/core/TaskRun")({
  id: RunId,
  task: Schema.String,
  queue: Schema.String,
  state: TaskState,
  priority: Schema.Number,
  payload: Schema.Unknown,
  payloadVersion: Schema.Number,
  createdAt: Schema.Number,
  dueAt: Schema.Number,
  startedAt: Schema.NullOr(Schema.Number),
  endedAt: Schema.NullOr(Schema.Number),
  attempt: Schema.Number,
  crashes: Schema.Number,
  snoozes: Schema.Number,
  expiresAt: Schema.NullOr(Schema.Number),
  consumer: Schema.NullOr(Schema.String),
  attempts: Schema.Array(Attempt),
  outcome: Schema.NullOr(Outcome),
  progress: Schema.NullOr(Progress),
  tags: Schema.Array(Schema.String),
  group: Schema.NullOr(Schema.String),
  idempotencyKey: Schema.NullOr(Schema.String),
  parentId: Schema.NullOr(RunId),
  rootId: Schema.NullOr(RunId),
  retryOf: Schema.NullOr(RunId),
  traceparent: Schema.NullOr(Schema.String)
}) {}

/**
 * The failures of tasks, their runs and backends, as tagged errors whose messages say what to do. Those of schedules, of locks,
 * and of sources and subscriptions stand in `ScheduleError`, `LockError` and `SubscriptionError`.
 *
 * Three families:
 *
 * - how a **run** can end without success: `TaskTimeout`, `TaskDefect`, `TaskAborted`, `TaskCancelled`,
 *   `TaskInterrupted`, `TaskRateLimited`, `ExecutorCrashed`, `TooManyCrashes`, `PayloadInvalid`, `ResultInvalid`,
 *   `RunUndecryptable`
 * - what a **call** can refuse: `PayloadTooLarge`, `IdempotencyConflict`, `QueueFull`, `InvalidOption`, `RunNotFound`,
 *   `RunNotFinished`, `RunUndecryptable`, `WaitTimeout`, `InvalidTransition`, `DuplicateTask`, `ExecutorUnavailable`
 * - what a **backend** can report: `BackendError`, `LostClaim`
 *
 * @since 0.1.0
 */
import { Duration, Schema } from "effect"

const run = {
  runId: Schema.String,
  task: Schema.String
}

const seconds = (millis: number): string => Duration.format(Duration.millis(millis))

/**
 * An attempt took longer than the task's `timeout`. Its fiber was interrupted and its finalizers ran.
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskTimeout extends Schema.TaggedError<TaskTimeout>("@effect-tasks/core/TaskError/TaskTimeout")(
  "TaskTimeout",
  { ...run, attempt: Schema.Number, timeoutMillis: Schema.Number }
) {
  override get message(): string {
    return `${this.task} (run ${this.runId}, attempt ${this.attempt}) did not end within ${seconds(this.timeoutMillis)}; raise the task's timeout or make the handler quicker`
  }
}

/**
 * An attempt died: the handler threw, or an effect of its failed with a defect. `cause` is the rendered cause, with the
 * stack.
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskDefect extends Schema.TaggedError<TaskDefect>("@effect-tasks/core/TaskError/TaskDefect")(
  "TaskDefect",
  { ...run, attempt: Schema.Number, defect: Schema.Defect, cause: Schema.String }
) {
  override get message(): string {
    return `${this.task} (run ${this.runId}, attempt ${this.attempt}) died: ${this.cause}`
  }
}

/**
 * The task decided to stop (`CurrentRun.abort`), or it is disabled. An aborted run is never retried.
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskAborted extends Schema.TaggedError<TaskAborted>("@effect-tasks/core/TaskError/TaskAborted")(
  "TaskAborted",
  { ...run, reason: Schema.String }
) {
  override get message(): string {
    return `${this.task} (run ${this.runId}) was aborted: ${this.reason}`
  }
}

/**
 * A person or a program cancelled the run.
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskCancelled extends Schema.TaggedError<TaskCancelled>("@effect-tasks/core/TaskError/TaskCancelled")(
  "TaskCancelled",
  { ...run, reason: Schema.String }
) {
  override get message(): string {
    return `${this.task} (run ${this.runId}) was cancelled: ${this.reason}`
  }
}

/**
 * A shutdown stopped the run, and its task says that it must not be given back (`requeueOnInterrupt: false`).
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskInterrupted extends Schema.TaggedError<TaskInterrupted>(
  "@effect-tasks/core/TaskError/TaskInterrupted"
)("TaskInterrupted", { ...run, reason: Schema.String }) {
  override get message(): string {
    return `${this.task} (run ${this.runId}) was interrupted: ${this.reason}; retry it, or let the task be given back with requeueOnInterrupt`
  }
}

/**
 * A limit refused the run, and its task says refuse rather than wait.
 *
 * @since 0.1.0
 * @category runs
 */
export class TaskRateLimited extends Schema.TaggedError<TaskRateLimited>(
  "@effect-tasks/core/TaskError/TaskRateLimited"
)("TaskRateLimited", { ...run, retryAfterMillis: Schema.Number }) {
  override get message(): string {
    return `${this.task} (run ${this.runId}) was refused by a rate limit; try again after ${seconds(this.retryAfterMillis)}`
  }
}

/**
 * The thread or the process that performed an attempt ended before the attempt did, or could not be started. The task's
 * `retry` decides, as after a failure; the next attempt has another one.
 *
 * @since 0.1.0
 * @category runs
 */
export class ExecutorCrashed extends Schema.TaggedError<ExecutorCrashed>(
  "@effect-tasks/core/TaskError/ExecutorCrashed"
)("ExecutorCrashed", { ...run, attempt: Schema.Number, reason: Schema.String }) {
  override get message(): string {
    return `${this.task} (run ${this.runId}, attempt ${this.attempt}) was not performed to its end, as its executor failed: ${this.reason}`
  }
}

/**
 * The consumers that performed the run died (or lost their lease) more often than the task's `maxCrashes` allows.
 *
 * @since 0.1.0
 * @category runs
 */
export class TooManyCrashes extends Schema.TaggedError<TooManyCrashes>("@effect-tasks/core/TaskError/TooManyCrashes")(
  "TooManyCrashes",
  { ...run, crashes: Schema.Number }
) {
  override get message(): string {
    return `${this.task} (run ${this.runId}) lost its consumer ${this.crashes} times: it may be what kills the process. Look at its attempts, then retry it or raise maxCrashes`
  }
}

/**
 * The payload of a stored run does not decode with the task's schema any more.
 *
 * @since 0.1.0
 * @category runs
 */
export class PayloadInvalid extends Schema.TaggedError<PayloadInvalid>("@effect-tasks/core/TaskError/PayloadInvalid")(
  "PayloadInvalid",
  { ...run, issue: Schema.String }
) {
  override get message(): string {
    return `the stored payload of ${this.task} (run ${this.runId}) does not fit its schema: ${this.issue}`
  }
}

/**
 * What a handler gave back, or what the record holds of it, does not fit the task's `success` or `error` schema.
 *
 * @since 0.1.0
 * @category runs
 */
export class ResultInvalid extends Schema.TaggedError<ResultInvalid>("@effect-tasks/core/TaskError/ResultInvalid")(
  "ResultInvalid",
  { ...run, issue: Schema.String }
) {
  override get message(): string {
    return `the result of ${this.task} (run ${this.runId}) does not fit its schema: ${this.issue}`
  }
}

/**
 * The payload or the result of a run is encrypted, and cannot be decrypted here: the key that it names is not among those of
 * `PayloadCipher`, or the record was changed or moved since. Nothing is lost: once the key is there, the run can be retried.
 *
 * @since 0.1.0
 * @category runs
 */
export class RunUndecryptable extends Schema.TaggedError<RunUndecryptable>(
  "@effect-tasks/core/TaskError/RunUndecryptable"
)("RunUndecryptable", { ...run, part: Schema.Literal("payload", "result"), keyId: Schema.String }) {
  override get message(): string {
    return `the ${this.part} of ${this.task} (run ${this.runId}) is encrypted with the key "${this.keyId}" and cannot be decrypted: give PayloadCipher that key; if it has it, the record was changed`
  }
}

/**
 * The encoded payload is larger than the manager accepts. Nothing was queued.
 *
 * @since 0.1.0
 * @category calls
 */
export class PayloadTooLarge extends Schema.TaggedError<PayloadTooLarge>(
  "@effect-tasks/core/TaskError/PayloadTooLarge"
)("PayloadTooLarge", { task: Schema.String, bytes: Schema.Number, maxBytes: Schema.Number }) {
  override get message(): string {
    return `the payload of ${this.task} has ${this.bytes} bytes, more than the ${this.maxBytes} allowed; store it elsewhere and queue a reference, or raise maxPayloadBytes`
  }
}

/**
 * The idempotency key is held by another run, and the call asked to be refused in that case. Nothing was queued.
 *
 * @since 0.1.0
 * @category calls
 */
export class IdempotencyConflict extends Schema.TaggedError<IdempotencyConflict>(
  "@effect-tasks/core/TaskError/IdempotencyConflict"
)("IdempotencyConflict", { task: Schema.String, key: Schema.String, heldBy: Schema.String }) {
  override get message(): string {
    return `the idempotency key "${this.key}" of ${this.task} is held by run ${this.heldBy}`
  }
}

/**
 * Too many runs of the task wait in the queue already. Nothing was queued: the run is `rejected`.
 *
 * @since 0.1.0
 * @category calls
 */
export class QueueFull extends Schema.TaggedError<QueueFull>("@effect-tasks/core/TaskError/QueueFull")("QueueFull", {
  task: Schema.String,
  queue: Schema.String,
  maxQueued: Schema.Number
}) {
  override get message(): string {
    return `no more than ${this.maxQueued} runs of ${this.task} may wait in the queue ${this.queue}; try again later, or raise maxQueued`
  }
}

/**
 * An option is out of its range.
 *
 * @since 0.1.0
 * @category calls
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>("@effect-tasks/core/TaskError/InvalidOption")(
  "InvalidOption",
  { option: Schema.String, value: Schema.Unknown, expected: Schema.String }
) {
  override get message(): string {
    return `${this.option} is ${String(this.value)}, but must be ${this.expected}`
  }
}

/**
 * No run has this id: it was never queued here, or its record has been pruned.
 *
 * @since 0.1.0
 * @category calls
 */
export class RunNotFound extends Schema.TaggedError<RunNotFound>("@effect-tasks/core/TaskError/RunNotFound")(
  "RunNotFound",
  { runId: Schema.String }
) {
  override get message(): string {
    return `there is no run ${this.runId}: it was never queued on this backend, or its record has been pruned`
  }
}

/**
 * Only a run that has ended can be retried.
 *
 * @since 0.1.0
 * @category calls
 */
export class RunNotFinished extends Schema.TaggedError<RunNotFinished>("@effect-tasks/core/TaskError/RunNotFinished")(
  "RunNotFinished",
  { runId: Schema.String, state: Schema.String }
) {
  override get message(): string {
    return `run ${this.runId} is ${this.state}; cancel it or wait for its end before you retry it`
  }
}

/**
 * The run did not end while the caller waited. The run goes on.
 *
 * @since 0.1.0
 * @category calls
 */
export class WaitTimeout extends Schema.TaggedError<WaitTimeout>("@effect-tasks/core/TaskError/WaitTimeout")(
  "WaitTimeout",
  { runId: Schema.String, waitedMillis: Schema.Number }
) {
  override get message(): string {
    return `run ${this.runId} did not end within ${seconds(this.waitedMillis)}; it goes on, wait again or look it up by its id`
  }
}

/**
 * A state that may not follow the other.
 *
 * @since 0.1.0
 * @category calls
 */
export class InvalidTransition extends Schema.TaggedError<InvalidTransition>(
  "@effect-tasks/core/TaskError/InvalidTransition"
)("InvalidTransition", { from: Schema.String, to: Schema.String }) {
  override get message(): string {
    return `a run cannot go from ${this.from} to ${this.to}`
  }
}

/**
 * Two tasks of one group have the same name.
 *
 * @since 0.1.0
 * @category calls
 */
export class DuplicateTask extends Schema.TaggedError<DuplicateTask>("@effect-tasks/core/TaskError/DuplicateTask")(
  "DuplicateTask",
  { task: Schema.String }
) {
  override get message(): string {
    return `two different tasks are named "${this.task}": rename one of them, for runs are stored under the name`
  }
}

/**
 * The entry of a task's threads or processes cannot be used: it is not there, fails to load, or does not serve the task.
 *
 * @since 0.1.0
 * @category calls
 */
export class ExecutorUnavailable extends Schema.TaggedError<ExecutorUnavailable>(
  "@effect-tasks/core/TaskError/ExecutorUnavailable"
)("ExecutorUnavailable", { entry: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `${this.entry} cannot perform tasks: ${this.reason}`
  }
}

/**
 * A claim whose lease ended was taken over: the write of the old holder was refused.
 *
 * @since 0.1.0
 * @category backends
 */
export class LostClaim extends Schema.TaggedError<LostClaim>("@effect-tasks/core/TaskError/LostClaim")("LostClaim", {
  runId: Schema.String,
  fence: Schema.Number
}) {
  override get message(): string {
    return `claim ${this.fence} on run ${this.runId} is no longer held: nothing was written`
  }
}

/**
 * The broker or the store could not do what it was asked. `transient` says whether trying again may help.
 *
 * @since 0.1.0
 * @category backends
 */
export class BackendError extends Schema.TaggedError<BackendError>("@effect-tasks/core/TaskError/BackendError")(
  "BackendError",
  {
    backend: Schema.String,
    operation: Schema.String,
    transient: Schema.Boolean,
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    const cause = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `${this.backend} failed in ${this.operation}${cause} (${this.transient ? "it may pass; try again" : "trying again will not help"})`
  }
}

/**
 * The ways in which a run can end without success, apart from the task's own error.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RunError = Schema.Union(
  TaskTimeout,
  TaskDefect,
  TaskAborted,
  TaskCancelled,
  TaskInterrupted,
  TaskRateLimited,
  ExecutorCrashed,
  TooManyCrashes,
  PayloadInvalid,
  ResultInvalid,
  RunUndecryptable
)

/**
 * @since 0.1.0
 * @category models
 */
export type RunError = typeof RunError.Type

/**
 * Every failure that this product reports, as tagged errors whose messages say what to do.
 *
 * Three families:
 *
 * - how a **run** can end without success: `TaskTimeout`, `TaskDefect`, `TaskAborted`, `TaskCancelled`,
 *   `TaskInterrupted`, `TaskRateLimited`, `ExecutorCrashed`, `TooManyCrashes`, `PayloadInvalid`, `ResultInvalid`,
 *   `RunUndecryptable`
 * - what a **call** can refuse: `PayloadTooLarge`, `IdempotencyConflict`, `InvalidOption`, `RunNotFound`,
 *   `RunNotFinished`, `RunUndecryptable`, `WaitTimeout`, `InvalidTransition`, `DuplicateTask`, `ExecutorUnavailable`; of schedules
 *   `InvalidSchedule`, `ScheduleExists`, `ScheduleNotFound`; of locks `LockTimeout`, `LockReentered`; of sources and
 *   subscriptions `AlreadyRunning`, `NotRunning`, `DuplicateSubscription`, `SubscriptionNotStarted`
 * - what a **backend** can report: `BackendError`, `SchemaVersionError`, `LostClaim`, `LockLost`; and the pull of a
 *   subscription: `PullEnded`, `PullDied`
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
 * The consumer has a source already.
 *
 * @since 0.1.0
 * @category calls
 */
export class AlreadyRunning extends Schema.TaggedError<AlreadyRunning>("@effect-tasks/core/TaskError/AlreadyRunning")(
  "AlreadyRunning",
  { name: Schema.String }
) {
  override get message(): string {
    return `${this.name} consumes a source already: wait until it has ended, stop it, or make another consumer`
  }
}

/**
 * Something was handed to a consumer or a fleet that does not run: it was not begun, or it has ended.
 *
 * @since 0.1.0
 * @category calls
 */
export class NotRunning extends Schema.TaggedError<NotRunning>("@effect-tasks/core/TaskError/NotRunning")(
  "NotRunning",
  { name: Schema.String }
) {
  override get message(): string {
    return `${this.name} is not running: it was not started yet, or it has ended; nothing was taken on`
  }
}

/**
 * The fleet has a subscription of this name already.
 *
 * @since 0.1.0
 * @category calls
 */
export class DuplicateSubscription extends Schema.TaggedError<DuplicateSubscription>(
  "@effect-tasks/core/TaskError/DuplicateSubscription"
)("DuplicateSubscription", { subscription: Schema.String }) {
  override get message(): string {
    return `two subscriptions are named "${this.subscription}": rename one of them, or its health would hide the other's`
  }
}

/**
 * A subscription could not be started. None of the fleet was left running.
 *
 * @since 0.1.0
 * @category calls
 */
export class SubscriptionNotStarted extends Schema.TaggedError<SubscriptionNotStarted>(
  "@effect-tasks/core/TaskError/SubscriptionNotStarted"
)("SubscriptionNotStarted", { subscription: Schema.String, cause: Schema.Defect }) {
  override get message(): string {
    const cause = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `the subscription ${this.subscription} could not be started: ${cause}. Those started before it were stopped; start again when that is put right`
  }
}

/**
 * A schedule that cannot be used: its expression, its time zone or an option is wrong, or it never comes.
 *
 * @since 0.1.0
 * @category calls
 */
export class InvalidSchedule extends Schema.TaggedError<InvalidSchedule>(
  "@effect-tasks/core/TaskError/InvalidSchedule"
)("InvalidSchedule", { schedule: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `the schedule ${this.schedule} cannot be used: ${this.reason}`
  }
}

/**
 * There is a schedule of this name already. Nothing was added.
 *
 * @since 0.1.0
 * @category calls
 */
export class ScheduleExists extends Schema.TaggedError<ScheduleExists>("@effect-tasks/core/TaskError/ScheduleExists")(
  "ScheduleExists",
  { name: Schema.String }
) {
  override get message(): string {
    return `there is a schedule named "${this.name}" already: edit it, or choose another name`
  }
}

/**
 * No schedule has this name.
 *
 * @since 0.1.0
 * @category calls
 */
export class ScheduleNotFound extends Schema.TaggedError<ScheduleNotFound>(
  "@effect-tasks/core/TaskError/ScheduleNotFound"
)("ScheduleNotFound", { name: Schema.String }) {
  override get message(): string {
    return `there is no schedule named "${this.name}": it was never added on this backend, or it was removed`
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
 * The lock was not free in time (`wait`).
 *
 * @since 0.1.0
 * @category calls
 */
export class LockTimeout extends Schema.TaggedError<LockTimeout>("@effect-tasks/core/TaskError/LockTimeout")(
  "LockTimeout",
  { lock: Schema.String, waitedMillis: Schema.Number }
) {
  override get message(): string {
    return `the lock ${this.lock} was not free within ${seconds(this.waitedMillis)}; wait longer, or try again later`
  }
}

/**
 * The fiber holds this lock already, so it would wait for itself.
 *
 * @since 0.1.0
 * @category calls
 */
export class LockReentered extends Schema.TaggedError<LockReentered>("@effect-tasks/core/TaskError/LockReentered")(
  "LockReentered",
  { lock: Schema.String }
) {
  override get message(): string {
    return `the lock ${this.lock} is held by this fiber already; take it once, around all that needs it`
  }
}

/**
 * The lease of a lock could not be extended in time, or somebody else took the lock: what it protected was interrupted.
 *
 * @since 0.1.0
 * @category backends
 */
export class LockLost extends Schema.TaggedError<LockLost>("@effect-tasks/core/TaskError/LockLost")("LockLost", {
  lock: Schema.String,
  fence: Schema.Number
}) {
  override get message(): string {
    return `the lock ${this.lock} (fence ${this.fence}) was lost, and what held it was interrupted; let writes check the fence, and try again`
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
 * The tables in the database are of another version than this code knows.
 *
 * @since 0.1.0
 * @category backends
 */
export class SchemaVersionError extends Schema.TaggedError<SchemaVersionError>(
  "@effect-tasks/core/TaskError/SchemaVersionError"
)("SchemaVersionError", { backend: Schema.String, found: Schema.Number, known: Schema.Number }) {
  override get message(): string {
    return this.found > this.known
      ? `the ${this.backend} schema has version ${this.found}, newer than the ${this.known} that this program knows: upgrade the program`
      : `the ${this.backend} schema has version ${this.found}, older than the ${this.known} that this program needs: run the migrations`
  }
}

/**
 * A log file cannot be opened.
 *
 * @since 0.1.0
 * @category backends
 */
export class LogFileError extends Schema.TaggedError<LogFileError>("@effect-tasks/core/TaskError/LogFileError")(
  "LogFileError",
  { path: Schema.String, cause: Schema.optional(Schema.Defect) }
) {
  override get message(): string {
    const cause = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `the log file ${this.path} cannot be opened${cause}; its directory must exist, and this program must be allowed to write there`
  }
}

/**
 * The stream of a subscription's messages has ended; it is meant to go on for ever.
 *
 * @since 0.1.0
 * @category backends
 */
export class PullEnded extends Schema.TaggedError<PullEnded>("@effect-tasks/core/TaskError/PullEnded")("PullEnded", {
  subscription: Schema.String
}) {
  override get message(): string {
    return `the pull of the subscription ${this.subscription} ended; a pull that may end says so with isFatal`
  }
}

/**
 * The stream of a subscription's messages died. `cause` is the rendered cause, with the stack.
 *
 * @since 0.1.0
 * @category backends
 */
export class PullDied extends Schema.TaggedError<PullDied>("@effect-tasks/core/TaskError/PullDied")("PullDied", {
  subscription: Schema.String,
  defect: Schema.Defect,
  cause: Schema.String
}) {
  override get message(): string {
    return `the pull of the subscription ${this.subscription} died: ${this.cause}`
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

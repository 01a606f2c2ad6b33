/**
 * A run: one request to perform a task. It keeps one id through all its attempts.
 *
 * @since 0.1.0
 */
import type { Effect, Schema, Stream } from "effect"
import type * as Duration from "effect/Duration"
import type { LogLine, RunId, TaskRun } from "./internal/run.js"
import type {
  BackendError,
  IdempotencyConflict,
  QueueFull,
  ResultInvalid,
  RunError,
  RunNotFound,
  WaitTimeout
} from "./TaskError.js"
import type { TaskEvent } from "./TaskEvent.js"
import type { TaskState } from "./TaskState.js"

export {
  /**
   * One try at a run: its number from 1, the consumer that made it, when it started and ended (epoch milliseconds), and
   * how it ended. A successful attempt leaves the value to the run's own `outcome`.
   *
   * The ledger keeps the first twenty and the last twenty attempts.
   *
   * @since 0.1.0
   * @category schemas
   */
  Attempt,
  /**
   * What stands in the place of a payload or an outcome that is encrypted, where there is no key for it. `keyId` names the key.
   *
   * @since 0.1.0
   * @category schemas
   */
  Encrypted,
  /**
   * How an attempt, or a run as a whole, ended; values and errors in the encoded form of the task's schemas. `cause` is the
   * rendered cause, with stacks.
   *
   * @since 0.1.0
   * @category schemas
   */
  Outcome,
  /**
   * The id of a run: a UUID of version 7, made from `Clock` and `Random`, so ids sort by the time of their making.
   *
   * @since 0.1.0
   * @category schemas
   */
  RunId,
  /**
   * An immutable copy of a run's record. Times are epoch milliseconds.
   *
   * - `payload`: the encoded payload (`null` for a task without one)
   * - `dueAt`: from when on it may be performed
   * - `startedAt`: when the latest attempt started
   * - `attempt`: how many attempts have failed; shutdowns, snoozes and crashes do not count
   * - `crashes`: how often its consumer died or lost its lease
   * - `snoozes`: how often it was put off, by a snooze or a rate limit
   * - `expiresAt`: it is not begun from then on
   * - `attempts`: the ledger
   * - `outcome`: how it ended, once it has
   * - `parentId`, `rootId`: the run whose handler queued it, and the first of that chain
   * - `retryOf`: the ended run that this one repeats
   * - `traceparent`: the W3C trace context of the span that queued it
   *
   * @since 0.1.0
   * @category schemas
   */
  TaskRun
} from "./internal/run.js"

/**
 * The stored form of a run, which brokers and stores see: strings, numbers and states, never a user's type. Times are epoch
 * milliseconds. `payload`, `ledger`, `outcome` and `progress` are texts that a backend keeps and gives back as they are.
 * `fence` is the number of the latest claim; `consumer` and `leaseUntil` are those of the claim in force; `logged` is how many
 * lines the run has logged. `limitKeys` are the keys of its task's keyed limits, as a JSON array of texts; `snoozes` is how
 * often it was put off.
 *
 * @since 0.1.0
 * @category models
 */
export interface Encoded {
  readonly id: RunId
  readonly task: string
  readonly queue: string
  readonly state: TaskState
  readonly priority: number
  readonly payload: string
  readonly payloadVersion: number
  readonly createdAt: number
  readonly dueAt: number
  readonly startedAt: number | null
  readonly endedAt: number | null
  readonly attempt: number
  readonly crashes: number
  readonly fence: number
  readonly consumer: string | null
  readonly leaseUntil: number | null
  readonly ledger: string
  readonly outcome: string | null
  readonly progress: string | null
  readonly logged: number
  readonly tags: ReadonlyArray<string>
  readonly group: string | null
  readonly limitKeys: string | null
  readonly expiresAt: number | null
  readonly snoozes: number
  readonly idempotency: EncodedIdempotency | null
  readonly parentId: RunId | null
  readonly rootId: RunId | null
  readonly retryOf: RunId | null
  readonly traceparent: string | null
}

/**
 * For how long a successful run keeps its idempotency key (`holdMillis`: `0` no longer than the run, `null` for ever, else
 * milliseconds after the end; and `holdUntil`, a moment, if that is later), and what a second request with the key gets. Every
 * other end frees the key. `latestDueAt` is how far a `debounce` may put the run off.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedIdempotency {
  readonly key: string
  readonly holdMillis: number | null
  readonly holdUntil: number | null
  readonly onConflict: "return" | "reject" | "replace" | "debounce"
  readonly latestDueAt: number | null
}

/**
 * What `Handle` needs to know of a task.
 *
 * @since 0.1.0
 * @category models
 */
export interface Typed {
  readonly successSchema: Schema.Schema.All
  readonly errorSchema: Schema.Schema.All
}

/**
 * Why waiting for a run, or performing it in place, gives no success: the task's own error, another end of the run, or a
 * record that no longer fits the schemas.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<T extends Typed> = Schema.Schema.Type<T["errorSchema"]> | RunError | ResultInvalid

/**
 * How far a handler says it has come: a number of its own choosing, and a word on it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly value: number
  readonly message: string | null
}

/**
 * A queued run in its producer's hands.
 *
 * - `await`: waits for the end; the success, or the typed failure. With a `timeout`, `WaitTimeout` ends the wait, not the
 *   run. Waiting is pushed, also when another process performs the run
 * - `poll`: the record as it is now
 * - `cancel`: ends a waiting run at once (`"cancelled"`), asks the consumer of a running one to interrupt it
 *   (`"requested"`), or finds that it had ended (`"ended"`)
 * - `events`: the run's events from now on, up to its end
 * - `logs`: what the run logs, from its first line to its end, each line once and in order, also when another process
 *   performs it; then lines come up to two seconds late
 * - `progress`: what its handler reports (see `CurrentRun.progress`), from the newest report on to the end; of several that
 *   come while nobody looks, only the newest is told
 * - `existing`: true when the idempotency key led to a run that was there before, whether its payload was replaced or not
 *
 * @since 0.1.0
 * @category models
 */
export interface Handle<T extends Typed> {
  readonly id: RunId
  readonly task: T
  readonly existing: boolean
  readonly await: Effect.Effect<Schema.Schema.Type<T["successSchema"]>, Failure<T> | RunNotFound | BackendError>
  readonly awaitFor: (
    timeout: Duration.DurationInput
  ) => Effect.Effect<Schema.Schema.Type<T["successSchema"]>, Failure<T> | RunNotFound | BackendError | WaitTimeout>
  readonly poll: Effect.Effect<TaskRun, RunNotFound | BackendError>
  readonly cancel: (reason?: string) => Effect.Effect<Cancellation, RunNotFound | BackendError>
  readonly events: Stream.Stream<TaskEvent>
  readonly logs: Stream.Stream<LogLine, RunNotFound | BackendError>
  readonly progress: Stream.Stream<Progress, RunNotFound | BackendError>
}

/**
 * A run in the state `init`: its payload is checked and encoded, it has its id, and nothing is queued. One that is never
 * queued leaves nothing behind. Times count from when it was made, and so does the chain (`parentId`, `rootId`).
 *
 * - `record`: what it looks like, before it is queued
 * - `queue`: queues it, in this process, and gives its handle. It is queued once, however often this is called; a call after
 *   one that failed, or whose transaction was rolled back, tries again. Where an idempotency key leads to another run, the
 *   handle is that run's
 *
 * @since 0.1.0
 * @category models
 */
export interface NewRun<T extends Typed> {
  readonly id: RunId
  readonly task: T
  readonly record: TaskRun
  readonly queue: Effect.Effect<Handle<T>, IdempotencyConflict | QueueFull | BackendError>
}

/**
 * What a cancellation met.
 *
 * @since 0.1.0
 * @category models
 */
export type Cancellation = "cancelled" | "requested" | "ended"

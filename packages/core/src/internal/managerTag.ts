import { Context, type Duration, type Effect, type Schema } from "effect"
import type * as ParseResult from "effect/ParseResult"
import type { CountQuery, LogLine, RunQuery } from "../Store.js"
import type {
  BackendError,
  IdempotencyConflict,
  InvalidOption,
  PayloadTooLarge,
  QueueFull,
  RunNotFinished,
  RunNotFound
} from "../TaskError.js"
import type { TaskPriority } from "../TaskPriority.js"
import type { Cancellation, Failure, Handle, RunId, TaskRun } from "../TaskRun.js"
import type { TaskState } from "../TaskState.js"
import type { Definition, HandlerEntry } from "./definition.js"

/** Documented in `Task`. */
export type Idempotency =
  | {
      readonly key: string
      readonly hold?: "unfinished" | "forever" | Duration.DurationInput | undefined
      readonly onConflict?: "return" | "reject" | "replace" | undefined
    }
  | {
      readonly key: string
      readonly debounce: Duration.DurationInput
      readonly maxWait?: Duration.DurationInput | undefined
    }
  | {
      readonly key: string
      readonly throttle: Duration.DurationInput
      readonly onConflict?: "return" | "reject" | undefined
    }

/** Documented in `Task`. */
export interface QueueOptions {
  readonly delay?: Duration.DurationInput | undefined
  readonly at?: Date | number | undefined
  readonly priority?: TaskPriority | undefined
  readonly queue?: string | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly group?: string | undefined
  readonly idempotencyKey?: string | Idempotency | undefined
  readonly maxQueued?: number | undefined
  readonly expiresAt?: Date | number | undefined
}

/** Documented in `Task`. */
export interface ExecuteOptions {
  readonly retry?: boolean | undefined
  readonly tags?: ReadonlyArray<string> | undefined
}

/** Documented in `Task`. */
export type QueueError =
  | ParseResult.ParseError
  | PayloadTooLarge
  | IdempotencyConflict
  | QueueFull
  | InvalidOption
  | BackendError

/** Documented in `Task`. */
export type ExecuteError = ParseResult.ParseError | PayloadTooLarge | InvalidOption | BackendError

/** Documented in `TaskManager`. */
export interface RunsQuery extends Omit<RunQuery, "limit"> {
  readonly limit?: number | undefined
}

/** Documented in `TaskManager`. */
export interface Page {
  readonly items: ReadonlyArray<TaskRun>
  readonly next: RunId | null
}

/** Documented in `TaskManager`. */
export class TaskManager extends Context.Tag("@effect-tasks/core/TaskManager")<
  TaskManager,
  {
    /** Queues one run per payload, all or none. `Task.queue` and `Task.queueAll` are its typed forms. */
    readonly queue: <D extends Definition>(
      task: D,
      payloads: ReadonlyArray<unknown>,
      options?: QueueOptions
    ) => Effect.Effect<ReadonlyArray<Handle<D>>, QueueError>

    /** Performs a run in this fiber. `Task.execute` is its typed form. */
    readonly execute: <D extends Definition>(
      task: D,
      entry: HandlerEntry,
      payload: unknown,
      options?: ExecuteOptions
    ) => Effect.Effect<Schema.Schema.Type<D["successSchema"]>, Failure<D> | ExecuteError>

    /** The handle of a run that was queued before, here or elsewhere. */
    readonly handle: <D extends Definition>(task: D, id: RunId) => Handle<D>

    /** The record of a run. */
    readonly get: (id: RunId) => Effect.Effect<TaskRun, RunNotFound | BackendError>

    /** One page of the runs that a query describes, newest first; `next` is the `before` of the page after it. */
    readonly runs: (query?: RunsQuery) => Effect.Effect<Page, BackendError>

    /** How many runs are in each state. */
    readonly counts: (query?: CountQuery) => Effect.Effect<{ readonly [State in TaskState]: number }, BackendError>

    /** The log lines of a run, in order. */
    readonly logs: (
      id: RunId,
      options?: { readonly fromSeq?: number | undefined; readonly limit?: number | undefined }
    ) => Effect.Effect<ReadonlyArray<LogLine>, BackendError>

    /** Cancels a run: see `TaskRun.Handle`. */
    readonly cancel: (id: RunId, reason?: string) => Effect.Effect<Cancellation, RunNotFound | BackendError>

    /** Queues an ended run once more, as a new run with `retryOf`. */
    readonly retry: (
      id: RunId
    ) => Effect.Effect<RunId, RunNotFound | RunNotFinished | IdempotencyConflict | BackendError>
  }
>() {}

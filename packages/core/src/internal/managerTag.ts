import { Context, type Duration, type Effect, type Schema, type Scope } from "effect"
import type * as ParseResult from "effect/ParseResult"
import type { Control } from "../Operating.js"
import type { CountQuery, LogLine, RunFilter, RunQuery } from "../Store.js"
import type {
  BackendError,
  IdempotencyConflict,
  InvalidOption,
  PayloadTooLarge,
  QueueFull,
  RunNotFinished,
  RunNotFound,
  RunUndecryptable
} from "../TaskError.js"
import type { TaskPriority } from "../TaskPriority.js"
import type { Cancellation, Failure, Handle, NewRun, RunId, TaskRun } from "../TaskRun.js"
import type { TaskState } from "../TaskState.js"
import type { Definition, HandlerEntry } from "./definition.js"
import type { Lock, LockError, LockOptions } from "./locks.js"

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
  readonly parent?: { readonly id: RunId; readonly rootId?: RunId | null | undefined } | undefined
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
export type CreateError = ParseResult.ParseError | PayloadTooLarge | InvalidOption

/** Documented in `Task`. */
export type ExecuteError = ParseResult.ParseError | PayloadTooLarge | InvalidOption | BackendError

/** Documented in `TaskManager`. */
export interface RunsQuery extends Omit<RunQuery, "limit"> {
  readonly limit?: number | undefined
}

/** Documented in `TaskManager`. */
export type Target = { readonly queue: string } | { readonly task: string }

/** Documented in `TaskManager`. */
export interface EditOptions {
  readonly priority?: TaskPriority | undefined
  readonly delay?: Duration.DurationInput | undefined
  readonly at?: Date | number | undefined
}

/** Documented in `TaskManager`. */
export interface ManyCancelled {
  readonly cancelled: number
  readonly requested: number
}

/** Documented in `TaskManager`. */
export interface Cleared {
  readonly total: number
  readonly byPriority: ReadonlyMap<number, number>
}

/** Documented in `TaskManager`. */
export interface Page {
  readonly items: ReadonlyArray<TaskRun>
  readonly next: RunId | null
}

/** Documented in `TaskManager`. */
export interface RuntimeQueueFailure {
  readonly task: Definition
  readonly payload: unknown
  readonly options: QueueOptions
  readonly error: QueueError
}

/** Documented in `TaskManager`. */
export interface RuntimeQueueOptions {
  readonly capacity?: number | undefined
  readonly closeTimeout?: Duration.DurationInput | undefined
  readonly onError?: ((failure: RuntimeQueueFailure) => void) | undefined
}

/** Documented in `TaskManager`. */
export interface RuntimeQueue {
  <D extends Definition>(
    task: D,
    payload: Schema.Schema.Type<D["payloadSchema"]>,
    options?: QueueOptions
  ): "accepted" | "full" | "closed"
  readonly pending: () => number
  readonly flush: Effect.Effect<void>
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

    /** Makes a run, and queues nothing. `Task.createRun` is its typed form. */
    readonly createRun: <D extends Definition>(
      task: D,
      payload: unknown,
      options?: QueueOptions
    ) => Effect.Effect<NewRun<D>, CreateError>

    /** Queues a run that was made before: once, however often it is called for one run. */
    readonly queueRun: <D extends Definition>(
      run: NewRun<D>
    ) => Effect.Effect<Handle<D>, IdempotencyConflict | QueueFull | BackendError>

    /** A plain function that queues, for code that is no Effect. See `TaskManager.runtimeQueue`. */
    readonly runtimeQueue: (options?: RuntimeQueueOptions) => Effect.Effect<RuntimeQueue, InvalidOption, Scope.Scope>

    /** Takes a lock for as long as the scope lasts. See `TaskLock`. */
    readonly acquireLock: (name: string, options: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>

    /** Performs an effect while a lock is held. See `TaskLock`. */
    readonly withLock: <A, E, R>(
      name: string,
      options: LockOptions,
      use: (lock: Lock) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | LockError, R>

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

    /** Queues an ended run once more, as a new run with `retryOf`. One whose payload cannot be decrypted is left as it is. */
    readonly retry: (
      id: RunId
    ) => Effect.Effect<RunId, RunNotFound | RunNotFinished | RunUndecryptable | IdempotencyConflict | BackendError>

    /** How many runs a filter describes: what `cancelAll`, `retryAll` and `purge` would act on. */
    readonly count: (filter: RunFilter) => Effect.Effect<number, BackendError>

    /** Cancels all unfinished runs that a filter describes. */
    readonly cancelAll: (filter: RunFilter, reason?: string) => Effect.Effect<ManyCancelled, BackendError>

    /**
     * Queues all ended runs that a filter describes once more, and gives how many; without `state` in the filter, those that
     * did not end with a success. Those whose payload cannot be decrypted are left as they are.
     */
    readonly retryAll: (filter: RunFilter) => Effect.Effect<number, BackendError>

    /** Removes the records of all ended runs that a filter describes, and gives how many there were. */
    readonly purge: (filter: RunFilter) => Effect.Effect<number, BackendError>

    /** Cancels all runs that wait in a queue, or those of one task in it. */
    readonly clear: (
      queue: string,
      options?: { readonly task?: string | undefined }
    ) => Effect.Effect<Cleared, BackendError>

    /** Changes the priority or the due time of a run that waits; one that is running or has ended stays as it is. */
    readonly edit: (
      id: RunId,
      options: EditOptions
    ) => Effect.Effect<"edited" | "running" | "ended", RunNotFound | InvalidOption | BackendError>

    /** From now on no consumer claims a run of the queue or task, until `resume`. What runs goes on. */
    readonly pause: (target: Target) => Effect.Effect<void, BackendError>

    readonly resume: (target: Target) => Effect.Effect<void, BackendError>

    /** From now on the runs of a task end as `aborted` when they are due, until `enable`. What runs goes on. */
    readonly disable: (task: string) => Effect.Effect<void, BackendError>

    readonly enable: (task: string) => Effect.Effect<void, BackendError>

    /** What is paused and disabled. */
    readonly controls: Effect.Effect<ReadonlyArray<Control>, BackendError>
  }
>() {}

/**
 * A task: a name, schemas for what goes in, what comes out and how it fails, and the policies by which it is performed. A
 * value without behaviour; its handler is given apart, as a Layer.
 *
 * @since 0.1.0
 */
import { Duration, Effect, type Layer, type Schedule, Schema, type Scope } from "effect"
import type { CurrentRun } from "./CurrentRun.js"
import * as completing from "./internal/completing.js"
import type * as definition from "./internal/definition.js"
import type { Handler, HandlerOf, HandlerServices } from "./internal/handlers.js"
import * as handlers from "./internal/handlers.js"
import {
  type ExecuteError,
  type ExecuteOptions,
  type QueueError,
  type QueueOptions,
  TaskManager
} from "./internal/managerTag.js"
import type { BackendError, RunNotFound, TaskDefect, TaskTimeout, WaitTimeout } from "./TaskError.js"
import * as TaskPriority from "./TaskPriority.js"
import type * as TaskRun from "./TaskRun.js"
import type { TaskTransaction } from "./TaskTransaction.js"

/**
 * What a retry schedule is asked about: the task's own error, a timeout, or a defect.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<E> = E | TaskTimeout | TaskDefect

export type {
  /**
   * The service of a task's handler. A program that needs it lacks the handler of the task it names.
   *
   * @since 0.1.0
   * @category models
   */
  Handler
} from "./internal/handlers.js"

/**
 * A task that only names its schemas' types; any task extends it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any extends definition.Definition {}

/**
 * The policies of a task.
 *
 * - `description`: what it does, for people
 * - `payload`: the fields, or the schema, of what goes in. Default: nothing
 * - `success`: the schema of what comes out. Default: nothing
 * - `error`: the schema of the errors that the handler may fail with. Default: none
 * - `retry`: whether and when a failed run is tried again (see `RetryPolicy`). Default: never
 * - `timeout`: how long an attempt may take before its fiber is interrupted. Default: without end
 * - `queue`: the queue it waits in. Default: `default`
 * - `priority`: Default: `medium`
 * - `maxConcurrency`: how many runs of it may be running at one time, over all consumers. Default: no limit
 * - `maxCrashes`: how often its consumer may die before the run is given up. Default: 3
 * - `requeueOnInterrupt`: whether a run that a shutdown interrupts is given back to the queue, to be performed again (true),
 *   or ends as `interrupted` (false). Default: true
 * - `tags`: labels that every run of it carries
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Payload, Success extends Schema.Schema.All, Error extends Schema.Schema.All> {
  readonly description?: string | undefined
  readonly payload?: Payload | undefined
  readonly success?: Success | undefined
  readonly error?: Error | undefined
  readonly retry?: Schedule.Schedule<unknown, Failure<Schema.Schema.Type<Error>>> | undefined
  readonly timeout?: Duration.DurationInput | undefined
  readonly queue?: string | undefined
  readonly priority?: TaskPriority.TaskPriority | undefined
  readonly maxConcurrency?: number | undefined
  readonly maxCrashes?: number | undefined
  readonly requeueOnInterrupt?: boolean | undefined
  readonly tags?: ReadonlyArray<string> | undefined
}

export type {
  /**
   * Why a run could not be performed in place at all.
   *
   * @since 0.1.0
   * @category models
   */
  ExecuteError,
  /**
   * How a run is performed in place.
   *
   * - `retry`: whether the task's `retry` holds here too. Default: true
   * - `tags`: beside the task's own
   *
   * @since 0.1.0
   * @category models
   */
  ExecuteOptions,
  /**
   * An idempotency key of the task. A run holds its key while it is unfinished; a success holds it further as `hold` says
   * (`unfinished`, the default: no longer; a duration; `forever`). Every other end frees it.
   *
   * A second request gets the run that holds the key (`onConflict: "return"`, the default), or fails with
   * `IdempotencyConflict` (`"reject"`). Reservation is atomic, across processes too.
   *
   * @since 0.1.0
   * @category models
   */
  Idempotency,
  /**
   * Why a request could not be queued: nothing was.
   *
   * @since 0.1.0
   * @category models
   */
  QueueError,
  /**
   * How one run is queued.
   *
   * - `delay` or `at` (a `Date` or epoch milliseconds): not before then. Default: now
   * - `priority`, `queue`: instead of the task's own
   * - `tags`: beside the task's own
   * - `group`: the tenant it belongs to
   * - `idempotencyKey`: at most one run of the task holds a key (see `Idempotency`)
   *
   * @since 0.1.0
   * @category models
   */
  QueueOptions
} from "./internal/managerTag.js"

/**
 * A task, and the ways to use it. The accessors need a `TaskManager`.
 *
 * - `queue`: accepts one run, durably, and gives its handle
 * - `queueAll`: many at once, all or none
 * - `queueAndWait`: queues and waits for the typed success, or the typed error of the final outcome, also when another
 *   process performs it
 * - `execute`: performs it in this fiber, through the same pipeline (events, ledger, retry, record), without the broker
 * - `toLayer`: gives the handler, or an effect that makes it; services that it needs stay in the Layer's requirements
 * - `handle`: the handle of a run whose id is known
 * - `completeWith`: for its handler: runs an effect in a transaction of the backend's database and ends the run with its
 *   value in the same commit. So what the effect writes there is written exactly once, however often the run is tried: when
 *   the transaction fails, or the claim is lost, nothing of either stands. What the handler does afterwards no longer
 *   changes the run. It does not compile on a backend that has no transactions
 *
 * @since 0.1.0
 * @category models
 */
export interface Task<
  in out Name extends string,
  in out Payload extends Schema.Schema.All,
  in out Success extends Schema.Schema.All,
  in out Error extends Schema.Schema.All
> extends definition.Definition {
  readonly name: Name
  readonly payloadSchema: Payload
  readonly successSchema: Success
  readonly errorSchema: Error

  readonly queue: (
    payload: Schema.Schema.Type<Payload>,
    options?: QueueOptions
  ) => Effect.Effect<TaskRun.Handle<Task<Name, Payload, Success, Error>>, QueueError, TaskManager>

  readonly queueAll: (
    payloads: ReadonlyArray<Schema.Schema.Type<Payload>>,
    options?: QueueOptions
  ) => Effect.Effect<ReadonlyArray<TaskRun.Handle<Task<Name, Payload, Success, Error>>>, QueueError, TaskManager>

  readonly queueAndWait: (
    payload: Schema.Schema.Type<Payload>,
    options?: QueueOptions & { readonly timeout?: Duration.DurationInput | undefined }
  ) => Effect.Effect<
    Schema.Schema.Type<Success>,
    TaskRun.Failure<Task<Name, Payload, Success, Error>> | QueueError | RunNotFound | WaitTimeout,
    TaskManager
  >

  readonly execute: (
    payload: Schema.Schema.Type<Payload>,
    options?: ExecuteOptions
  ) => Effect.Effect<
    Schema.Schema.Type<Success>,
    TaskRun.Failure<Task<Name, Payload, Success, Error>> | ExecuteError,
    TaskManager | Handler<Name>
  >

  readonly handle: (
    id: TaskRun.RunId
  ) => Effect.Effect<TaskRun.Handle<Task<Name, Payload, Success, Error>>, never, TaskManager>

  readonly completeWith: <A extends Schema.Schema.Type<Success>, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | BackendError, R | CurrentRun | TaskTransaction>

  readonly toLayer: <H extends HandlerOf<Payload, Success, Error>, EX = never, RX = never>(
    handler: H | Effect.Effect<H, EX, RX>
  ) => Layer.Layer<Handler<Name>, EX, Exclude<RX, Scope.Scope> | HandlerServices<H>>
}

export type {
  /**
   * The function that performs a task. It fails with the task's own error. What queueing a child may fail with it need not
   * catch: such a failure counts as a defect, which a `retry` schedule sees as `TaskDefect`.
   *
   * @since 0.1.0
   * @category models
   */
  HandlerOf,
  /**
   * The services that a handler needs from outside: the current run and the attempt's `Scope` are given to it.
   *
   * @since 0.1.0
   * @category models
   */
  HandlerServices
} from "./internal/handlers.js"

/**
 * The schema of a payload: a struct of the fields, or the schema that was given.
 *
 * @since 0.1.0
 * @category models
 */
export type PayloadSchema<P> = P extends Schema.Schema.All
  ? P
  : P extends Schema.Struct.Fields
    ? Schema.Struct<P>
    : never

type NeedsNoServices<S> = S extends Schema.Schema.All
  ? [Schema.Schema.Context<S>] extends [never]
    ? unknown
    : { readonly "the schema of a task must not need services": Schema.Schema.Context<S> }
  : unknown

const toSchema = (payload: Schema.Struct.Fields | Schema.Schema.All): Schema.Schema.All =>
  Schema.isSchema(payload) ? payload : Schema.Struct(payload as Schema.Struct.Fields)

/**
 * Defines a task.
 *
 * @example
 * ```ts
 * import { Task } from "@effect-tasks/core"
 * import { Schedule, Schema } from "effect"
 *
 * class SmtpError extends Schema.TaggedError<SmtpError>()("SmtpError", { code: Schema.Number }) {}
 *
 * const SendEmail = Task.make("SendEmail", {
 *   payload: { to: Schema.String, subject: Schema.String },
 *   success: Schema.Struct({ messageId: Schema.String }),
 *   error: SmtpError,
 *   retry: Schedule.exponential("200 millis").pipe(Schedule.intersect(Schedule.recurs(4))),
 *   timeout: "10 seconds"
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const Name extends string,
  Payload extends Schema.Struct.Fields | Schema.Schema.All = typeof Schema.Void,
  Success extends Schema.Schema.All = typeof Schema.Void,
  Error extends Schema.Schema.All = typeof Schema.Never
>(
  name: Name,
  options?: Options<
    Payload & NeedsNoServices<PayloadSchema<Payload>>,
    Success & NeedsNoServices<Success>,
    Error & NeedsNoServices<Error>
  >
): Task<Name, PayloadSchema<Payload>, Success, Error> => {
  const payload = options?.payload ?? Schema.Void
  const key = `@effect-tasks/core/Task/Handler/${name}`
  const self: Task<Name, PayloadSchema<Payload>, Success, Error> = {
    name,
    key,
    description: options?.description,
    payloadSchema: toSchema(payload) as PayloadSchema<Payload>,
    successSchema: (options?.success ?? Schema.Void) as Success,
    errorSchema: (options?.error ?? Schema.Never) as Error,
    queueName: options?.queue ?? "default",
    priority: TaskPriority.toNumber(options?.priority ?? "medium"),
    // a copy: the records of runs share it
    tags: Array.from(options?.tags ?? []),
    retry: options?.retry as Schedule.Schedule<unknown, unknown> | undefined,
    timeout: options?.timeout === undefined ? undefined : Duration.decode(options.timeout),
    maxConcurrency: options?.maxConcurrency,
    maxCrashes: options?.maxCrashes ?? 3,
    requeueOnInterrupt: options?.requeueOnInterrupt ?? true,
    queue: (payload, options) =>
      Effect.flatMap(TaskManager, (manager) =>
        Effect.map(manager.queue(self, [payload], options), ([handle]) => handle!)
      ),
    queueAll: (payloads, options) => Effect.flatMap(TaskManager, (manager) => manager.queue(self, payloads, options)),
    queueAndWait: (payload, options) =>
      Effect.flatMap(self.queue(payload, options), (handle) =>
        options?.timeout === undefined ? handle.await : handle.awaitFor(options.timeout)
      ),
    execute: (payload, options) =>
      Effect.flatMap(TaskManager, (manager) =>
        Effect.flatMap(handlers.tag(self), (entry) => manager.execute(self, entry, payload, options))
      ),
    handle: (id) => Effect.map(TaskManager, (manager) => manager.handle(self, id)),
    completeWith: (effect) => completing.completeWith(self, effect),
    toLayer: (handler) => handlers.layer(self, handler)
  }
  return self
}

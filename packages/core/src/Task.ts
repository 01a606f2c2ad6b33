/**
 * A task: a name, schemas for what goes in, what comes out and how it fails, and the policies by which it is performed. A
 * value without behaviour; its handler is given apart, as a Layer.
 *
 * @since 0.1.0
 */
import { Duration, Effect, type Layer, Predicate, type Schedule, Schema, type Scope } from "effect"
import type { CurrentRun } from "./CurrentRun.js"
import * as batching from "./internal/batching.js"
import * as completing from "./internal/completing.js"
import * as definition from "./internal/definition.js"
import type { Handler, HandlerOf, HandlerServices } from "./internal/handlers.js"
import * as handlers from "./internal/handlers.js"
import {
  type CreateError,
  type ExecuteError,
  type ExecuteOptions,
  type QueueError,
  type QueueOptions,
  TaskManager
} from "./internal/managerTag.js"
import * as taskLimits from "./internal/taskLimits.js"
import type { CompleteUpcasts, Upcasts } from "./internal/versions.js"
import * as versions from "./internal/versions.js"
import type * as Limit from "./Limit.js"
import type {
  BackendError,
  ExecutorCrashed,
  InvalidOption,
  RunNotFound,
  TaskDefect,
  TaskTimeout,
  WaitTimeout
} from "./TaskError.js"
import * as TaskPriority from "./TaskPriority.js"
import type * as TaskRun from "./TaskRun.js"
import type { TaskSchedule } from "./TaskSchedule.js"
import type { TaskTransaction } from "./TaskTransaction.js"

/**
 * What a retry schedule is asked about: the task's own error, a timeout, a defect, or the end of the thread or the process
 * that performed the attempt.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<E> = E | TaskTimeout | TaskDefect | ExecutorCrashed

/**
 * Where the attempts of a task are performed: in a fiber of the consumer (`inline`), or, for what keeps the processor busy,
 * in a thread or a process of its own.
 *
 * @since 0.1.0
 * @category models
 */
export type Executor = definition.Executor

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
 * The mark that every task carries.
 *
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: definition.TypeId = definition.TypeId

/**
 * Whether a value is a task.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTask = (value: unknown): value is Any => Predicate.hasProperty(value, TypeId)

/**
 * The policies of a task.
 *
 * - `description`: what it does, for people
 * - `payload`: the fields, or the schema, of what goes in. Default: nothing
 * - `version`: the version of the payload's encoded form, a literal integer. Default: 1
 * - `upcasts`: for each older version, the function that makes the next version's encoded payload of its own (see
 *   `Upcasts`). Default: none, which only version 1 allows
 * - `success`: the schema of what comes out. Default: nothing
 * - `error`: the schema of the errors that the handler may fail with. Default: none
 * - `retry`: whether and when a failed run is tried again (see `RetryPolicy`). Default: never
 * - `timeout`: how long an attempt may take before its fiber is interrupted. Default: without end
 * - `queue`: the queue it waits in. Default: `default`
 * - `priority`: Default: `medium`
 * - `maxConcurrency`: how many runs of it may be running at one time, over all consumers. Default: no limit
 * - `limit`: limits of any kind, by key of the payload too (see `Limit`). Default: none
 * - `maxQueued`: how many runs of it may wait in a queue; a request beyond that fails with `QueueFull`. Default: no limit
 * - `maxCrashes`: how often its consumer may die before the run is given up. Default: 3
 * - `requeueOnInterrupt`: whether a run that a shutdown interrupts is given back to the queue, to be performed again (true),
 *   or ends as `interrupted` (false). Default: true
 * - `executor`: where its attempts are performed. A `thread` or a `process` needs its handler from a `TaskExecutor`, such as
 *   `NodeExecutor.layer`; a handler of `toLayer` performs the task inline in any case, as tests do. Default: `inline`
 * - `tags`: labels that every run of it carries
 * - `schedule`: when it is performed by itself; a `TaskScheduler` with the task fires it, under the task's name. Default: never
 * - `schedulePayload`: what goes in then. It may be left out where the payload can be nothing, or all fields are optional
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Payload, Success extends Schema.Schema.All, Error extends Schema.Schema.All> {
  readonly description?: string | undefined
  readonly payload?: Payload | undefined
  readonly version?: number | undefined
  readonly upcasts?: Upcasts | undefined
  readonly success?: Success | undefined
  readonly error?: Error | undefined
  readonly retry?: Schedule.Schedule<unknown, Failure<Schema.Schema.Type<Error>>> | undefined
  readonly timeout?: Duration.DurationInput | undefined
  readonly queue?: string | undefined
  readonly priority?: TaskPriority.TaskPriority | undefined
  readonly maxConcurrency?: number | undefined
  readonly limit?: Limit.Limit<Schema.Schema.Type<PayloadSchema<Payload>>> | undefined
  readonly maxQueued?: number | undefined
  readonly maxCrashes?: number | undefined
  readonly requeueOnInterrupt?: boolean | undefined
  readonly executor?: Executor | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly schedule?: TaskSchedule | undefined
  readonly schedulePayload?: Schema.Schema.Type<PayloadSchema<Payload>> | undefined
}

export type {
  /**
   * Why a run could not be made.
   *
   * @since 0.1.0
   * @category models
   */
  CreateError,
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
   * - `group`: the tenant it belongs to; consumers serve the groups of a queue in turn
   * - `maxQueued`: instead of the task's own
   * - `expiresAt` (a `Date` or epoch milliseconds): a run that has not begun by then ends as `aborted`. Default: never
   * - `parent`: the run that it follows from, as a record or a handle. Default: the run whose handler queues it
   * - `idempotencyKey`: at most one run of the task holds a key (see `Idempotency`)
   *
   * @since 0.1.0
   * @category models
   */
  QueueOptions
} from "./internal/managerTag.js"
export type {
  /**
   * Makes the encoded payload of version n + 1 of the encoded payload of version n. A pure function: it is called each time
   * that an old run is performed. What it throws ends the run as `PayloadInvalid`; nothing is lost, the payload is stored as
   * it was queued, and the run can be repeated once the upcast is put right.
   *
   * @since 0.1.0
   * @category models
   */
  Upcast,
  /**
   * The upcasts of a task of version n: those from the versions 1 to n - 1, all of them. A run is stored with the payload
   * and the version that it was queued with; when it is performed, the payload goes through the upcasts from its version on,
   * and then through the schema.
   *
   * While a new version is rolled out, consumers of the old one meet runs of the new one. They put such a run off by 10
   * seconds, log a warning, and burn no attempt.
   *
   * @since 0.1.0
   * @category models
   */
  Upcasts
} from "./internal/versions.js"

/**
 * A task, and the ways to use it. The accessors need a `TaskManager`.
 *
 * - `queue`: accepts one run, durably, and gives its handle
 * - `queueAll`: many at once, all or none
 * - `queueAndWait`: queues and waits for the typed success, or the typed error of the final outcome, also when another
 *   process performs it
 * - `createRun`: makes a run and its id, and queues nothing; `TaskManager.queueRun`, or the run's own `queue`, does that
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

  readonly createRun: (
    payload: Schema.Schema.Type<Payload>,
    options?: QueueOptions
  ) => Effect.Effect<TaskRun.NewRun<Task<Name, Payload, Success, Error>>, CreateError, TaskManager>

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
   * The function that performs several runs of a task at once. It gives one `Exit`, or `Either`, for each item, in their
   * order. When it fails itself, or dies, so does every run of the batch.
   *
   * It has no current run: `CurrentRun` in it leaves a Layer that nobody can provide. The `Scope` in it is the batch's own,
   * and is closed when the handler has ended. A run that is queued in it has no parent, and what it logs goes to the
   * application's loggers, but to the log of no run; inside `item.use` both belong to the item's run.
   *
   * @since 0.1.0
   * @category models
   */
  BatchHandlerOf,
  /**
   * One run of a batch.
   *
   * - `payload`: what went in
   * - `run`: what `CurrentRun` shows of a run
   * - `use`: performs an effect as a part of this run: there, `CurrentRun`, `completeWith`, log lines and what is queued are
   *   the run's. `abort`, `snooze` and `rateLimited` end an effect as defects do: `Effect.exit(item.use(effect))` makes an
   *   exit of it, and decides about this run only
   *
   * @since 0.1.0
   * @category models
   */
  BatchItem,
  /**
   * How runs are put together.
   *
   * - `maxSize`: a batch begins when so many items wait. A consumer performs no more runs at one time than its
   *   `maxConcurrentTasks` (default: 10), and those that wait for a batch count: make it `maxSize` at the least, or batches
   *   will not be full. The same holds for the task's `maxConcurrency`
   * - `maxWait`: a batch begins so long after its first item, though it is not full. The time counts towards the `timeout` of
   *   the task
   * - `concurrency`: how many batches may be under way at one time, in this process. The items that come meanwhile make up the
   *   next batch, so `maxConcurrentTasks` should be `maxSize` for each of these and once more. Default: 1
   *
   * @since 0.1.0
   * @category models
   */
  BatchOptions,
  /**
   * The services that a batch handler needs from outside.
   *
   * @since 0.1.0
   * @category models
   */
  BatchServices
} from "./internal/batching.js"
export type {
  /**
   * The function that performs a task. It fails with the task's own error. What queueing a child, or taking a lock, may fail
   * with it need not catch: such a failure counts as a defect, which a `retry` schedule sees as `TaskDefect`.
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

/** A schedule needs a payload, where the task's cannot be made of nothing. */
type NeedsPayload<Scheduled, Payload extends Schema.Schema.All> = [Scheduled] extends [undefined]
  ? unknown
  : definition.PayloadOption<Schema.Schema.Type<Payload>, "schedulePayload">

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
  Error extends Schema.Schema.All = typeof Schema.Never,
  Version extends number = 1,
  From extends number = never,
  Scheduled extends TaskSchedule | undefined = undefined
>(
  name: Name,
  options?: Options<
    Payload & NeedsNoServices<PayloadSchema<Payload>>,
    Success & NeedsNoServices<Success>,
    Error & NeedsNoServices<Error>
  > & {
    readonly version?: Version | undefined
    readonly upcasts?: { readonly [V in From]: versions.Upcast } | undefined
    readonly schedule?: Scheduled
  } & CompleteUpcasts<Version, From> &
    NeedsPayload<Scheduled, PayloadSchema<Payload>>
): Task<Name, PayloadSchema<Payload>, Success, Error> => {
  const payload = options?.payload ?? Schema.Void
  const key = `@effect-tasks/core/Task/Handler/${name}`
  const limitList: ReadonlyArray<Limit.Single<never>> = options?.limit?.limits ?? []
  const self: Task<Name, PayloadSchema<Payload>, Success, Error> = {
    [TypeId]: TypeId,
    name,
    key,
    description: options?.description,
    version: options?.version ?? 1,
    upcasts: options?.upcasts,
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
    limitList,
    limits: taskLimits.make(options?.maxConcurrency, limitList),
    maxQueued: options?.maxQueued,
    maxCrashes: options?.maxCrashes ?? 3,
    requeueOnInterrupt: options?.requeueOnInterrupt ?? true,
    schedule: options?.schedule,
    schedulePayload: options?.schedulePayload,
    executor: options?.executor ?? "inline",
    queue: (payload, options) =>
      Effect.flatMap(TaskManager, (manager) =>
        Effect.map(manager.queue(self, [payload], options), ([handle]) => handle!)
      ),
    queueAll: (payloads, options) => Effect.flatMap(TaskManager, (manager) => manager.queue(self, payloads, options)),
    queueAndWait: (payload, options) =>
      Effect.flatMap(self.queue(payload, options), (handle) =>
        options?.timeout === undefined ? handle.await : handle.awaitFor(options.timeout)
      ),
    createRun: (payload, options) =>
      Effect.flatMap(TaskManager, (manager) => manager.createRun(self, payload, options)),
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

/**
 * An upcast from a version whose payload had this schema, or these fields: its function takes the old payload decoded. What
 * it gives is the next version's payload in its encoded form (a date as text, say).
 *
 * @example
 * ```ts
 * import { Task } from "@effect-tasks/core"
 * import { Schema } from "effect"
 *
 * const Welcome = Task.make("Welcome", {
 *   version: 3,
 *   payload: { to: Schema.String, language: Schema.String, copies: Schema.Number },
 *   upcasts: {
 *     1: Task.upcast({ email: Schema.String }, ({ email }) => ({ to: email, language: "en" })),
 *     2: (payload) => ({ ...(payload as object), copies: 1 })
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const upcast = <Old extends Schema.Struct.Fields | Schema.Schema.All>(
  payload: Old & NeedsNoServices<PayloadSchema<Old>>,
  f: (payload: Schema.Schema.Type<PayloadSchema<Old>>) => unknown
): versions.Upcast =>
  versions.upcast(toSchema(payload) as Schema.Schema<Schema.Schema.Type<PayloadSchema<Old>>, unknown>, f)

/**
 * Gives the handler of a task as one that performs several runs at once: for a bulk insert, or an interface that takes many
 * requests in one. To consumers and groups it is a handler like any other. Each run keeps its own attempt, ledger, retries
 * and timeout, and gets its own exit.
 *
 * A run that is interrupted (cancelled, timed out, at a shutdown, with its claim lost) before its batch has begun leaves it.
 * Afterwards it ends at once, and its exit is discarded, while the batch goes on for the others. When all runs of a batch are
 * interrupted, the batch is too, and its finalizers have run before the last of them ends.
 *
 * @example
 * ```ts
 * import { Task } from "@effect-tasks/core"
 * import { Effect, Exit, Schema } from "effect"
 *
 * const Index = Task.make("Index", { payload: { id: Schema.String }, error: Schema.String })
 *
 * declare const bulkIndex: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<boolean>, string>
 *
 * const IndexLive = Task.batch(Index, { maxSize: 100, maxWait: "50 millis" }, (items) =>
 *   Effect.map(bulkIndex(items.map(({ payload }) => payload.id)), (accepted) =>
 *     accepted.map((ok) => (ok ? Exit.void : Exit.fail("refused")))
 *   )
 * )
 *
 * // each run by itself, as a part of the batch
 * const OneByOneLive = Task.batch(Index, { maxSize: 100, maxWait: "50 millis" }, (items) =>
 *   Effect.forEach(items, (item) => Effect.exit(item.use(Effect.log(`index ${item.payload.id}`))))
 * )
 * ```
 *
 * @since 0.1.0
 * @category handlers
 */
export const batch = <
  Name extends string,
  Payload extends Schema.Schema.All,
  Success extends Schema.Schema.All,
  Error extends Schema.Schema.All,
  H extends batching.BatchHandlerOf<Payload, Success, Error>,
  EX = never,
  RX = never
>(
  task: Task<Name, Payload, Success, Error>,
  options: batching.BatchOptions,
  handler: H | Effect.Effect<H, EX, RX>
): Layer.Layer<Handler<Name>, EX | InvalidOption, Exclude<RX, Scope.Scope> | batching.BatchServices<H>> =>
  batching.layer(task, options, handler)

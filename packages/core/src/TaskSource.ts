/**
 * Performing what a source finds: ask for a task, run it, ask for the next, so many at a time, until there is none.
 *
 * Here a task is any Effect. It is not stored, so nothing survives the process: for tasks that must, queue runs (`Task`).
 * A consumer starts a source when it has a free place, and stops it when it has none; it ends when the source is dry and
 * nothing runs, and reports what became of the tasks.
 *
 * @since 0.1.0
 */
import { type Cause, type Context, Duration, Effect, Option, type Schedule, type Scope, Stream } from "effect"
import * as checking from "./internal/checking.js"
import * as limitedConsumer from "./internal/limitedConsumer.js"
import * as loop from "./internal/polling.js"
import * as sourceStream from "./internal/sourceStream.js"
import type { AlreadyRunning, NotRunning } from "./SubscriptionError.js"
import type { InvalidOption } from "./TaskError.js"

/**
 * Whom a source tells what it finds. All three return soon; `taskStarted` does not wait for the task. They fail with
 * `NotRunning` when the consumer has ended.
 *
 * - `taskStarted`: here is a task; it is to be run, for it may not be offered again
 * - `noTasksFound`: there is nothing to do now
 * - `taskProductionFailed`: the source could not tell
 *
 * @since 0.1.0
 * @category models
 */
export interface Sink<in E, in PE> extends loop.Sink<E, PE> {}

/**
 * A source that is open.
 *
 * - `start`: looks for tasks at once, and tells the sink. When it was started before, the new sink takes the place of the
 *   old one
 * - `stop`: looks no further. It returns when the look under way is over, which may still find a task, and says whether
 *   the source is still stopped then: `false` when it was started again meanwhile
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenSource<out E, out PE> extends loop.OpenSource<E, PE> {}

/**
 * Where tasks come from: tasks that fail with `E`, found by looking that fails with `PE`. A value; it does nothing until it
 * is opened, and can be opened several times.
 *
 * @since 0.1.0
 * @category models
 */
export interface TaskSource<out E = never, out PE = never, out R = never> {
  readonly open: Effect.Effect<OpenSource<E, PE>, InvalidOption, R | Scope.Scope>
}

/**
 * What a producer may give: a task, in an Option or not, or nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Produced =
  | Option.Option<Effect.Effect<unknown, unknown, unknown>>
  | Effect.Effect<unknown, unknown, unknown>
  | undefined
  | null

type TaskOf<P> = P extends Option.Option<infer A> ? A : P extends Effect.Effect<unknown, unknown, unknown> ? P : never
type ErrorOf<T> = T extends Effect.Effect<unknown, infer E, unknown> ? E : never
type ContextOf<T> = T extends Effect.Effect<unknown, unknown, infer R> ? R : never

/**
 * A source of one's own. It lives in the Scope in which it is opened.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E, PE, EX extends InvalidOption, R>(
  open: Effect.Effect<OpenSource<E, PE>, EX, R>
): TaskSource<E, PE, Exclude<R, Scope.Scope>> => ({ open: open as TaskSource<E, PE, Exclude<R, Scope.Scope>>["open"] })

/**
 * How a producer is asked.
 *
 * - `interval`: the time from one poll to the next, on a grid that begins at each start of the source. One poll is under way
 *   at a time; when it takes longer, the points that it misses are left out
 * - `produce`: gives a task, or nothing
 * - `backoff`: when to ask again after a failure, within the same poll; a stop cuts it short. Only when it is done is the failure
 *   told of. Default: at once. A defect is not tried again
 *
 * @since 0.1.0
 * @category models
 */
export interface PollingOptions<P extends Produced, PE, R> {
  readonly interval: Duration.DurationInput
  readonly produce: Effect.Effect<P, PE, R>
  readonly backoff?: Schedule.Schedule<unknown, PE> | undefined
}

/**
 * A source that asks a producer: at once when it is started, and then at an interval.
 *
 * @example
 * ```ts
 * import { TaskSource } from "@effect-tasks/core"
 * import { Effect, Option, Schedule } from "effect"
 *
 * declare const nextMirror: Effect.Effect<Option.Option<string>, Error>
 * declare const pullMirror: (name: string) => Effect.Effect<void, Error>
 *
 * const mirrors = TaskSource.polling({
 *   interval: "10 seconds",
 *   produce: Effect.map(nextMirror, Option.map(pullMirror)),
 *   backoff: Schedule.exponential("1 second").pipe(Schedule.intersect(Schedule.recurs(5)))
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const polling = <P extends Produced, PE, R>(
  options: PollingOptions<P, PE, R>
): TaskSource<ErrorOf<TaskOf<P>>, PE, R | ContextOf<TaskOf<P>>> => ({
  open: Effect.gen(function* () {
    const interval = yield* checking.millis("interval", options.interval, 1)
    const context = yield* Effect.context<R | ContextOf<TaskOf<P>>>()
    const produce = Effect.map(options.produce, (produced) => {
      const task = taskOf(produced) as Effect.Effect<unknown, ErrorOf<TaskOf<P>>, ContextOf<TaskOf<P>>> | undefined
      return task === undefined ? undefined : Effect.provide(task, context)
    })
    return yield* loop.open({ interval, produce: Effect.provide(produce, context), backoff: options.backoff })
  })
})

const taskOf = (produced: Produced): Effect.Effect<unknown, unknown, unknown> | undefined =>
  Option.isOption(produced) ? Option.getOrUndefined(produced) : (produced ?? undefined)

/**
 * A source that gives the elements of a stream, and is dry at its end. The stream is read when the consumer has a free
 * place, and no further. A failure of the stream is told of once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromStream = <T extends Effect.Effect<unknown, unknown, unknown>, PE, R>(
  self: Stream.Stream<T, PE, R>
): TaskSource<ErrorOf<T>, PE, ContextOf<T> | R> => ({
  open: Effect.flatMap(Effect.context<ContextOf<T>>(), (context) =>
    sourceStream.fromStream(Stream.map(self, (task) => providing(task, context)))
  )
})

const providing = <T extends Effect.Effect<unknown, unknown, unknown>>(
  task: T,
  context: Context.Context<ContextOf<T>>
): Effect.Effect<unknown, ErrorOf<T>> =>
  Effect.provide(task as Effect.Effect<unknown, ErrorOf<T>, ContextOf<T>>, context)

/**
 * The tasks of a source as a stream, which is read at the pace of its reader. It ends when the source is dry, and fails when
 * the source could not tell. As a `daemon` it does neither: it goes on looking.
 *
 * @since 0.1.0
 * @category conversions
 */
export const stream = <E, PE, R>(
  source: TaskSource<E, PE, R>,
  options: { readonly daemon?: boolean | undefined } = {}
): Stream.Stream<Effect.Effect<unknown, E>, PE | InvalidOption, R> =>
  sourceStream.toStream(source.open, options.daemon ?? false)

/**
 * How tasks are consumed.
 *
 * - `workerLimit`: how many tasks run at one time
 * - `timeout`: how long one may take; then it is interrupted, and fails with a `TimeoutException`. Default: no limit
 * - `overLimit`: what becomes of a task that comes when no place is free: `"run"` (default) runs it all the same, for it may not
 *   be offered again; `"wait"` keeps it until a place is free, so that there are never more
 * - `daemon`: it does not end when the source is dry or fails, but lets it look on, until it is stopped. Default: false
 * - `keepFailures`: how many causes of each kind the report keeps. Default: 100
 * - `name`: for logs and errors. Default: `consumer`
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerOptions {
  readonly workerLimit: number
  readonly timeout?: Duration.DurationInput | undefined
  readonly overLimit?: "run" | "wait" | undefined
  readonly daemon?: boolean | undefined
  readonly keepFailures?: number | undefined
  readonly name?: string | undefined
}

/**
 * What became of the tasks of a source.
 *
 * - `started`, `succeeded`, `failed`: how many tasks; what died or was interrupted counts as failed
 * - `failures`: why, of the first ones
 * - `productionsFailed`, `productionFailures`: how often the source could not tell, and why, of the first times
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<out E, out PE> extends limitedConsumer.Report<E, PE> {}

/**
 * A consumer of one source at a time.
 *
 * - `consume`: starts the source, runs its tasks, and reports when the source is dry and nothing runs. Interrupting it stops the
 *   source, then the tasks, and waits for their finalizers. While it goes on, another call is `AlreadyRunning`; after that the
 *   consumer can be used again
 * - `stop`: takes no more tasks. Those under way finish, and then `consume` reports
 * - `taskStarted`, `noTasksFound`, `taskProductionFailed`: hand something to the consumption under way, beside its source.
 *   Without one they fail with `NotRunning`
 *
 * @since 0.1.0
 * @category models
 */
export interface ParallelLimitedConsumer {
  readonly consume: <E, PE, R>(
    source: TaskSource<E, PE, R>
  ) => Effect.Effect<Report<E, PE>, AlreadyRunning | InvalidOption, R>
  readonly stop: Effect.Effect<void>
  readonly taskStarted: <R>(task: Effect.Effect<unknown, never, R>) => Effect.Effect<void, NotRunning, R>
  readonly noTasksFound: Effect.Effect<void, NotRunning>
  readonly taskProductionFailed: (cause: Cause.Cause<never>) => Effect.Effect<void, NotRunning>
}

/**
 * A consumer that runs a limited number of tasks at one time, and ends when there are none.
 *
 * @example
 * ```ts
 * import { TaskSource } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * declare const mirrors: TaskSource.TaskSource<Error>
 *
 * const program = Effect.gen(function* () {
 *   const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 4, timeout: "1 hour" })
 *   const { failed, started } = yield* consumer.consume(mirrors)
 *   yield* Effect.log(`${started} mirrors pulled, ${failed} of them in vain`)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const parallelLimitedConsumer = (
  options: ConsumerOptions
): Effect.Effect<ParallelLimitedConsumer, InvalidOption> =>
  Effect.gen(function* () {
    const { daemon = false, name = "consumer", overLimit = "run", timeout } = options
    const consumer = limitedConsumer.make({
      name,
      overLimit,
      daemon,
      workerLimit: yield* checking.count("workerLimit", options.workerLimit, 1),
      keepFailures: yield* checking.count("keepFailures", options.keepFailures ?? 100, 0),
      timeout: timeout === undefined ? undefined : Duration.millis(yield* checking.millis("timeout", timeout, 1))
    })
    return {
      ...consumer,
      consume: (source) => consumer.consume(source.open),
      taskStarted: <R>(task: Effect.Effect<unknown, never, R>) =>
        Effect.contextWithEffect((context: Context.Context<R>) => consumer.taskStarted(Effect.provide(task, context)))
    }
  })

/**
 * Runs the effects of a stream, a limited number at one time, and reports what became of them. A failure of one does not
 * hold up the others; a failure of the stream ends it when those under way have ended, and stands in the report.
 *
 * @example
 * ```ts
 * import { TaskSource } from "@effect-tasks/core"
 * import { Effect, Stream } from "effect"
 *
 * const program = Stream.make("a", "b", "c").pipe(
 *   Stream.map((name) => Effect.log(name)),
 *   TaskSource.drain({ workerLimit: 2 })
 * )
 * ```
 *
 * @since 0.1.0
 * @category destructors
 */
export const drain =
  (options: ConsumerOptions) =>
  <T extends Effect.Effect<unknown, unknown, unknown>, PE, R>(
    self: Stream.Stream<T, PE, R>
  ): Effect.Effect<Report<ErrorOf<T>, PE>, InvalidOption, ContextOf<T> | R> =>
    Effect.flatMap(parallelLimitedConsumer(options), (consumer) =>
      Effect.catchTag(consumer.consume(fromStream(self)), "AlreadyRunning", Effect.die)
    )

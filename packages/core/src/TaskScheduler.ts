/**
 * Fires the schedules of tasks: those that the code declares, and those that are made at runtime.
 *
 * Schedules are stored in the backend. Any number of schedulers may be at work: each fires what is due, and a tick's new record
 * and its runs are one commit, so a tick is fired once over all of them, and none is lost when one dies. There is no leader.
 *
 * A scheduler queues runs and performs none, and it need not know the tasks: that is what consumers are for.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, type Schema, type Scope } from "effect"
import type { Backend } from "./Backend.js"
import { Broker } from "./Broker.js"
import * as declaring from "./internal/declaring.js"
import type * as definition from "./internal/definition.js"
import type { LoopStatus } from "./internal/loops.js"
import * as metrics from "./internal/metrics.js"
import * as oneShots from "./internal/oneShots.js"
import * as operating from "./internal/scheduleOperating.js"
import type { ScheduleRecord } from "./internal/scheduleRecords.js"
import { checkName } from "./internal/scheduleRecords.js"
import * as scheduler from "./internal/scheduler.js"
import type { Parts } from "./internal/schedulerParts.js"
import * as uuid7 from "./internal/uuid7.js"
import type { InvalidSchedule, ScheduleExists, ScheduleNotFound } from "./ScheduleError.js"
import { Store } from "./Store.js"
import type * as Task from "./Task.js"
import type { BackendError, DuplicateTask, InvalidOption } from "./TaskError.js"
import { TaskEvents } from "./TaskEvents.js"
import * as TaskGroup from "./TaskGroup.js"
import { defaultMaxPayloadBytes, TaskManager } from "./TaskManager.js"
import type { RunId } from "./TaskRun.js"
import type { TaskSchedule } from "./TaskSchedule.js"

export type {
  /**
   * Why a schedule could not be made: it is not in order, or its payload is not.
   *
   * @since 0.1.0
   * @category models
   */
  MakeError
} from "./internal/declaring.js"
export {
  /**
   * A one-shot that waits: its key, its task, when it is due, the encoded payload, and its run.
   *
   * @since 0.1.0
   * @category schemas
   */
  OneShot
} from "./internal/oneShots.js"
export type {
  /**
   * How the runs of a schedule are queued: as in `Task.QueueOptions`.
   *
   * @since 0.1.0
   * @category models
   */
  RunOptions
} from "./internal/scheduleOperating.js"
export {
  /**
   * An immutable copy of a schedule's record. Times are epoch milliseconds.
   *
   * - `payload`: the encoded payload of its runs, a `TaskRun.Encrypted` where it cannot be decrypted
   * - `source`: whether the code declares it, or it was added at runtime
   * - `scope`: of the scheduler that declares it
   * - `nextTick`: the tick that is fired next, `null` when there is none, or none before the run has ended
   * - `nextAt`: when that is, with its jitter; `null` also while it is paused
   * - `waitingTick`: a tick that waits for the end of a run (`overlap`)
   * - `lastTick`: the last tick that was dealt with
   * - `lastRunId`: its newest run
   *
   * @since 0.1.0
   * @category schemas
   */
  ScheduleRecord
} from "./internal/scheduleRecords.js"

/**
 * - `scope`: whose declarations these are. Declared schedules of the same scope that the code no longer has are removed at the
 *   start, so applications that share a backend need a scope each. Default: `default`
 * - `maxPayloadBytes`: the largest encoded payload, in bytes. Default: 1 MiB
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly scope?: string | undefined
  readonly maxPayloadBytes?: number | undefined
}

/**
 * A task with a payload, which may be left out where it can be nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Work<T extends Task.Any> = { readonly task: T } & definition.PayloadOption<
  Schema.Schema.Type<T["payloadSchema"]>,
  "payload"
>

/**
 * The scheduler.
 *
 * - `add`: makes a schedule at runtime; `edit` changes it, or one that is declared; `remove` ends it
 * - `pause`, `resume`: ticks that pass meanwhile do not count as missed
 * - `trigger`: queues a run now, beside the ticks, also of a paused schedule; gives its id
 * - `get`, `list`, `preview`: what there is, and its next ticks without their jitter
 * - `once`: performs a task at a moment, under a key of the task; a later call with the key replaces payload and moment while
 *   the run waits. `cancelOnce` says whether one waited; `listOnce` gives the first thousand by time
 * - `status`: of the scheduler's loops; none for `client`
 *
 * What is declared keeps what was edited at runtime until the code says something new of it.
 *
 * @example
 * ```ts
 * import { Task, TaskSchedule, TaskScheduler } from "@effect-tasks/core"
 * import { Effect, Schema } from "effect"
 *
 * const Report = Task.make("Report", { payload: { team: Schema.String } })
 *
 * const program = Effect.gen(function*() {
 *   const scheduler = yield* TaskScheduler.TaskScheduler
 *   yield* scheduler.add("report-of-a", {
 *     task: Report,
 *     payload: { team: "a" },
 *     schedule: TaskSchedule.cron("0 8 * * MON")
 *   })
 *   yield* scheduler.pause("report-of-a")
 *   yield* scheduler.once("reminder", { task: Report, payload: { team: "b" }, at: new Date("2030-01-01T08:00Z") })
 * })
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class TaskScheduler extends Context.Tag("@effect-tasks/core/TaskScheduler")<
  TaskScheduler,
  {
    readonly add: <T extends Task.Any>(
      name: string,
      options: Work<T> &
        operating.RunOptions & { readonly schedule: TaskSchedule; readonly paused?: boolean | undefined }
    ) => Effect.Effect<void, declaring.MakeError | ScheduleExists | BackendError>

    /** Changes when it ticks, or, with a task, what it queues. What waits or runs stays as it is. */
    readonly edit: <T extends Task.Any = never>(
      name: string,
      changes:
        | { readonly schedule: TaskSchedule }
        | (Work<T> & operating.RunOptions & { readonly schedule?: TaskSchedule | undefined })
    ) => Effect.Effect<void, declaring.MakeError | ScheduleNotFound | BackendError>

    readonly remove: (name: string) => Effect.Effect<void, ScheduleNotFound | BackendError>
    readonly pause: (name: string) => Effect.Effect<void, ScheduleNotFound | InvalidSchedule | BackendError>
    readonly resume: (name: string) => Effect.Effect<void, ScheduleNotFound | InvalidSchedule | BackendError>
    readonly trigger: (name: string) => Effect.Effect<RunId, ScheduleNotFound | InvalidSchedule | BackendError>
    readonly get: (name: string) => Effect.Effect<ScheduleRecord, ScheduleNotFound | InvalidSchedule | BackendError>
    readonly list: Effect.Effect<ReadonlyArray<ScheduleRecord>, BackendError>

    /** So many of its next ticks (1 to 1,000), or as many as there are. */
    readonly preview: (
      name: string,
      count: number
    ) => Effect.Effect<ReadonlyArray<number>, InvalidOption | ScheduleNotFound | InvalidSchedule | BackendError>

    readonly once: <T extends Task.Any>(
      key: string,
      options: Work<T> & { readonly at: Date | number }
    ) => Effect.Effect<RunId, Task.QueueError>
    readonly cancelOnce: (key: string) => Effect.Effect<boolean, BackendError>
    readonly listOnce: Effect.Effect<ReadonlyArray<oneShots.OneShot>, BackendError>
    readonly status: Effect.Effect<ReadonlyArray<LoopStatus>>
  }
>() {}

const service = (
  parts: Parts,
  manager: typeof TaskManager.Service,
  status: Effect.Effect<ReadonlyArray<LoopStatus>>
): typeof TaskScheduler.Service => ({
  add: (name, options) => operating.add(parts, name, options),
  edit: (name, changes) => operating.edit(parts, name, changes),
  remove: (name) => operating.remove(parts, name),
  pause: (name) => operating.pause(parts, name),
  resume: (name) => operating.resume(parts, name),
  trigger: (name) => operating.trigger(parts, name),
  get: (name) => operating.get(parts, name),
  list: operating.list(parts),
  preview: (name, count) => operating.upcoming(parts, name, count),
  once: (key, options) => oneShots.once(manager, key, options),
  cancelOnce: (key) => oneShots.cancel(parts, key),
  listOnce: oneShots.list(parts),
  status
})

const parts = Effect.fnUntraced(function* (options: Options) {
  const made: Parts = {
    broker: yield* Broker,
    store: yield* Store,
    bus: yield* TaskEvents,
    meter: yield* metrics.make,
    ids: yield* uuid7.make,
    maxPayloadBytes: options.maxPayloadBytes ?? defaultMaxPayloadBytes
  }
  return made
})

/**
 * Starts a scheduler, which lasts as long as the Scope. The schedules of the group's tasks are declared: see `layer`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: Options = {}
): Effect.Effect<
  typeof TaskScheduler.Service,
  DuplicateTask | declaring.MakeError,
  TaskManager | TaskEvents | Backend | Scope.Scope
> =>
  Effect.gen(function* () {
    const made = yield* parts(options)
    const tasks = yield* TaskGroup.byName(group)
    const scope = yield* checkName("scope", options.scope ?? "default")
    const declared = yield* Effect.forEach(tasks.values(), (task) =>
      task.schedule === undefined
        ? Effect.succeed([])
        : Effect.map(declaring.make(made, task.name, task, task.schedule, task.schedulePayload), (one) => [one])
    )
    const { status } = yield* scheduler.start(made, declared.flat(), scope)
    return service(made, yield* TaskManager, status)
  })

/**
 * A scheduler. The schedules of the group's tasks (`schedule` of `Task.make`) are declared when it starts: new ones are added,
 * those that the code has changed are changed and keep their last tick, and declared ones that it no longer has are removed.
 * What is paused stays so. While the backend is away it goes on trying.
 *
 * When its Scope closes it stops firing. Where a process performs too, build it on its consumer, so that it stops first:
 * `Clock.pipe(Layer.provideMerge(Workers))`.
 *
 * @example
 * ```ts
 * import { Task, TaskGroup, TaskSchedule, TaskScheduler } from "@effect-tasks/core"
 *
 * const Nightly = Task.make("Nightly", {
 *   schedule: TaskSchedule.cron("0 3 * * *", { timeZone: "Europe/London", catchUp: "last", overlap: "skip" })
 * })
 * const Tick = Task.make("Tick", { schedule: TaskSchedule.every("10 seconds", { jitter: "1 second" }) })
 *
 * const Clock = TaskScheduler.layer(TaskGroup.make(Nightly, Tick))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: Options = {}
): Layer.Layer<TaskScheduler, DuplicateTask | declaring.MakeError, TaskManager | TaskEvents | Backend> =>
  Layer.scoped(TaskScheduler, make(group, options))

/**
 * The operations without the firing: for a program that lists, pauses or adds schedules which others fire.
 *
 * @since 0.1.0
 * @category layers
 */
export const client: Layer.Layer<TaskScheduler, never, TaskManager | TaskEvents | Backend> = Layer.effect(
  TaskScheduler,
  Effect.gen(function* () {
    return service(yield* parts({}), yield* TaskManager, Effect.succeed([]))
  })
)

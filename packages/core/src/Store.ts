/**
 * The record: history, attempts, results, logs, consumers, and every query.
 *
 * This is the interface for those who write a backend; applications ask their `TaskManager`. Like `Broker` it is encoded and
 * works on arrays. It also answers for runs that have not ended, so that a query sees each run exactly once.
 *
 * @since 0.1.0
 */
import { Context, type Effect, type Option, Schema } from "effect"
import type { LogLine, RunId } from "./internal/run.js"
import type { BackendError } from "./TaskError.js"
import type { Encoded as EncodedRun } from "./TaskRun.js"
import type { TaskState } from "./TaskState.js"

export {
  /**
   * One line that a handler logged: its place in the run's log (from 0), the attempt, when (epoch milliseconds), the level as
   * Effect names it (`INFO`, `WARN`, …), the message, and the annotations and span names that held.
   *
   * @since 0.1.0
   * @category models
   */
  LogLine
} from "./internal/run.js"

/**
 * Which runs: all filters must hold; one that is not given holds for all runs. Newest first.
 *
 * - `task`, `queue`, `tag`, `group`, `parentId`, `rootId`: exactly these
 * - `state`: one of these
 * - `createdFrom`, `createdTo`: made in this window (epoch milliseconds, the end excluded)
 * - `endedBefore`: ended before this moment
 * - `before`: only runs with a smaller id, for the next page
 * - `limit`: at the most so many
 *
 * @since 0.1.0
 * @category models
 */
export interface RunQuery extends RunFilter {
  readonly before?: RunId | undefined
  readonly limit: number
}

/**
 * The filters of a query: all of them must hold.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunFilter {
  readonly task?: string | undefined
  readonly state?: ReadonlyArray<TaskState> | undefined
  readonly queue?: string | undefined
  readonly tag?: string | undefined
  readonly group?: string | undefined
  readonly parentId?: RunId | undefined
  readonly rootId?: RunId | undefined
  readonly createdFrom?: number | undefined
  readonly createdTo?: number | undefined
  readonly endedBefore?: number | undefined
}

/**
 * What `counts` counts: all runs, or those of a queue or a task.
 *
 * @since 0.1.0
 * @category models
 */
export interface CountQuery {
  readonly queue?: string | undefined
  readonly task?: string | undefined
}

/**
 * The unfinished runs of a queue: how many are in each state, and since when the oldest of those that wait is due (epoch
 * milliseconds; it may be to come), `null` when none waits.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueStats {
  readonly queue: string
  readonly queued: number
  readonly scheduled: number
  readonly running: number
  readonly oldestDueAt: number | null
}

/**
 * A consumer as others see it. Times are epoch milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export class ConsumerRecord extends Schema.Class<ConsumerRecord>("@effect-tasks/core/Store/ConsumerRecord")({
  id: Schema.String,
  startedAt: Schema.Number,
  seenAt: Schema.Number,
  queues: Schema.Array(Schema.String),
  tasks: Schema.Array(Schema.String),
  maxConcurrentTasks: Schema.Number,
  running: Schema.Number,
  stopping: Schema.Boolean
}) {}

/**
 * A schedule as it is stored. `spec` (when it ticks) and `run` (what each of its runs is queued as) are texts that a backend
 * keeps and gives back as they are, and so is `declared`: what the code of `scope` last said. Both are `null` for a schedule
 * that was added at runtime. Times are epoch milliseconds.
 *
 * - `nextTick`: the tick that is fired next; `null` when there is none, or none before the runs have ended
 * - `waitingTick`: a tick that is fired when the runs have ended
 * - `lastTick`: the last tick that was dealt with
 * - `lastRunId`: the newest run of the schedule
 * - `unfinished`: runs of the schedule that had not ended when it was written
 * - `revision`: grows with every change
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedSchedule {
  readonly name: string
  readonly task: string
  readonly spec: string
  readonly run: string
  readonly scope: string | null
  readonly declared: string | null
  readonly paused: boolean
  readonly nextTick: number | null
  readonly waitingTick: number | null
  readonly lastTick: number | null
  readonly lastRunId: RunId | null
  readonly unfinished: ReadonlyArray<RunId>
  readonly createdAt: number
  readonly revision: number
}

/**
 * The operations of a store.
 *
 * @since 0.1.0
 * @category services
 */
export class Store extends Context.Tag("@effect-tasks/core/Store")<
  Store,
  {
    /**
     * Records ended runs that no broker holds (performed in place), with their log lines. Idempotent by id and fence: the
     * record with the higher fence stands.
     */
    readonly record: (
      runs: ReadonlyArray<{ readonly run: EncodedRun; readonly logs: ReadonlyArray<LogLine> }>
    ) => Effect.Effect<void, BackendError>

    /** The records of these runs, ended or not, in the order of the ids. */
    readonly get: (ids: ReadonlyArray<RunId>) => Effect.Effect<ReadonlyArray<Option.Option<EncodedRun>>, BackendError>

    /** The runs that a query describes, newest first. */
    readonly runs: (query: RunQuery) => Effect.Effect<ReadonlyArray<EncodedRun>, BackendError>

    /** How many runs a filter describes. */
    readonly count: (filter: RunFilter) => Effect.Effect<number, BackendError>

    /** Removes the records and log lines of ended runs; others stay. Gives how many there were. Their keys stay held. */
    readonly remove: (ids: ReadonlyArray<RunId>) => Effect.Effect<number, BackendError>

    /** How many runs are in each state; a state that has none may be missing. */
    readonly counts: (
      query: CountQuery
    ) => Effect.Effect<{ readonly [State in TaskState]?: number | undefined }, BackendError>

    /** The queues that have unfinished runs, in any order. */
    readonly queues: Effect.Effect<ReadonlyArray<QueueStats>, BackendError>

    /** Adds log lines; a line that is there already (by run and `seq`) is left as it is. */
    readonly appendLogs: (lines: ReadonlyArray<LogLine>) => Effect.Effect<void, BackendError>

    /** The log lines of a run, in order, from `seq` on. */
    readonly logs: (
      id: RunId,
      options: { readonly fromSeq: number; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<LogLine>, BackendError>

    /** Adds or renews the records of consumers. */
    readonly putConsumers: (consumers: ReadonlyArray<ConsumerRecord>) => Effect.Effect<void, BackendError>

    /** Removes the records of consumers that have stopped. */
    readonly removeConsumers: (ids: ReadonlyArray<string>) => Effect.Effect<void, BackendError>

    /** All consumers that are recorded, also those that died: `seenAt` tells. */
    readonly consumers: Effect.Effect<ReadonlyArray<ConsumerRecord>, BackendError>

    /** All schedules, by their names. */
    readonly schedules: Effect.Effect<ReadonlyArray<EncodedSchedule>, BackendError>
  }
>() {}

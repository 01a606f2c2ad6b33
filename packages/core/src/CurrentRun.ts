/**
 * What a handler sees of its own run, and what it may decide about it.
 *
 * The service exists only inside a handler: a program that uses it elsewhere does not compile, because nothing else
 * provides it.
 *
 * @since 0.1.0
 */
import { Context, Duration, Effect, type Scope } from "effect"
import type { Lock, LockError, LockOptions } from "./internal/locks.js"
import type { RunId } from "./internal/run.js"
import { Verdict } from "./internal/verdict.js"

/**
 * The run that this fiber performs. `attempt` counts from 1. Times are epoch milliseconds.
 *
 * @since 0.1.0
 * @category services
 */
export class CurrentRun extends Context.Tag("@effect-tasks/core/CurrentRun")<
  CurrentRun,
  {
    readonly id: RunId
    readonly task: string
    readonly queue: string
    /** Which try this is, from 1. Shutdowns, snoozes and crashes do not count. */
    readonly attempt: number
    /** How often a consumer of this run died. */
    readonly crashes: number
    /** The consumer that performs it, or `inline` for `Task.execute`. */
    readonly consumer: string
    readonly createdAt: number
    readonly dueAt: number
    readonly startedAt: number
    readonly tags: ReadonlyArray<string>
    readonly group: string | null
    /** The run whose handler queued this one. */
    readonly parentId: RunId | null
    /** The first run of the chain; this run's own id when it has no parent. */
    readonly rootId: RunId
    /** The ended run that this one repeats. */
    readonly retryOf: RunId | null
    /** The schedule that has made it. */
    readonly schedule: string | null
    /** The time of the tick that has made it (epoch milliseconds); `null` also where somebody triggered the schedule. */
    readonly scheduledFor: number | null
    /** Reports how far the handler has come: a fraction from 0 to 1. */
    readonly progress: (value: number, message?: string) => Effect.Effect<void>
    /** Takes the lock of the task, or the one of this name that belongs to the task. */
    readonly lock: (name?: string, options?: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>
  }
>() {}

/**
 * Reports how far the handler has come, a fraction from 0 to 1 with an optional message. The newest report is stored with
 * the run within about a second.
 *
 * @example
 * ```ts
 * import { CurrentRun, Task } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const Import = Task.make("Import")
 * const ImportLive = Import.toLayer(() =>
 *   Effect.gen(function*() {
 *     yield* CurrentRun.progress(0.5, "half way")
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const progress = (value: number, message?: string): Effect.Effect<void, never, CurrentRun> =>
  Effect.flatMap(CurrentRun, (run) => run.progress(value, message))

/**
 * Takes a lock over all processes, for as long as the scope lasts: in a handler the attempt's, so it is free when the attempt
 * ends, however it ends. Without a name it is the lock of the task; each name is another one of the task. Options and rules
 * are those of `TaskLock`.
 *
 * When the lock is lost, the handler is interrupted, and the attempt fails with `LockLost` as a defect, which a `retry` sees.
 * The handler need not catch what taking a lock fails with: it counts as a defect too.
 *
 * @example
 * ```ts
 * import { CurrentRun, Task } from "@effect-tasks/core"
 * import { Effect, Schema } from "effect"
 *
 * const Sync = Task.make("Sync", { payload: { account: Schema.String } })
 * const SyncLive = Sync.toLayer(({ account }) =>
 *   Effect.gen(function*() {
 *     const { fence } = yield* CurrentRun.lock(account, { wait: "10 seconds" })
 *     yield* Effect.log(`alone with ${account}, as number ${fence}`)
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const lock = (name?: string, options?: LockOptions): Effect.Effect<Lock, LockError, CurrentRun | Scope.Scope> =>
  Effect.flatMap(CurrentRun, (run) => run.lock(name, options))

/**
 * Ends the run as `aborted`: the task itself sees no point in going on. It is not retried, and not a failure.
 *
 * The attempt ends here as by a defect, so `catchAll` and `retry` in the handler do not hold it up, and finalizers run.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const abort = (reason: string): Effect.Effect<never, never, CurrentRun> =>
  Effect.zipRight(CurrentRun, Effect.die(new Verdict({ _tag: "Abort", reason })))

/**
 * Puts the run off: it is performed again after the duration, and no attempt is burned.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const snooze = (duration: Duration.DurationInput): Effect.Effect<never, never, CurrentRun> =>
  Effect.zipRight(CurrentRun, Effect.die(new Verdict({ _tag: "Snooze", millis: Duration.toMillis(duration) })))

/**
 * Says that whatever the task calls asked for a rest: the run is put off, and no run of the task is claimed by any
 * consumer before `retryAfter` has passed. No attempt is burned.
 *
 * @since 0.1.0
 * @category verdicts
 */
export const rateLimited = (retryAfter: Duration.DurationInput): Effect.Effect<never, never, CurrentRun> =>
  Effect.zipRight(CurrentRun, Effect.die(new Verdict({ _tag: "RateLimit", millis: Duration.toMillis(retryAfter) })))

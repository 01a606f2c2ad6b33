/**
 * Locks over processes and machines, with leases: one holder at a time of each name, whoever asks.
 *
 * A holder's lease is extended every third of it. A process that dies leaves its locks to others when their leases have ended.
 * One that cannot extend a lease in time is interrupted before the lease has ended: then the lock is lost (`LockLost`).
 *
 * What a process does while it is stopped as a whole (a laptop that sleeps) nobody can interrupt. Where that matters, let the
 * protected resource refuse writes whose `fence` is less than one that it has seen: every holder's is greater than the one
 * before.
 *
 * A handler has locks of its task's own: see `CurrentRun.lock`.
 *
 * @since 0.1.0
 */
import { Effect, type Scope } from "effect"
import type { Lock, LockError, LockOptions } from "./internal/locks.js"
import { TaskManager } from "./internal/managerTag.js"

export type {
  /**
   * A lock that is held.
   *
   * - `fence`: greater than that of every holder before
   * - `lost`: fails when the lock is lost; until then it waits
   *
   * @since 0.1.0
   * @category models
   */
  Lock,
  /**
   * Why there is no lock, or none any more.
   *
   * @since 0.1.0
   * @category models
   */
  LockError,
  /**
   * - `lease`: how long the lock holds without a sign of life; after a crash others get it when that has ended. Default: 30
   *   seconds
   * - `wait`: how long to wait for it, before `LockTimeout`; 0 asks once. Default: without end
   *
   * @since 0.1.0
   * @category models
   */
  LockOptions as Options
} from "./internal/locks.js"

/**
 * Takes a lock for as long as the scope lasts. When it is lost, the fiber that has taken it is interrupted; `lost` tells
 * others.
 *
 * Who holds a lock cannot take it once more: that fails with `LockReentered`, in the fibers that the holder forks too. Take
 * locks outside of transactions, and several of them always in the same order.
 *
 * @since 0.1.0
 * @category locking
 */
export const acquire = (
  name: string,
  options: LockOptions = {}
): Effect.Effect<Lock, LockError, TaskManager | Scope.Scope> =>
  Effect.flatMap(TaskManager, (manager) => manager.acquireLock(name, options))

/**
 * Performs an effect while a lock is held, however it ends. When the lock is lost, the effect is interrupted, and the whole
 * fails with `LockLost`.
 *
 * @example
 * ```ts
 * import { TaskLock } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * declare const rebuild: (fence: number) => Effect.Effect<void>
 *
 * const program = TaskLock.withLock("search index", { wait: "1 minute" })((lock) => rebuild(lock.fence))
 * ```
 *
 * @since 0.1.0
 * @category locking
 */
export const withLock =
  (name: string, options: LockOptions = {}) =>
  <A, E, R>(
    use: Effect.Effect<A, E, R> | ((lock: Lock) => Effect.Effect<A, E, R>)
  ): Effect.Effect<A, E | LockError, R | TaskManager> =>
    Effect.flatMap(TaskManager, (manager) => manager.withLock(name, options, Effect.isEffect(use) ? () => use : use))

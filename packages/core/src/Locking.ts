/**
 * The part of a broker that keeps locks: who holds each, with a lease and a fence.
 *
 * This is for those who write a backend; applications use `TaskLock`.
 *
 * @since 0.1.0
 */
import type { Effect } from "effect"
import type { BackendError } from "./TaskError.js"

/**
 * A wish for a lock. `owner` is a token of this very wish: asked again with it, the answer is the lock that it got before.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockRequest {
  readonly name: string
  readonly owner: string
  readonly now: number
  readonly leaseUntil: number
}

/**
 * A lock that is held. Its `fence` is greater than that of every holder before.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockRef {
  readonly name: string
  readonly fence: number
}

/**
 * What became of a wish for a lock: it is held now, or by somebody else, whose lease ends at `until` unless it is extended.
 *
 * @since 0.1.0
 * @category models
 */
export type LockResult =
  | { readonly _tag: "Acquired"; readonly fence: number }
  | { readonly _tag: "Held"; readonly until: number }

/**
 * A sign of life for locks. Each has a lease of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockRenewal {
  readonly locks: ReadonlyArray<LockRef & { readonly leaseUntil: number }>
  readonly now: number
}

/**
 * What a broker does with locks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations {
  /**
   * Takes a lock that nobody holds, or whose lease has ended; at one time it has one holder, whoever asks. A lock that has the
   * request's `owner` is given again, with the new lease. Locks have nothing to do with the caller's transaction.
   */
  readonly acquireLock: (request: LockRequest) => Effect.Effect<LockResult, BackendError>

  /**
   * Extends the leases of locks, and gives those that are no longer held; one whose lease has ended may be, though nobody has
   * taken it.
   */
  readonly renewLocks: (renewal: LockRenewal) => Effect.Effect<ReadonlyArray<LockRef>, BackendError>

  /** Frees locks; one that is held by somebody else meanwhile stays. */
  readonly releaseLocks: (locks: ReadonlyArray<LockRef>) => Effect.Effect<void, BackendError>
}

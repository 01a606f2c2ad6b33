/**
 * The failures of locks.
 *
 * @since 0.1.0
 */
import { Duration, Schema } from "effect"

/**
 * The lock was not free in time (`wait`).
 *
 * @since 0.1.0
 * @category errors
 */
export class LockTimeout extends Schema.TaggedError<LockTimeout>("@effect-tasks/core/LockError/LockTimeout")(
  "LockTimeout",
  { lock: Schema.String, waitedMillis: Schema.Number }
) {
  override get message(): string {
    return `the lock ${this.lock} was not free within ${Duration.format(Duration.millis(this.waitedMillis))}; wait longer, or try again later`
  }
}

/**
 * The fiber holds this lock already, so it would wait for itself.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockReentered extends Schema.TaggedError<LockReentered>("@effect-tasks/core/LockError/LockReentered")(
  "LockReentered",
  { lock: Schema.String }
) {
  override get message(): string {
    return `the lock ${this.lock} is held by this fiber already; take it once, around all that needs it`
  }
}

/**
 * The lease of a lock could not be extended in time, or somebody else took the lock: what it protected was interrupted.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLost extends Schema.TaggedError<LockLost>("@effect-tasks/core/LockError/LockLost")("LockLost", {
  lock: Schema.String,
  fence: Schema.Number
}) {
  override get message(): string {
    return `the lock ${this.lock} (fence ${this.fence}) was lost, and what held it was interrupted; let writes check the fence, and try again`
  }
}

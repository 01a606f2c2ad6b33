/**
 * The failures of sources and subscriptions.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The consumer has a source already.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyRunning extends Schema.TaggedError<AlreadyRunning>(
  "@effect-tasks/core/SubscriptionError/AlreadyRunning"
)("AlreadyRunning", { name: Schema.String }) {
  override get message(): string {
    return `${this.name} consumes a source already: wait until it has ended, stop it, or make another consumer`
  }
}

/**
 * Something was handed to a consumer or a fleet that does not run: it was not begun, or it has ended.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotRunning extends Schema.TaggedError<NotRunning>("@effect-tasks/core/SubscriptionError/NotRunning")(
  "NotRunning",
  { name: Schema.String }
) {
  override get message(): string {
    return `${this.name} is not running: it was not started yet, or it has ended; nothing was taken on`
  }
}

/**
 * The fleet has a subscription of this name already.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateSubscription extends Schema.TaggedError<DuplicateSubscription>(
  "@effect-tasks/core/SubscriptionError/DuplicateSubscription"
)("DuplicateSubscription", { subscription: Schema.String }) {
  override get message(): string {
    return `two subscriptions are named "${this.subscription}": rename one of them, or its health would hide the other's`
  }
}

/**
 * A subscription could not be started. None of the fleet was left running.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubscriptionNotStarted extends Schema.TaggedError<SubscriptionNotStarted>(
  "@effect-tasks/core/SubscriptionError/SubscriptionNotStarted"
)("SubscriptionNotStarted", { subscription: Schema.String, cause: Schema.Defect }) {
  override get message(): string {
    const cause = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `the subscription ${this.subscription} could not be started: ${cause}. Those started before it were stopped; start again when that is put right`
  }
}

/**
 * The stream of a subscription's messages has ended; it is meant to go on for ever.
 *
 * @since 0.1.0
 * @category errors
 */
export class PullEnded extends Schema.TaggedError<PullEnded>("@effect-tasks/core/SubscriptionError/PullEnded")(
  "PullEnded",
  {
    subscription: Schema.String
  }
) {
  override get message(): string {
    return `the pull of the subscription ${this.subscription} ended; a pull that may end says so with isFatal`
  }
}

/**
 * The stream of a subscription's messages died. `cause` is the rendered cause, with the stack.
 *
 * @since 0.1.0
 * @category errors
 */
export class PullDied extends Schema.TaggedError<PullDied>("@effect-tasks/core/SubscriptionError/PullDied")(
  "PullDied",
  {
    subscription: Schema.String,
    defect: Schema.Defect,
    cause: Schema.String
  }
) {
  override get message(): string {
    return `the pull of the subscription ${this.subscription} died: ${this.cause}`
  }
}

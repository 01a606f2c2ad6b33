import { Cause, Clock, Effect } from "effect"
import * as outage from "./outage.js"

/*
 * The supervision of the loops of a consumer or a scheduler: one that fails or dies is begun again, later and later, and its trouble is told of
 * once. Nothing but the end of its owner ends a loop.
 */

/** Documented in `TaskConsumer`. */
export interface LoopStatus {
  readonly name: string
  readonly state: "working" | "backingOff" | "ended"
  readonly failures: number
  readonly lastError: { readonly message: string; readonly at: number } | null
}

/** A loop of a consumer, as far as others see it. */
export class Loop {
  readonly name: string
  private readonly owner: string
  /** Opened when it has worked, or failed, for the first time. */
  readonly tried = Effect.unsafeMakeLatch(false)
  private state: LoopStatus["state"] = "working"
  private failures = 0
  private lastError: LoopStatus["lastError"] = null

  constructor(name: string, owner = "consumer") {
    this.name = name
    this.owner = owner
  }

  get status(): LoopStatus {
    const { failures, lastError, name, state } = this
    return { name, state, failures, lastError }
  }

  get failuresInARow(): number {
    return this.failures
  }

  get hasEnded(): boolean {
    return this.state === "ended"
  }

  /** It has done what it is for. */
  worked(): void {
    if (this.failures > 0) {
      this.state = "working"
      this.failures = 0
    }
    this.tried.unsafeOpen()
  }

  /** Notes a failure. Gives how many there are in a row. */
  note(cause: Cause.Cause<unknown>, at: number): number {
    this.lastError = { message: messageOf(cause), at }
    this.tried.unsafeOpen()
    return ++this.failures
  }

  /** Notes a failure, and tells of the first in a row. Gives how many there are. */
  failed(cause: Cause.Cause<unknown>): Effect.Effect<number> {
    return Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const failures = this.note(cause, at)
      return Effect.as(
        failures > 1
          ? Effect.void
          : Effect.logWarning(`the ${this.owner}'s loop "${this.name}" failed; it goes on trying`, cause),
        failures
      )
    })
  }

  /** Waits before it tries again. */
  backOff(wait: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.state = "backingOff"
      return Effect.map(wait, () => {
        this.state = "working"
      })
    })
  }

  end(): void {
    this.state = "ended"
  }
}

const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

/** Runs a loop until it ends by itself or is interrupted; when it fails or dies, it is begun again. */
export const supervise = <E>(loop: Loop, self: Effect.Effect<void, E>): Effect.Effect<void> => {
  let isOver = false
  const attempt = Effect.matchCauseEffect(self, {
    onSuccess: () => {
      isOver = true
      return Effect.void
    },
    onFailure: (cause) =>
      Effect.flatMap(loop.failed(cause), (failures) =>
        Effect.flatMap(outage.delay(failures), (delay) => loop.backOff(Effect.sleep(delay)))
      )
  })
  return Effect.whileLoop({ while: () => !isOver, body: () => attempt, step: () => {} }).pipe(
    Effect.ensuring(Effect.sync(() => loop.end())),
    Effect.withTracerEnabled(false)
  )
}

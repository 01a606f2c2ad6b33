import { Effect } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import type { BackendError } from "../TaskError.js"
import { TaskTransaction } from "../TaskTransaction.js"
import { Current } from "./currentRun.js"
import type { Definition } from "./definition.js"
import * as outcome from "./outcome.js"

/*
 * A run that its handler completes in a transaction of its own, together with what it has written there.
 */

class LostClaim {}

/** See `Task.completeWith`. */
export const completeWith = <A, E, R>(
  task: Definition,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | BackendError, R | CurrentRun | TaskTransaction> =>
  Effect.flatMap(CurrentRun, (current) => {
    const complete = Current.completionOf(current)
    if (complete === undefined || current.task !== task.name) {
      return Effect.dieMessage(`a run of ${current.task} cannot be completed as one of ${task.name}`)
    }
    const written = Effect.tap(self, (value) =>
      outcome.ofSuccess(task, value).pipe(
        Effect.filterOrDieMessage(
          ({ _tag }) => _tag === "Success",
          `what completeWith was given does not fit the success schema of ${task.name}`
        ),
        Effect.flatMap(complete),
        Effect.filterOrFail(
          (isHeld) => isHeld,
          () => new LostClaim()
        )
      )
    )
    return Effect.catchIf(
      TaskTransaction.pipe(Effect.flatMap((transactions) => transactions.run(written))),
      (error): error is LostClaim => error instanceof LostClaim,
      // somebody else performs the run; nothing of this attempt stands
      () => Effect.interrupt
    )
  })

import { Effect } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import type { BackendError } from "../TaskError.js"
import { TaskTransaction } from "../TaskTransaction.js"
import type { Definition } from "./definition.js"
import * as outcome from "./outcome.js"
import type { Outcome } from "./run.js"

/*
 * A run that its handler completes in a transaction of its own, together with what it has written there.
 */

/** Writes the end of a run inside the caller's transaction; false when the claim on it is lost. */
export type Complete = (outcome: Outcome) => Effect.Effect<boolean, BackendError>

const completions = new WeakMap<typeof CurrentRun.Service, Complete>()

/** Lets the handler that is given this `CurrentRun` complete its run. */
export const attach = (current: typeof CurrentRun.Service, complete: Complete): void => {
  completions.set(current, complete)
}

class LostClaim {}

/** See `Task.completeWith`. */
export const completeWith = <A, E, R>(
  task: Definition,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E | BackendError, R | CurrentRun | TaskTransaction> =>
  Effect.flatMap(CurrentRun, (current) => {
    const complete = completions.get(current)
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

import { Effect, Exit } from "effect"
import type { State } from "./consumerState.js"
import type { InFlight } from "./inFlight.js"
import * as leases from "./leases.js"

/*
 * Storing what handlers report while they work: their log lines and their progress.
 */

/** Stores log lines and progress about a second after they were reported. */
export const save = (state: State): Effect.Effect<never> =>
  state.unsaved.await.pipe(
    Effect.zipRight(Effect.sleep("1 second")),
    Effect.zipRight(
      Effect.suspend(() => {
        state.unsaved.unsafeClose()
        const inFlights = state.inFlights.all()
        return Effect.zipRight(saveLogs(state, inFlights), saveProgress(state, inFlights))
      })
    ),
    Effect.forever
  )

/** Lines that are not stored stay with their run: they are tried again, or go with its settlement. */
const saveLogs = (state: State, inFlights: ReadonlyArray<InFlight>): Effect.Effect<void> => {
  const logs = inFlights.flatMap(({ log }) => (log.isDirty ? [log] : []))
  if (logs.length === 0) {
    return Effect.void
  }
  const loop = state.loops.reports
  return Effect.suspend(() => state.store.appendLogs(logs.flatMap((log) => log.take()))).pipe(
    Effect.onExit((exit) => Effect.sync(() => logs.forEach((log) => log.saved(Exit.isSuccess(exit))))),
    Effect.matchCauseEffect({
      onSuccess: () => Effect.sync(() => loop.worked()),
      onFailure: (cause) => Effect.map(loop.failed(cause), () => state.unsaved.unsafeOpen())
    })
  )
}

/** A failure is left to the next extension of the leases. */
const saveProgress = (state: State, inFlights: ReadonlyArray<InFlight>): Effect.Effect<void> =>
  Effect.catchAllCause(
    leases.extend(
      state,
      inFlights.filter(({ completed, progressIsStored }) => !progressIsStored && completed === null)
    ),
    () => Effect.void
  )

import { Cause, Effect, Either } from "effect"
import { ask, type NoAnswer } from "./asking.js"
import type { State, Suspect } from "./consumerState.js"
import type { Ended } from "./inFlight.js"
import * as settling from "./settling.js"

/*
 * Ends that cannot be written together with others. Each is tried apart, so that no end pays for what another has in it. An
 * end on which the broker dies is given up only when the broker has answered others meanwhile, several times: a broker that
 * is away may die of anything.
 */

const mostDeaths = 3

/** Tries each of these ends apart. Gives whether any of them was answered. */
export const settleEach = (state: State, ended: ReadonlyArray<Ended>): Effect.Effect<boolean> =>
  tryEach(
    state,
    ended.map((one) => ({ ended: one, deaths: 0, answers: state.answers }))
  )

/** Tries those again on which the broker has died before. Gives whether any of them was answered. */
export const tryAgain = (state: State): Effect.Effect<boolean> => {
  const { suspects } = state
  state.suspects = []
  return tryEach(state, suspects)
}

const tryEach = (state: State, suspects: ReadonlyArray<Suspect>): Effect.Effect<boolean> =>
  Effect.map(
    Effect.forEach(suspects, (suspect) => tryOne(state, suspect)),
    (answers) => answers.includes(true)
  )

const tryOne = (state: State, suspect: Suspect): Effect.Effect<boolean> =>
  Effect.flatMap(ask(state, [suspect.ended], null, 0), (result) => {
    if (Either.isRight(result)) {
      state.answers++
      return Effect.as(settling.answered(state, suspect.ended, result.right.settled[0]), true)
    }
    return Effect.as(refused(state, suspect, result.left), false)
  })

const refused = (state: State, { answers, deaths, ended }: Suspect, { died, error }: NoAnswer): Effect.Effect<void> => {
  const repeated: Ended = { ...ended, isRepeated: true }
  if (!died) {
    return error.transient
      ? Effect.sync(() => settling.handInAgain(state, repeated))
      : settling.abandon(state, ended.inFlight, Cause.fail(error))
  }
  const counted = state.answers > answers ? deaths + 1 : deaths
  if (counted >= mostDeaths) {
    return settling.abandon(state, ended.inFlight, Cause.fail(error))
  }
  state.suspects = [...state.suspects, { ended: repeated, deaths: counted, answers: state.answers }]
  return Effect.void
}

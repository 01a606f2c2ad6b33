import { Duration, Effect } from "effect"
import type { Extended } from "../Broker.js"
import type { BackendError } from "../TaskError.js"
import type { State } from "./consumerState.js"
import { type InFlight, stop } from "./inFlight.js"

/*
 * Keeping the leases of what is in flight, and storing what handlers report meanwhile.
 *
 * A consumer that cannot extend its leases must have interrupted its handlers before the leases can have ended for others.
 * So an extension may take a sixth of the lease, is tried again after a tenth of it, and a claim whose lease will end before
 * the next try is over is given up.
 */

const part = (state: State, share: number): Duration.Duration => Duration.times(state.lease, share)

/** Extends the leases of all claims in flight, in one call, every third of the lease. */
export const keep = (state: State): Effect.Effect<never> => {
  const extendAll = Effect.suspend(() =>
    extend(
      state,
      state.inFlights.all().filter(({ completed }) => completed === null)
    )
  )
  const again: Effect.Effect<void> = Effect.suspend(() => {
    const retry = Effect.zipRight(Effect.sleep(part(state, 1 / 10)), again)
    return Effect.catchAll(extendAll, (error) =>
      Effect.suspend(() => {
        state.meter.brokerFailed("extend")
        return Effect.logWarning("consumer cannot extend its leases", error)
      }).pipe(Effect.zipRight(giveUpEnding(state)), Effect.zipRight(state.inFlights.size === 0 ? Effect.void : retry))
    )
  })
  return state.busy.await.pipe(
    Effect.zipRight(Effect.sleep(part(state, 1 / 3))),
    Effect.zipRight(again),
    Effect.forever,
    Effect.withTracerEnabled(false)
  )
}

const extend = (state: State, inFlights: ReadonlyArray<InFlight>): Effect.Effect<void, BackendError | "timeout"> =>
  Effect.gen(function* () {
    if (inFlights.length === 0) {
      return
    }
    const now = yield* state.broker.now
    const leaseUntil = now + Duration.toMillis(state.lease)
    const sent = inFlights.map((inFlight) => ({
      inFlight,
      progress: inFlight.progressIsStored ? null : inFlight.progress
    }))
    const claims = sent.map(({ inFlight: { run }, progress }) => ({ id: run.id, fence: run.fence, progress }))
    const extended = yield* state.broker
      .extend({ claims, leaseUntil, now })
      .pipe(
        Effect.disconnect,
        Effect.timeoutFail({ duration: part(state, 1 / 6), onTimeout: () => "timeout" as const })
      )
    yield* obey(state, extended)
    for (const { inFlight, progress } of sent) {
      inFlight.leaseUntil = leaseUntil
      inFlight.progressIsStored ||= inFlight.progress === progress
    }
  })

/** Stops what is no longer held, and what somebody asked to cancel. */
const obey = (state: State, { cancelled, lost }: Extended): Effect.Effect<void> =>
  Effect.fiberIdWith((fiberId) =>
    Effect.sync(() => {
      for (const id of lost) {
        const inFlight = state.inFlights.get(id)
        if (inFlight !== undefined) {
          stop(inFlight, { _tag: "LostClaim" }, fiberId)
        }
      }
      for (const { id, reason } of cancelled) {
        const inFlight = state.inFlights.get(id)
        if (inFlight !== undefined) {
          stop(inFlight, { _tag: "Cancel", reason }, fiberId)
        }
      }
    })
  )

/** Gives up the claims whose leases will have ended before another extension has been tried. */
const giveUpEnding = (state: State): Effect.Effect<void> =>
  Effect.fiberIdWith((fiberId) =>
    Effect.map(state.broker.now, (now) => {
      const margin = Duration.toMillis(part(state, 1 / 6)) + Duration.toMillis(part(state, 1 / 10))
      for (const inFlight of state.inFlights.all()) {
        if (now + margin >= inFlight.leaseUntil) {
          stop(inFlight, { _tag: "LostClaim" }, fiberId)
        }
      }
    })
  )

/** Stores log lines and progress about a second after they were reported. */
export const saveReports = (state: State): Effect.Effect<never> =>
  state.unsaved.await.pipe(
    Effect.zipRight(Effect.sleep("1 second")),
    Effect.zipRight(
      Effect.suspend(() => {
        state.unsaved.unsafeClose()
        const inFlights = state.inFlights.all()
        return Effect.zipRight(saveLogs(state, inFlights), saveProgress(state, inFlights))
      })
    ),
    Effect.forever,
    Effect.withTracerEnabled(false)
  )

const saveLogs = (state: State, inFlights: ReadonlyArray<InFlight>): Effect.Effect<void> => {
  const taken = inFlights.filter(({ log }) => log.isDirty).map(({ log }) => ({ log, lines: log.take() }))
  return taken.length === 0
    ? Effect.void
    : Effect.catchAll(state.store.appendLogs(taken.flatMap(({ lines }) => lines)), () =>
        Effect.sync(() => {
          taken.forEach(({ lines, log }) => log.putBack(lines))
          state.unsaved.unsafeOpen()
        })
      )
}

/** A failure is left to the next extension of the leases. */
const saveProgress = (state: State, inFlights: ReadonlyArray<InFlight>): Effect.Effect<void> =>
  Effect.ignore(
    extend(
      state,
      inFlights.filter(({ completed, progressIsStored }) => !progressIsStored && completed === null)
    )
  )

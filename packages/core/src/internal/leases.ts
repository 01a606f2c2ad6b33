import { Data, Duration, Effect } from "effect"
import type { Extended } from "../Broker.js"
import type { BackendError } from "../TaskError.js"
import type { State } from "./consumerState.js"
import type { InFlight } from "./inFlight.js"
import { stop } from "./interrupting.js"

/*
 * Keeping the leases of what is in flight.
 *
 * A consumer that cannot extend its leases must have interrupted its handlers before the leases can have ended for others.
 * So an extension may take a sixth of the lease, is tried again after a tenth of it, and a claim whose lease will end before
 * the next try is over is given up.
 */

const part = (state: State, share: number): Duration.Duration => Duration.times(state.lease, share)

/** So long before the end of its lease, in milliseconds, a claim is given up that cannot be extended. */
export const margin = ({ lease }: State): number => Duration.toMillis(lease) * (1 / 6 + 1 / 10)

/** Extends the leases of all claims in flight, in one call, every third of the lease, or sooner when one is short. */
export const keep = (state: State): Effect.Effect<never> => {
  const loop = state.loops.leases
  const extendAll = Effect.suspend(() =>
    extend(
      state,
      state.inFlights.all().filter(({ completed }) => completed === null)
    )
  )
  const again: Effect.Effect<void> = Effect.suspend(() => {
    const retry = Effect.zipRight(loop.backOff(Effect.sleep(part(state, 1 / 10))), again)
    return Effect.matchCauseEffect(extendAll, {
      onSuccess: () => Effect.sync(() => loop.worked()),
      onFailure: (cause) => {
        state.meter.brokerFailed("extend")
        return loop
          .failed(cause)
          .pipe(
            Effect.zipRight(giveUpEnding(state)),
            Effect.zipRight(Effect.suspend(() => (state.inFlights.size === 0 ? Effect.void : retry)))
          )
      }
    })
  })
  return state.busy.await.pipe(
    Effect.zipRight(Effect.timeoutOption(state.leaseIsShort.await, part(state, 1 / 3))),
    Effect.zipRight(Effect.sync(() => state.leaseIsShort.unsafeClose())),
    Effect.zipRight(again),
    Effect.forever
  )
}

class NotExtended extends Data.TaggedError("NotExtended") {
  override readonly message = "the broker has not extended the leases within a sixth of their time"
}

/** Extends these claims, and stores the progress that is new. */
export const extend = (
  state: State,
  inFlights: ReadonlyArray<InFlight>
): Effect.Effect<void, BackendError | NotExtended> =>
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
      .pipe(Effect.disconnect, Effect.timeoutFail({ duration: part(state, 1 / 6), onTimeout: () => new NotExtended() }))
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
          stop(state, inFlight, { _tag: "LostClaim" }, fiberId)
        }
      }
      for (const { id, reason } of cancelled) {
        const inFlight = state.inFlights.get(id)
        if (inFlight !== undefined) {
          stop(state, inFlight, { _tag: "Cancel", reason }, fiberId)
        }
      }
    })
  )

/** Gives up the claims whose leases will have ended before another extension has been tried. */
const giveUpEnding = (state: State): Effect.Effect<void> =>
  Effect.fiberIdWith((fiberId) =>
    Effect.map(state.broker.now, (now) => {
      for (const inFlight of state.inFlights.all()) {
        if (now + margin(state) >= inFlight.leaseUntil) {
          stop(state, inFlight, { _tag: "LostClaim" }, fiberId)
        }
      }
    })
  )

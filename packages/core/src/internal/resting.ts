import { Duration, Effect } from "effect"
import { freePlaces, type State } from "./consumerState.js"
import * as performing from "./performing.js"
import { longestWait } from "./prefetch.js"

/*
 * How long a consumer that has nothing to hand in and nothing to claim waits.
 */

/**
 * Until a signal, the moment the broker named, or the safety poll. The broker does not name the ends of this consumer's own
 * leases, so as long as it may have lost sight of a run, it asks every third of a lease, and once after that: while all
 * places were taken it has not asked.
 */
export const rest = (state: State, bell: Effect.Latch): Effect.Effect<void> => {
  if (state.waiting.length > 0) {
    return restWhileWaiting(state, bell)
  }
  if (state.stopping || freePlaces(state) === 0 || state.tasks.length === 0) {
    return bell.await
  }
  return Effect.flatMap(state.broker.now, (now) => {
    const lostAt = state.lostUntil > 0 ? Math.min(state.lostUntil, now + Duration.toMillis(state.lease) / 3) : null
    const next = Math.min(state.nextAt ?? Number.POSITIVE_INFINITY, lostAt ?? Number.POSITIVE_INFINITY)
    const wait = Duration.min(Duration.millis(Math.max(1, next - now)), state.broker.pollInterval)
    return Duration.isFinite(wait)
      ? Effect.map(Effect.timeoutOption(bell.await, wait), (woken) => {
          state.hungry ||= woken._tag === "None"
        })
      : bell.await
  })
}

/** Until a place is free, or what waits for one has waited too long. */
const restWhileWaiting = (state: State, bell: Effect.Latch): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.timeoutOption(bell.await, longestWait),
    Effect.map(state.broker.now, (now) => giveBackStale(state, now))
  )

/** What waits for a place longer than was expected, or while the consumer stops, others may perform. */
export const giveBackStale = (state: State, now: number): void => {
  const [first] = state.waiting
  if (first !== undefined && (state.stopping || now - first.claimedAt >= longestWait)) {
    performing.giveBackWaiting(state, now)
  }
}

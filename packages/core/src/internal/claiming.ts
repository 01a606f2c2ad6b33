import { Clock, Duration, Effect } from "effect"
import type { ServedTask } from "../Broker.js"
import { BackendError } from "../TaskError.js"
import type { State } from "./consumerState.js"
import * as outage from "./outage.js"
import * as performing from "./performing.js"

/*
 * The loop that fills a consumer's free places: claim, start, wait until there may be more.
 */

/** Claims until the consumer stops; an outage of the broker only slows it down. */
export const loop = (state: State): Effect.Effect<void> =>
  Effect.suspend(() => {
    const tasks = Array.from(
      state.entries.values(),
      ({ definition }): ServedTask => ({
        name: definition.name,
        maxConcurrency: definition.maxConcurrency ?? null
      })
    )
    const once = outage.retryWhile(claim(state, tasks), () => !state.stopping)
    let claims = 0
    return Effect.whileLoop({
      while: () => !state.stopping,
      body: () =>
        Effect.zipRight(
          ++claims % claimsPerTurn === 0 ? turn : Effect.void,
          Effect.matchEffect(once, { onFailure: () => Effect.void, onSuccess: (claimed) => pause(state, claimed) })
        ),
      step: () => {}
    })
  })

/**
 * How often the loop lets the process have its turn. Where backend and handlers need no input or output, Effect's scheduler
 * goes on with microtasks for seconds, in which no timer, signal or socket is heard: not even this consumer's own signs of
 * life.
 */
const claimsPerTurn = 32

/** A turn of the event loop, whatever clock the application has. */
const turn = Effect.withClock(Effect.sleep(Duration.zero), Clock.make())

/** What a claim leaves: no free place, perhaps more runs, or none, and then when to ask again. */
type Left =
  | { readonly _tag: "NoPlace" }
  | { readonly _tag: "MoreRuns" }
  | { readonly _tag: "NoRuns"; readonly nextAt: number | null; readonly now: number }

/** Claims as many runs as there are places, and starts them. */
const claim = (state: State, tasks: ReadonlyArray<ServedTask>): Effect.Effect<Left, BackendError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      state.wake.unsafeClose()
      const free = state.maxConcurrentTasks - state.inFlights.size
      if (free <= 0) {
        return { _tag: "NoPlace" }
      }
      const now = yield* state.broker.now
      const leaseUntil = now + Duration.toMillis(state.lease)
      const { id: consumer, queues } = state
      const request = { consumer, queues, tasks, limit: free, now, leaseUntil }
      const claimed = yield* restore(state.broker.claim(request)).pipe(
        Effect.catchAllDefect((cause) => defect(state, cause)),
        Effect.withTracerEnabled(false),
        Effect.tapError((error) => failed(state, error, leaseUntil))
      )
      state.answered = { ok: true, at: now }
      for (const run of claimed.runs) {
        yield* performing.start(state, run, leaseUntil)
      }
      return claimed.runs.length < free ? { _tag: "NoRuns", nextAt: claimed.nextAt, now } : { _tag: "MoreRuns" }
    })
  )

const pause = (state: State, left: Left): Effect.Effect<void> => {
  switch (left._tag) {
    case "NoPlace":
      return state.wake.await
    case "MoreRuns":
      return Effect.void
    case "NoRuns":
      return untilMore(state, left.nextAt, left.now)
  }
}

/** A broker that dies is a broker that is away: the loop goes on. */
const defect = ({ broker }: State, cause: unknown): BackendError =>
  new BackendError({ backend: broker.name, operation: "claim", transient: true, cause })

/** A claim whose answer did not arrive may have been made all the same. */
const failed = (state: State, error: BackendError, leaseUntil: number): Effect.Effect<void> => {
  const wasReady = state.answered?.ok !== false
  state.lostUntil = leaseUntil
  state.answered = { ok: false, at: state.answered?.at ?? 0 }
  return wasReady
    ? Effect.annotateLogs(Effect.logWarning("consumer cannot claim; it will go on trying", error), {
        consumer: state.id
      })
    : Effect.void
}

/**
 * Until a signal, the moment the broker named, or the safety poll. The broker does not name the ends of this consumer's own
 * leases, so as long as it may have lost sight of a run, it asks every third of a lease.
 */
const untilMore = (state: State, nextAt: number | null, now: number): Effect.Effect<void> => {
  const lostAt = state.lostUntil > now ? Math.min(state.lostUntil, now + Duration.toMillis(state.lease) / 3) : null
  const next = Math.min(nextAt ?? Number.POSITIVE_INFINITY, lostAt ?? Number.POSITIVE_INFINITY)
  const wait = Duration.min(Duration.millis(Math.max(1, next - now)), state.broker.pollInterval)
  return Duration.isFinite(wait) ? Effect.asVoid(Effect.timeoutOption(state.wake.await, wait)) : state.wake.await
}

/** Not stopping, and the broker answered within its last three poll intervals, or while all places are taken. */
export const isReady = (state: State): Effect.Effect<boolean> =>
  Effect.map(state.broker.now, (now) => {
    if (state.stopping || state.answered === null || !state.answered.ok) {
      return false
    }
    const isFull = state.inFlights.size >= state.maxConcurrentTasks
    return isFull || now - state.answered.at <= 3 * Duration.toMillis(state.broker.pollInterval)
  })

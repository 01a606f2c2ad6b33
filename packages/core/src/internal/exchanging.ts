import { Cause, Clock, Duration, Effect, Either } from "effect"
import type { ClaimRequest, Exchanged, ServedTask } from "../Broker.js"
import { BackendError } from "../TaskError.js"
import { type State, wake } from "./consumerState.js"
import type { Ended } from "./inFlight.js"
import * as outage from "./outage.js"
import * as performing from "./performing.js"
import { longestWait } from "./prefetch.js"
import * as settling from "./settling.js"

/*
 * The loop by which a consumer lives: hand in what has ended, claim what there is place for, start it, and rest until there
 * is more to do. While the broker answers, attempts go on ending, so the busier a consumer is, the more goes with one call.
 */

/** Exchanges until the consumer has stopped and everything is handed in; an outage of the broker only slows it down. */
export const all = (state: State): Effect.Effect<void> =>
  state.broker.isRemote
    ? Effect.all([loop(state, true), loop(state, false)], { concurrency: "unbounded", discard: true })
    : loop(state, true)

/** One of the loops keeps the time; another one only joins in where there is much to do. */
const loop = (state: State, keepsTime: boolean): Effect.Effect<void> =>
  Effect.suspend(() => {
    const tasks = Array.from(
      state.entries.values(),
      ({ definition: { limits, name } }): ServedTask => ({
        name,
        maxConcurrency: limits.maxConcurrency,
        limits: limits.encoded,
        room: limits.perConsumer
      })
    )
    const hasRooms = tasks.some(({ room }) => room !== null)
    const bell = Effect.unsafeMakeLatch(false)
    state.bells.push(bell)
    let exchanges = 0
    let failures = 0
    const step = Effect.suspend(() => {
      bell.unsafeClose()
      // what this consumer has room for is not known while it is being claimed
      const mayClaim = !state.stopping && state.hungry && !(hasRooms && state.claiming > 0)
      const limit = mayClaim ? wish(state) : 0
      if (!(keepsTime || state.exchanging > 0) || !isWorthIt(state, limit)) {
        return keepsTime ? rest(state, bell) : bell.await
      }
      const served = hasRooms ? withRooms(state, tasks) : tasks
      const exchanged = Effect.flatMap(exchange(state, served, limit), (hasAnswer) => {
        failures = hasAnswer ? 0 : failures + 1
        return hasAnswer ? Effect.void : afterFailure(state, failures)
      })
      return ++exchanges % exchangesPerTurn === 0 ? Effect.zipRight(turn, exchanged) : exchanged
    })
    return Effect.whileLoop({
      while: () => !state.stopping || state.inFlights.size > 0,
      body: () => step,
      step: () => {}
    })
  })

const liveClock = Clock.make()

/** Real time, to measure by. */
const nanos = (): number => Number(liveClock.unsafeCurrentTimeNanos())

/** How many more runs of each task this consumer may hold. */
const withRooms = (state: State, tasks: ReadonlyArray<ServedTask>): ReadonlyArray<ServedTask> => {
  const held = new Map<string, number>()
  for (const { run } of state.inFlights.all()) {
    held.set(run.task, (held.get(run.task) ?? 0) + 1)
  }
  return tasks.map((task) =>
    task.room === null ? task : { ...task, room: Math.max(0, task.room - (held.get(task.name) ?? 0)) }
  )
}

const freePlaces = (state: State): number => Math.max(0, state.maxConcurrentTasks - state.inFlights.performing)

/** How many runs to claim: for the free places, and beyond them as many as the pace allows. */
const wish = (state: State): number => {
  const free = freePlaces(state)
  const coming = state.waiting.length + state.claiming
  return Math.max(0, free - coming) + state.prefetch.wish(Math.max(0, coming - free), state.maxConcurrentTasks)
}

/** While one exchange is under way, another one is worth it only for many. */
const many = 32

const isWorthIt = ({ ended, exchanging, stopping, waiting }: State, limit: number): boolean =>
  ended.length + limit >= (exchanging === 0 ? 1 : many) || (stopping && waiting.length > 0 && exchanging === 0)

/**
 * How often the loop lets the process have its turn. Where backend and handlers need no input or output, Effect's scheduler
 * goes on with microtasks for seconds, in which no timer, signal or socket is heard: not even this consumer's own signs of
 * life.
 */
const exchangesPerTurn = 32

const { setImmediate } = globalThis as { readonly setImmediate?: (callback: () => void) => unknown }

/** A turn of the event loop, whatever clock the application has. */
const turn: Effect.Effect<void> =
  setImmediate === undefined
    ? Effect.withClock(Effect.sleep(Duration.zero), liveClock)
    : Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

/** One exchange, and what follows from its answer. False when there was none, and the same is worth another try. */
const exchange = (state: State, tasks: ReadonlyArray<ServedTask>, limit: number): Effect.Effect<boolean> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(state.broker.now, (now) => {
      state.prefetch.note(state.ended.length, now)
      giveBackStale(state, now)
      const ended = state.ended
      state.ended = []
      const claim = limit === 0 ? null : request(state, tasks, limit, now)
      const { heard } = state
      const calledAt = nanos()
      state.exchanging++
      state.claiming += limit
      return restore(call(state, ended, claim)).pipe(
        Effect.onExit(() =>
          Effect.sync(() => {
            state.exchanging--
            state.claiming -= limit
          })
        ),
        Effect.flatMap((result) =>
          Either.isLeft(result)
            ? failed(state, ended, claim, result.left)
            : Effect.as(carryOut(state, ended, claim, heard, calledAt, result.right), true)
        )
      )
    })
  )

const request = (state: State, tasks: ReadonlyArray<ServedTask>, limit: number, now: number): ClaimRequest => ({
  consumer: state.id,
  queues: state.queues,
  queueLimits: state.queueLimits,
  tasks,
  limit,
  now,
  leaseUntil: now + Duration.toMillis(state.lease)
})

/** A broker that dies is a broker that is away, unless what it was given is the reason. */
const call = (
  { broker }: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null
): Effect.Effect<Either.Either<Exchanged, BackendError>> =>
  broker.exchange({ settlements: ended.map(({ settlement }) => settlement), claim }).pipe(
    Effect.catchAllDefect((cause) =>
      Effect.fail(
        new BackendError({ backend: broker.name, operation: "exchange", transient: ended.length === 0, cause })
      )
    ),
    Effect.either
  )

const carryOut = (
  state: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null,
  heard: number,
  calledAt: number,
  { claimed, settled }: Exchanged
): Effect.Effect<void> => {
  state.meter.exchanged(settled.length, claimed?.runs.length ?? null, (nanos() - calledAt) / 1e6)
  const answered = carryOutSettled(state, ended, settled)
  if (claim === null) {
    return answered
  }
  const { disabled, nextAt: given, runs } = claimed ?? { nextAt: null, runs: [], disabled: [] }
  state.answered = { ok: true, at: claim.now }
  const nextAt = sooner(state.nextAt, given, claim.now)
  if (nextAt !== state.nextAt) {
    state.nextAt = nextAt
    // for the loop that keeps the time, if it was not this one that asked
    wake(state)
  }
  // a signal that came meanwhile may tell of what the call did not see
  state.hungry = runs.length >= claim.limit || state.heard !== heard
  runs.forEach((run) => performing.hold(state, run, claim, disabled.includes(run.run.task)))
  return runs.length === 0
    ? answered
    : Effect.zipRight(
        Effect.map(answered, () => performing.fillPlaces(state)),
        // attempts that never wait are over by now: let those who listen to them have their turn
        Effect.yieldNow()
      )
}

/** What waits for a place longer than was expected, or while the consumer stops, others may perform. */
const giveBackStale = (state: State, now: number): void => {
  const [first] = state.waiting
  if (first !== undefined && (state.stopping || now - first.claimedAt >= longestWait)) {
    performing.giveBackWaiting(state, now)
  }
}

/** An exchange that began earlier may not have seen what another one has put off: of two moments to come the first counts. */
const sooner = (known: number | null, given: number | null, now: number): number | null =>
  known === null || known <= now ? given : Math.min(known, given ?? known)

const carryOutSettled = (
  state: State,
  ended: ReadonlyArray<Ended>,
  settled: Exchanged["settled"]
): Effect.Effect<void> =>
  Effect.forEach(ended, (one, i) => settling.answered(state, one, settled[i]), { discard: true })

/** A claim whose answer did not arrive may have been made all the same; ends are handed in again. */
const failed = (
  state: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null,
  error: BackendError
): Effect.Effect<boolean> => {
  state.meter.brokerFailed("exchange")
  const wasReady = state.answered?.ok !== false
  if (claim !== null) {
    state.hungry = true
    state.lostUntil = claim.leaseUntil
    state.answered = { ok: false, at: state.answered?.at ?? 0 }
  }
  if (!error.transient && ended.length > 0) {
    return Effect.as(settleEach(state, ended), true)
  }
  state.ended = [...ended.map((one) => ({ ...one, isRepeated: true as const })), ...state.ended]
  return Effect.as(
    wasReady && claim !== null
      ? Effect.annotateLogs(Effect.logWarning("consumer cannot reach its broker; it will go on trying", error), {
          consumer: state.id
        })
      : Effect.void,
    false
  )
}

/** No end pays for what another has in it: what cannot be written together is written one by one. */
const settleEach = (state: State, ended: ReadonlyArray<Ended>): Effect.Effect<void> =>
  Effect.forEach(
    ended,
    (one) =>
      Effect.flatMap(call(state, [one], null), (result) => {
        if (Either.isRight(result)) {
          return carryOutSettled(state, [one], result.right.settled)
        }
        if (result.left.transient) {
          state.ended.push({ ...one, isRepeated: true })
          return Effect.void
        }
        return settling.abandon(state, one.inFlight, Cause.fail(result.left))
      }),
    { discard: true }
  )

/** A consumer that begins to stop does not wait for the end of an outage. */
const afterFailure = (state: State, failures: number): Effect.Effect<void> =>
  Effect.flatMap(outage.delay(failures), (delay) =>
    state.stopping ? Effect.sleep(delay) : Effect.asVoid(Effect.timeoutOption(state.stop.await, delay))
  )

/**
 * Until a signal, the moment the broker named, or the safety poll. The broker does not name the ends of this consumer's own
 * leases, so as long as it may have lost sight of a run, it asks every third of a lease.
 */
const rest = (state: State, bell: Effect.Latch): Effect.Effect<void> => {
  if (state.waiting.length > 0) {
    return restWhileWaiting(state, bell)
  }
  if (state.stopping || freePlaces(state) === 0) {
    return bell.await
  }
  return Effect.flatMap(state.broker.now, (now) => {
    const lostAt = state.lostUntil > now ? Math.min(state.lostUntil, now + Duration.toMillis(state.lease) / 3) : null
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

/** Not stopping, and the broker answered within its last three poll intervals, or while all places are taken. */
export const isReady = (state: State): Effect.Effect<boolean> =>
  Effect.map(state.broker.now, (now) => {
    if (state.stopping || state.answered === null || !state.answered.ok) {
      return false
    }
    return freePlaces(state) === 0 || now - state.answered.at <= 3 * Duration.toMillis(state.broker.pollInterval)
  })

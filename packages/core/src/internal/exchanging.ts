import { Cause, Clock, Duration, Effect, Either } from "effect"
import type { ClaimRequest, Exchanged, ServedTask } from "../Broker.js"
import type { BackendError } from "../TaskError.js"
import { ask, type NoAnswer } from "./asking.js"
import { freePlaces, type State, wake } from "./consumerState.js"
import type { Ended } from "./inFlight.js"
import * as leases from "./leases.js"
import { type Loop, supervise } from "./loops.js"
import * as outage from "./outage.js"
import * as performing from "./performing.js"
import { giveBackStale, rest } from "./resting.js"
import * as settling from "./settling.js"
import * as suspects from "./suspects.js"

/*
 * The loop by which a consumer lives: hand in what has ended, claim what there is place for, start it, and rest until there
 * is more to do. While the broker answers, attempts go on ending, so the busier a consumer is, the more goes with one call.
 */

/** Exchanges until the consumer has stopped and everything is handed in; an outage of the broker only slows it down. */
export const all = (state: State): Effect.Effect<void> =>
  Effect.forEach(state.loops.exchange, (loop, i) => supervise(loop, exchanging(state, loop, i === 0)), {
    concurrency: "unbounded",
    discard: true
  })

/** One of the loops keeps the time; another one only joins in where there is much to do. */
const exchanging = (state: State, loop: Loop, keepsTime: boolean): Effect.Effect<void> => {
  const bell = Effect.unsafeMakeLatch(false)
  state.bells.push(bell)
  let exchanges = 0
  const step = Effect.suspend(() => {
    bell.unsafeClose()
    // what this consumer has room for is not known while it is being claimed
    const mayClaim = !state.stopping && state.hungry && !(state.hasRooms && state.claiming > 0)
    const limit = mayClaim ? wish(state) : 0
    if (!(keepsTime || state.exchanging > 0) || !isWorthIt(state, limit)) {
      return keepsTime ? restOrTryAgain(state, loop, bell) : bell.await
    }
    const exchanged = exchange(state, loop, limit)
    return ++exchanges % exchangesPerTurn === 0 ? Effect.zipRight(turn, exchanged) : exchanged
  })
  return Effect.whileLoop({
    while: () => !state.stopping || state.inFlights.size > 0,
    body: () => step,
    step: () => {}
  })
}

const restOrTryAgain = (state: State, loop: Loop, bell: Effect.Latch): Effect.Effect<void> =>
  state.suspects.length === 0
    ? rest(state, bell)
    : Effect.flatMap(suspects.tryAgain(state), (isAnswered) =>
        isAnswered ? Effect.void : failing(state, loop, Cause.die(diedAgain))
      )

const diedAgain = new Error("the broker died on the end of a run")

const liveClock = Clock.make()

/** Real time, to measure by. */
const nanos = (): number => Number(liveClock.unsafeCurrentTimeNanos())

/** How many more runs of each task this consumer may hold. */
const withRooms = (state: State): ReadonlyArray<ServedTask> => {
  const held = new Map<string, number>()
  for (const { run } of state.inFlights.all()) {
    held.set(run.task, (held.get(run.task) ?? 0) + 1)
  }
  return state.tasks.map((task) =>
    task.room === null ? task : { ...task, room: Math.max(0, task.room - (held.get(task.name) ?? 0)) }
  )
}

/** How many runs to claim: for the free places, and beyond them as many as the pace allows. */
const wish = (state: State): number => {
  if (state.tasks.length === 0) {
    return 0
  }
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

/** One exchange, and what follows from its answer, or from there being none. */
const exchange = (state: State, loop: Loop, limit: number): Effect.Effect<void> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(state.broker.now, (now) => {
      state.prefetch.note(state.ended.length, now)
      giveBackStale(state, now)
      const ended = state.ended
      state.ended = []
      const claim = limit === 0 ? null : request(state, limit, now)
      const { heard, tasks } = state
      const isLast = isLastClaim(state, now)
      const asked = { at: now }
      state.asked.add(asked)
      const calledAt = nanos()
      state.exchanging++
      state.claiming += limit
      return restore(ask(state, ended, claim, loop.failuresInARow)).pipe(
        Effect.onExit(() =>
          Effect.sync(() => {
            state.asked.delete(asked)
            state.exchanging--
            state.claiming -= limit
          })
        ),
        Effect.flatMap((result) => {
          if (Either.isLeft(result)) {
            return Effect.flatMap(failed(state, ended, claim, result.left), (cause) =>
              cause === null ? Effect.void : restore(failing(state, loop, cause))
            )
          }
          loop.worked()
          state.answers++
          state.answered = { ok: true, at: now }
          return Effect.zipRight(
            carryOut(state, ended, claim, { heard, calledAt, tasks }, result.right),
            state.phase === "draining" ? Effect.sync(() => noteDrained(state, isLast && claim !== null)) : Effect.void
          )
        })
      )
    })
  )

/** Whether a claim that is made now, and gives nothing, tells that a draining consumer has done all there is. */
const isLastClaim = (state: State, now: number): boolean =>
  state.phase === "draining" && isQuiet(state) && state.lostUntil <= now

/** A handler that ignores its interruption is left to the shutdown. */
export const isQuiet = ({ exchanging, inFlights }: State): boolean =>
  exchanging === 0 && inFlights.size === inFlights.stuck

const noteDrained = (state: State, isLast: boolean): void => {
  if (!isQuiet(state)) {
    return
  }
  if (isLast && !state.hungry) {
    state.isDrained = true
    state.idle.look()
  } else {
    // an exchange that was under way at the same time may have been given what this one did not see
    state.hungry ||= !isLast
  }
}

const request = (state: State, limit: number, now: number): ClaimRequest => ({
  consumer: state.id,
  queues: state.queues,
  queueLimits: state.queueLimits,
  tasks: state.hasRooms ? withRooms(state) : state.tasks,
  limit,
  now,
  leaseUntil: now + Duration.toMillis(state.lease)
})

/** What held when an exchange was asked for: the tasks that were served, how many signals had come, and the time. */
interface Asked {
  readonly tasks: ReadonlyArray<ServedTask>
  readonly heard: number
  readonly calledAt: number
}

const carryOut = (
  state: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null,
  { calledAt, heard, tasks }: Asked,
  { claimed, settled }: Exchanged
): Effect.Effect<void> => {
  state.meter.exchanged(settled.length, claimed?.runs.length ?? null, (nanos() - calledAt) / 1e6)
  const answered = carryOutSettled(state, ended, settled)
  if (claim === null) {
    return answered
  }
  const { disabled, nextAt: given, runs } = claimed ?? { nextAt: null, runs: [], disabled: [] }
  if (claim.now >= state.lostUntil) {
    state.lostUntil = 0
  }
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
    : answered.pipe(
        Effect.zipRight(state.broker.now),
        Effect.map((now) => {
          checkAnswer(state, claim, tasks, now)
          performing.fillPlaces(state)
        }),
        // attempts that never wait are over by now: let those who listen to them have their turn
        Effect.zipRight(Effect.yieldNow())
      )
}

/**
 * An answer may have come so late that the leases have ended, or will have before they can be extended: such runs are given
 * back, as if they had not been claimed. So are those of a task that is no longer served.
 */
const checkAnswer = (state: State, claim: ClaimRequest, tasks: ReadonlyArray<ServedTask>, now: number): void => {
  const isLate = now >= claim.leaseUntil - leases.margin(state)
  if (isLate || tasks !== state.tasks) {
    const names = new Set(state.tasks.map(({ name }) => name))
    performing.giveBackWaiting(
      state,
      now,
      ({ leaseUntil, run }) => !names.has(run.task) || (isLate && leaseUntil === claim.leaseUntil)
    )
    state.hungry = true
  } else if (now - claim.now > Duration.toMillis(state.lease) / 10) {
    state.leaseIsShort.unsafeOpen()
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

/**
 * A claim whose answer did not arrive may have been made all the same; ends are handed in again. Gives the reason to wait
 * before the next try, if there is one.
 */
const failed = (
  state: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null,
  { error }: NoAnswer
): Effect.Effect<Cause.Cause<BackendError> | null> => {
  state.meter.brokerFailed("exchange")
  if (claim !== null) {
    state.hungry = true
    state.lostUntil = claim.leaseUntil
  }
  if (!error.transient && ended.length > 0) {
    return Effect.map(suspects.settleEach(state, ended), (isAnswered) => (isAnswered ? null : Cause.fail(error)))
  }
  state.ended = [...ended.map((one) => ({ ...one, isRepeated: true as const })), ...state.ended]
  return Effect.succeed(Cause.fail(error))
}

/** Waits before the next try. A consumer that begins to stop does not wait for the end of an outage. */
const failing = (state: State, loop: Loop, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  state.answered = { ok: false, at: state.answered?.at ?? 0 }
  return Effect.flatMap(loop.failed(cause), (failures) =>
    Effect.flatMap(outage.delay(failures), (delay) =>
      loop.backOff(state.stopping ? Effect.sleep(delay) : Effect.asVoid(Effect.timeoutOption(state.stop.await, delay)))
    )
  )
}

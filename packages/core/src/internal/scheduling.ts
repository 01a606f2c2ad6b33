import { Duration, Effect, Either, Option, Queue } from "effect"
import type { Signal } from "../Broker.js"
import type { EncodedSchedule } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as accepting from "./accepting.js"
import type { Loop } from "./loops.js"
import * as newRuns from "./newRuns.js"
import * as operating from "./operating.js"
import type { RunId } from "./run.js"
import { type Known, read, toFire } from "./scheduleRecords.js"
import type { Parts } from "./schedulerParts.js"
import { tagsOf } from "./scheduleTags.js"
import * as ticking from "./ticking.js"
import { describe, showTime } from "./ticks.js"

/*
 * The loop of a scheduler: it fires what is due and sleeps until the next tick. It knows all schedules of the backend, and
 * reads them again when it hears that somebody has changed them, when somebody else has fired a tick before it, and after the
 * broker's `pollInterval`. It need not know the tasks.
 */

export interface State extends Parts {
  readonly known: Map<string, Known>
  /** Schedules that cannot be fired, and what was told of them. */
  readonly broken: Map<string, string>
  /** The runs for whose end a schedule waits. */
  awaited: ReadonlySet<RunId>
  /** Opened when there is something to look at. */
  readonly bell: Effect.Latch
  /** Whether the schedules have to be read again: at once, or when somebody else wrote, not too often. */
  news: "none" | "perhaps" | "certain"
  readAt: number
}

export const initial = (parts: Parts): State => ({
  ...parts,
  known: new Map(),
  broken: new Map(),
  awaited: new Set(),
  bell: Effect.unsafeMakeLatch(false),
  news: "certain",
  readAt: Number.NEGATIVE_INFINITY
})

/** Where only the writing of others is heard, and not what they wrote, the schedules are read no more often than this. */
const quietMillis = 250

/** Timers hold no more than 24 days. */
const longestSleep = 86_400_000

/** Listens for as long as it can; what was missed before it began is asked for. */
export const listen = (state: State, loop: Loop): Effect.Effect<void> =>
  Effect.scoped(
    Effect.flatMap(state.broker.signals, (signals) => {
      react(state, { _tag: "Schedules" })
      loop.worked()
      return Effect.forever(
        Effect.flatMap(Queue.takeBetween(signals, 1, 1_000), (signals) =>
          Effect.sync(() => {
            for (const signal of signals) {
              react(state, signal)
            }
          })
        )
      )
    })
  )

const react = (state: State, signal: Signal): void => {
  if (signal._tag === "Schedules") {
    state.news = "certain"
    state.bell.unsafeOpen()
  } else if (signal._tag === "Changed") {
    state.news = state.news === "certain" ? "certain" : "perhaps"
    state.bell.unsafeOpen()
  } else if (signal._tag === "Ended") {
    if (state.awaited.size > 0 && signal.ids.some((id) => state.awaited.has(id))) {
      state.bell.unsafeOpen()
    }
  }
}

/** Fires ticks, for ever. */
export const run = (state: State, loop: Loop): Effect.Effect<never, BackendError> =>
  Effect.forever(
    Effect.gen(function* () {
      state.bell.unsafeClose()
      const now = yield* state.broker.now
      if (isToBeRead(state, now)) {
        yield* load(state, now)
      }
      yield* fireDue(state, now)
      loop.worked()
      yield* rest(state)
    })
  ).pipe(
    // after a failure nobody knows what was written
    Effect.tapErrorCause(() => Effect.sync(() => (state.news = "certain")))
  )

const isToBeRead = ({ news, readAt }: State, now: number): boolean =>
  news === "certain" || (news === "perhaps" && now - readAt >= quietMillis)

const load = (state: State, now: number): Effect.Effect<void, BackendError> =>
  Effect.suspend(() => {
    state.news = "none"
    return Effect.flatMap(state.store.schedules, (schedules) => {
      state.readAt = now
      state.known.clear()
      return Effect.forEach(schedules, (stored) => note(state, stored), { discard: true })
    })
  })

/** One schedule that cannot be read, or decrypted, does not stop the others. */
const note = ({ broken, known }: State, stored: EncodedSchedule): Effect.Effect<void> =>
  Either.match(Either.flatMap(read(stored), toFire), {
    onLeft: ({ message }) => {
      const isTold = broken.get(stored.name) === message
      broken.set(stored.name, message)
      return isTold ? Effect.void : Effect.logError(`a schedule is left out: ${message}`)
    },
    onRight: (one) =>
      Effect.sync(() => {
        broken.delete(stored.name)
        known.set(stored.name, one)
      })
  })

/** A change of a schedule, and what has led to it. */
interface Fired {
  readonly known: Known
  readonly decision: ticking.Decision
  readonly schedule: EncodedSchedule
  readonly runs: ReadonlyArray<EncodedRun>
}

const fireDue = (state: State, now: number): Effect.Effect<void, BackendError> =>
  Effect.gen(function* () {
    const due = Array.from(state.known.values()).filter((one) => ticking.isDue(one, now) || ticking.isAwaiting(one))
    if (due.length === 0) {
      return
    }
    // noted before they are asked for, so that no end is missed
    state.awaited = new Set(due.flatMap((one) => (ticking.isAwaiting(one) ? one.stored.unfinished : [])))
    let ends = yield* endsOf(state, due, now)
    if (yield* cancelUnfinished(state, due, ends, now)) {
      ends = yield* endsOf(state, due, now)
    }
    const fired = due.flatMap((known): ReadonlyArray<Fired> => {
      const decision = ticking.decide(known, now, ends)
      return decision === undefined ? [] : [advanced(state, known, decision, now)]
    })
    if (fired.length > 0) {
      yield* write(state, fired)
    }
  })

/** Those of the runs that have ended, and when; only of schedules that ask for it. */
const endsOf = (
  { store }: State,
  due: ReadonlyArray<Known>,
  now: number
): Effect.Effect<ReadonlyMap<RunId, number>, BackendError> => {
  const ids = due.flatMap((one) => (ticking.asksForEnds(one, now) ? one.stored.unfinished : []))
  return ids.length === 0
    ? Effect.succeed(new Map())
    : Effect.map(
        store.get(ids),
        (found) =>
          new Map(
            ids.flatMap((id, i): ReadonlyArray<readonly [RunId, number]> => {
              // a record that is gone was that of an ended run
              const run = Option.getOrUndefined(found[i]!)
              return run === undefined || isFinal(run.state) ? [[id, run?.endedAt ?? now]] : []
            })
          )
      )
}

/** Cancels the runs of schedules that want it before their next tick; gives whether there were any. */
const cancelUnfinished = (
  state: State,
  due: ReadonlyArray<Known>,
  ends: ReadonlyMap<RunId, number>,
  now: number
): Effect.Effect<boolean, BackendError> =>
  Effect.map(
    Effect.forEach(due, (one) => {
      const ids = ticking.asksToCancel(one, now) ? one.stored.unfinished.filter((id) => !ends.has(id)) : []
      return ids.length === 0
        ? Effect.succeed(false)
        : Effect.as(operating.cancel(state, ids, `the next tick of the schedule ${one.stored.name} has come`), true)
    }),
    (cancelled) => cancelled.includes(true)
  )

/** So many unfinished runs a schedule remembers where runs may overlap, for the case that it is changed. */
const mostRemembered = 20

const advanced = ({ ids }: State, known: Known, decision: ticking.Decision, now: number): Fired => {
  const { stored, template } = known
  const made = ids.at(now, decision.fired.length)
  const runs = made.map((id, i) => newRuns.templated(template, id, now, tagsOf(stored.name, decision.fired[i]!)))
  const unfinished = [...decision.unfinished, ...runs.map((run) => run.id)]
  return {
    known,
    decision,
    runs,
    schedule: {
      ...stored,
      nextTick: decision.nextTick,
      waitingTick: decision.waitingTick,
      lastTick: decision.lastTick,
      lastRunId: runs[runs.length - 1]?.id ?? stored.lastRunId,
      unfinished: known.spec.overlap === "allow" ? unfinished.slice(-mostRemembered) : unfinished,
      revision: stored.revision + 1
    }
  }
}

/** Hands the ticks in. Those that somebody else has fired before are as they should be. */
const write = (state: State, fired: ReadonlyArray<Fired>): Effect.Effect<void, BackendError> =>
  Effect.flatMap(
    accepting.fire(
      state,
      fired.map(({ known, runs, schedule }) => ({ schedule, expected: known.stored.revision, runs }))
    ),
    (written) =>
      Effect.forEach(
        fired,
        (one, i) => {
          if (!written[i]) {
            state.news = "certain"
            state.bell.unsafeOpen()
            return Effect.void
          }
          const known = { ...one.known, stored: one.schedule }
          state.known.set(one.schedule.name, known)
          if (ticking.isAwaiting(known)) {
            // what it waits for may have ended meanwhile
            state.bell.unsafeOpen()
          }
          return tell(state, one)
        },
        { discard: true }
      )
  )

const tell = ({ meter }: State, { decision, known: { spec, stored } }: Fired): Effect.Effect<void> => {
  const { fired, missed, skipped } = decision
  meter.ticked(stored.name, "fired", fired.length)
  meter.ticked(stored.name, "skipped", skipped.length)
  meter.ticked(stored.name, "missed", missed)
  const what = `the schedule ${stored.name} (${describe(spec)})`
  return Effect.zipRight(
    skipped.length === 0
      ? Effect.void
      : Effect.logWarning(
          `${what} skipped ${skipped.length === 1 ? "a tick" : `${skipped.length} ticks`}, the last of ${showTime(skipped[skipped.length - 1]!)}, for its run had not ended (overlap: ${spec.overlap})`
        ),
    missed === 0
      ? Effect.void
      : Effect.logWarning(
          `${what} missed ${missed === 1 ? "a tick" : `${missed} ticks`}, for no scheduler was there (catchUp: ${spec.catchUp})`
        )
  )
}

/** Sleeps until the next tick, a signal, or the broker's `pollInterval`. */
const rest = (state: State): Effect.Effect<void> =>
  Effect.flatMap(state.broker.now, (now) => {
    const next = Array.from(state.known.values()).reduce(
      (next, one) => Math.min(next, ticking.dueAt(one) ?? Number.POSITIVE_INFINITY),
      state.news === "perhaps" ? state.readAt + quietMillis : Number.POSITIVE_INFINITY
    )
    const poll = Duration.toMillis(state.broker.pollInterval)
    const wait = Math.min(Math.max(0, next - now), poll)
    if (!Number.isFinite(wait)) {
      return state.bell.await
    }
    return Effect.map(
      Effect.timeoutOption(state.bell.await, Duration.millis(Math.min(wait, longestSleep))),
      (heard) => {
        if (Option.isNone(heard) && wait === poll) {
          state.news = "certain"
        }
      }
    )
  })

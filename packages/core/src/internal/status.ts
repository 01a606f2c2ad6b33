import { Duration, Effect } from "effect"
import { freePlaces, type State } from "./consumerState.js"
import type { LoopStatus } from "./loops.js"
import * as stuck from "./stuck.js"

/*
 * What a consumer tells of itself.
 */

/** Documented in `TaskConsumer`. */
export interface Status {
  readonly phase: "running" | "draining" | "stopping" | "stopped"
  readonly alive: boolean
  readonly ready: boolean
  readonly loops: ReadonlyArray<LoopStatus>
  readonly running: number
  readonly runningByTask: { readonly [task: string]: number }
  readonly waiting: number
  readonly stuck: ReadonlyArray<stuck.StuckRun>
}

const loopsOf = ({ loops: { exchange, ...others } }: State) => [...exchange, ...Object.values(others)]

/** It serves something, and none of its loops has ended. */
export const isAlive = (state: State): boolean =>
  state.tasks.length > 0 && state.phase !== "stopped" && loopsOf(state).every((loop) => !loop.hasEnded)

/**
 * It is to go on, and the broker answers: within the last three poll intervals, or while all places are taken. Where the
 * interval has no end, a broker that lets it wait for a third of the lease counts as one that does not answer.
 */
export const isReady = (state: State): Effect.Effect<boolean> =>
  Effect.map(state.broker.now, (now) => {
    if (state.phase !== "running" || !isAlive(state) || state.answered === null || !state.answered.ok) {
      return false
    }
    const longest = Duration.toMillis(state.lease) / 3
    if (Array.from(state.asked).some(({ at }) => now - at > longest)) {
      return false
    }
    return freePlaces(state) === 0 || now - state.answered.at <= 3 * Duration.toMillis(state.broker.pollInterval)
  })

export const make = (state: State): Effect.Effect<Status> =>
  Effect.map(isReady(state), (ready) => ({
    phase: state.phase,
    alive: isAlive(state),
    ready,
    loops: loopsOf(state).map(({ status }) => status),
    running: state.inFlights.begun,
    runningByTask: state.inFlights.begunByTasks,
    waiting: state.waiting.length,
    stuck: stuck.all(state)
  }))

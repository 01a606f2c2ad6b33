import { Deferred, Effect, Fiber } from "effect"
import type { Final } from "../TaskState.js"
import * as callbacks from "./callbacks.js"
import { type State, type StoppedRun, wake } from "./consumerState.js"
import * as exchanging from "./exchanging.js"
import { stop } from "./interrupting.js"
import * as presence from "./presence.js"

/*
 * The ways in which a consumer comes to its end.
 */

/** Documented in `TaskConsumer`. */
export interface ShutdownReport {
  readonly finished: number
  readonly givenBack: ReadonlyArray<StoppedRun>
  readonly interrupted: ReadonlyArray<StoppedRun>
  readonly overran: ReadonlyArray<StoppedRun>
}

/** Documented in `TaskConsumer`. */
export interface DrainReport extends ShutdownReport {
  readonly ended: { readonly [S in Final]?: number }
}

/** Runs at most once, in a fiber of its own, so that who asks first may be interrupted; everybody gets the one result. */
export const once = <A>(effect: Effect.Effect<A>): Effect.Effect<Effect.Effect<A>> =>
  Effect.map(Deferred.make<A>(), (result) => {
    let isStarted = false
    return Effect.suspend(() => {
      const start = isStarted
        ? Effect.void
        : Effect.forkDaemon(Effect.interruptible(Effect.intoDeferred(effect, result)))
      isStarted = true
      return Effect.zipRight(start, Deferred.await(result))
    })
  })

/**
 * The order of a shutdown: claiming stops; attempts finish within the grace; those left are interrupted, their finalizers
 * run, and their runs are given back or end; what does not obey is left behind, and its lease ends.
 */
export const shutDown = (state: State, life: Fiber.RuntimeFiber<void>): Effect.Effect<ShutdownReport> =>
  Effect.gen(function* () {
    state.stopping = true
    state.phase = "stopping"
    state.stop.unsafeOpen()
    state.unannounced.unsafeOpen()
    state.idle.look()
    wake(state)
    yield* Effect.timeoutOption(Fiber.await(life), state.grace)
    const fiberId = yield* Effect.fiberId
    state.inFlights.all().forEach((inFlight) => stop(state, inFlight, { _tag: "Shutdown" }, fiberId))
    yield* Effect.timeoutOption(Fiber.await(life), state.cleanup)
    yield* Fiber.interruptFork(life)
    yield* callbacks.endAll(state)
    const overran = state.inFlights.all().map(({ run }): StoppedRun => ({ id: run.id, task: run.task }))
    const report = { ...state.report, overran }
    yield* logReport(state, report)
    return report
  })

/** The last of a shutdown, when the loops have ended. */
export const leave = (state: State): Effect.Effect<void> =>
  Effect.zipRight(
    presence.leave(state),
    Effect.sync(() => {
      state.phase = "stopped"
      state.idle.look()
    })
  )

/** Performs what is due until nothing is left, or somebody stops the consumer; then shuts it down. */
export const drain = (state: State, gracefullyStop: Effect.Effect<ShutdownReport>): Effect.Effect<DrainReport> =>
  Effect.suspend(() => {
    const ended: { [S in Final]?: number } = {}
    if (state.phase === "running") {
      state.phase = "draining"
      state.drained = ended
      state.hungry = true
      wake(state)
    }
    const isDone = () => state.isDrained || state.stopping || (state.tasks.length === 0 && exchanging.isQuiet(state))
    return state.idle.until(isDone).pipe(
      Effect.zipRight(gracefullyStop),
      Effect.map((report) => ({ ...report, ended }))
    )
  })

const logReport = (state: State, { finished, givenBack, interrupted, overran }: ShutdownReport) => {
  const names = (runs: ReadonlyArray<StoppedRun>) => runs.map(({ id, task }) => `${task} ${id}`)
  return Effect.annotateLogs(
    overran.length > 0
      ? Effect.logWarning("consumer stopped; some handlers ignored their interruption", names(overran))
      : Effect.logDebug("consumer stopped"),
    { consumer: state.id, finished, givenBack: names(givenBack), interrupted: names(interrupted) }
  )
}

import { Deferred, Effect, Fiber, Queue } from "effect"
import type { Signal } from "../Broker.js"
import * as claiming from "./claiming.js"
import type { Settings, State, StoppedRun } from "./consumerState.js"
import { InFlights, stop } from "./inFlight.js"
import * as leases from "./leases.js"
import * as presence from "./presence.js"
import { capturing } from "./runLog.js"

/** Starts the loops of a consumer; the scope's end stops it in order. */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const state: State = {
    ...settings,
    inFlights: new InFlights(),
    wake: Effect.unsafeMakeLatch(false),
    busy: Effect.unsafeMakeLatch(false),
    idle: Effect.unsafeMakeLatch(true),
    unsaved: Effect.unsafeMakeLatch(false),
    report: { finished: 0, givenBack: [], interrupted: [] },
    stopping: false,
    lostUntil: 0,
    answered: null
  }
  const signals = yield* state.broker.signals
  yield* presence.announce(state)
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeBetween(signals, 1, 1_000), react(state))))
  yield* Effect.forkScoped(leases.keep(state))
  yield* Effect.forkScoped(leases.saveReports(state))
  const claims = yield* Effect.forkScoped(capturing(claiming.loop(state)))
  const gracefullyStop = yield* once(shutDown(state, claims))
  yield* Effect.addFinalizer(() => gracefullyStop)
  return {
    id: state.id,
    alive: Effect.map(claims.status, (status) => status._tag !== "Done"),
    ready: claiming.isReady(state),
    running: Effect.sync(() => state.inFlights.size),
    runningOf: (task: { readonly name: string }) => Effect.sync(() => state.inFlights.sizeOf(task.name)),
    gracefullyStop
  }
})

/** Runs at most once, in a fiber of its own, so that who asks first may be interrupted; everybody gets the one result. */
const once = <A>(effect: Effect.Effect<A>): Effect.Effect<Effect.Effect<A>> =>
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

const react = (state: State) => (signals: Iterable<Signal>) =>
  Effect.fiberIdWith((fiberId) =>
    Effect.sync(() => {
      for (const signal of signals) {
        if (signal._tag === "Cancel") {
          const inFlight = state.inFlights.get(signal.id)
          if (inFlight !== undefined) {
            stop(inFlight, { _tag: "Cancel", reason: signal.reason }, fiberId)
          }
        } else if (signal._tag !== "Ended") {
          state.wake.unsafeOpen()
        }
      }
    })
  )

/**
 * The order of a shutdown: claiming stops; attempts finish within the grace; those left are interrupted, their finalizers
 * run, and their runs are given back or end; what does not obey is left behind.
 */
const shutDown = (state: State, claims: Fiber.RuntimeFiber<void>) =>
  Effect.gen(function* () {
    state.stopping = true
    state.wake.unsafeOpen()
    yield* Effect.timeoutOption(Fiber.await(claims), state.cleanup)
    yield* Fiber.interruptFork(claims)
    yield* Effect.timeoutOption(state.idle.await, state.grace)
    const fiberId = yield* Effect.fiberId
    state.inFlights.all().forEach((inFlight) => stop(inFlight, { _tag: "Shutdown" }, fiberId))
    yield* Effect.timeoutOption(state.idle.await, state.cleanup)
    const overran = state.inFlights.all().map(({ run }): StoppedRun => ({ id: run.id, task: run.task }))
    yield* presence.leave(state)
    const report = { ...state.report, overran }
    yield* logReport(state, report)
    return report
  })

const logReport = (state: State, report: State["report"] & { readonly overran: ReadonlyArray<StoppedRun> }) => {
  const names = (runs: ReadonlyArray<StoppedRun>) => runs.map(({ id, task }) => `${task} ${id}`)
  const { finished, givenBack, interrupted, overran } = report
  return Effect.annotateLogs(
    overran.length > 0
      ? Effect.logWarning("consumer stopped; some handlers ignored their interruption", names(overran))
      : Effect.logDebug("consumer stopped"),
    { consumer: state.id, finished, givenBack: names(givenBack), interrupted: names(interrupted) }
  )
}

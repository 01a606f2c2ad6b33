import { Deferred, Effect, Exit, Fiber, Queue, Scope } from "effect"
import type { Signal } from "../Broker.js"
import { type Settings, type State, type StoppedRun, wake } from "./consumerState.js"
import * as exchanging from "./exchanging.js"
import { InFlights, stop } from "./inFlight.js"
import * as leases from "./leases.js"
import { Prefetch } from "./prefetch.js"
import * as presence from "./presence.js"
import { capturing } from "./runLog.js"

/** Starts the loops of a consumer; the scope's end stops it in order. */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const state: State = {
    ...settings,
    surroundings: yield* capturing(Effect.interruptible(Effect.runtime<never>())),
    inFlights: new InFlights(),
    bells: [],
    busy: Effect.unsafeMakeLatch(false),
    unsaved: Effect.unsafeMakeLatch(false),
    stop: Effect.unsafeMakeLatch(false),
    report: { finished: 0, givenBack: [], interrupted: [] },
    stopping: false,
    prefetch: new Prefetch(settings.maxPrefetch),
    waiting: [],
    isFilling: false,
    ended: [],
    exchanging: 0,
    claiming: 0,
    hungry: true,
    nextAt: null,
    lostUntil: 0,
    answered: null
  }
  const loops = yield* Effect.acquireRelease(Scope.make(), (loops, exit) => Scope.close(loops, exit))
  const life = yield* live(state).pipe(Scope.extend(loops))
  const gracefullyStop = yield* once(Effect.ensuring(shutDown(state, life), Scope.close(loops, Exit.void)))
  yield* Effect.addFinalizer(() => gracefullyStop)
  return {
    id: state.id,
    alive: Effect.map(life.status, (status) => status._tag !== "Done"),
    ready: exchanging.isReady(state),
    running: Effect.sync(() => state.inFlights.begun),
    runningOf: (task: { readonly name: string }) => Effect.sync(() => state.inFlights.begunOf(task.name)),
    gracefullyStop
  }
})

/** Starts the loops; the fiber is that of the one which lasts as long as the consumer lives. */
const live = Effect.fnUntraced(function* (state: State) {
  const signals = yield* state.broker.signals
  yield* presence.announce(state)
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.takeBetween(signals, 1, 1_000), react(state))))
  yield* Effect.forkScoped(leases.keep(state))
  yield* Effect.forkScoped(leases.saveReports(state))
  return yield* Effect.forkScoped(Effect.withTracerEnabled(exchanging.all(state), false))
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
          state.hungry = true
          wake(state)
        }
      }
    })
  )

/**
 * The order of a shutdown: claiming stops; attempts finish within the grace; those left are interrupted, their finalizers
 * run, and their runs are given back or end; what does not obey is left behind, and its lease ends.
 */
const shutDown = (state: State, life: Fiber.RuntimeFiber<void>) =>
  Effect.gen(function* () {
    state.stopping = true
    state.stop.unsafeOpen()
    wake(state)
    yield* Effect.timeoutOption(Fiber.await(life), state.grace)
    const fiberId = yield* Effect.fiberId
    state.inFlights.all().forEach((inFlight) => stop(inFlight, { _tag: "Shutdown" }, fiberId))
    yield* Effect.timeoutOption(Fiber.await(life), state.cleanup)
    yield* Fiber.interruptFork(life)
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

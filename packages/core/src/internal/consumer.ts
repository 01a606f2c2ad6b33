import { type Clock, Effect, Exit, type Fiber, Scope } from "effect"
import * as callbacks from "./callbacks.js"
import type { Loops, Settings, State } from "./consumerState.js"
import type { HandlerEntry } from "./definition.js"
import * as exchanging from "./exchanging.js"
import { Idle } from "./idle.js"
import { InFlights } from "./inFlight.js"
import * as leases from "./leases.js"
import { listen } from "./listening.js"
import { Loop, supervise } from "./loops.js"
import * as membership from "./membership.js"
import { Prefetch } from "./prefetch.js"
import * as presence from "./presence.js"
import * as reports from "./reports.js"
import { capturing } from "./runLog.js"
import * as status from "./status.js"
import * as stopping from "./stopping.js"
import * as stuck from "./stuck.js"

/** Starts the loops of a consumer; the scope's end stops it in order. */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const surroundings = capturing(Effect.interruptible(Effect.runtime<never>()))
  const state = initial(
    settings,
    yield* Effect.clock,
    yield* surroundings,
    yield* Effect.withTracerEnabled(surroundings, false)
  )
  const loops = yield* Effect.acquireRelease(Scope.make(), (loops, exit) => Scope.close(loops, exit))
  const life = yield* live(state).pipe(Scope.extend(loops))
  const gracefullyStop = yield* stopping.once(
    Effect.ensuring(
      stopping.shutDown(state, life),
      Effect.zipRight(Scope.close(loops, Exit.void), stopping.leave(state))
    )
  )
  yield* Effect.addFinalizer(() => gracefullyStop)
  return {
    id: state.id,
    status: status.make(state),
    alive: Effect.sync(() => status.isAlive(state)),
    ready: status.isReady(state),
    running: Effect.sync(() => state.inFlights.begun),
    runningOf: (task: { readonly name: string }) => Effect.sync(() => state.inFlights.begunOf(task.name)),
    add: (entries: ReadonlyMap<string, HandlerEntry>) => membership.add(state, entries),
    remove: (task: { readonly name: string }) => membership.remove(state, task.name),
    registerCallback: <E, R>(callback: Effect.Effect<unknown, E, R>, options: callbacks.CallbackOptions) =>
      callbacks.register(state, callback, options),
    drain: yield* stopping.once(stopping.drain(state, gracefullyStop)),
    gracefullyStop
  }
})

const initial = (
  { entries, queues, ...settings }: Settings,
  clock: Clock.Clock,
  surroundings: State["surroundings"],
  untraced: State["untraced"]
): State => ({
  ...settings,
  entries: new Map(entries),
  namedQueues: queues,
  ...membership.served(entries.values(), queues),
  phase: "running",
  loops: makeLoops(settings.broker.isRemote),
  clock,
  surroundings,
  untraced,
  inFlights: new InFlights(),
  bells: [],
  busy: Effect.unsafeMakeLatch(false),
  unsaved: Effect.unsafeMakeLatch(false),
  leaseIsShort: Effect.unsafeMakeLatch(false),
  unannounced: Effect.unsafeMakeLatch(false),
  interrupted: [],
  interruption: Effect.unsafeMakeLatch(false),
  callbacks: new Set(),
  idle: new Idle(),
  stop: Effect.unsafeMakeLatch(false),
  drained: null,
  report: { finished: 0, givenBack: [], interrupted: [] },
  stopping: false,
  prefetch: new Prefetch(settings.maxPrefetch),
  waiting: [],
  isFilling: false,
  ended: [],
  suspects: [],
  answers: 0,
  exchanging: 0,
  claiming: 0,
  hungry: true,
  heard: 0,
  nextAt: null,
  isDrained: false,
  lostUntil: 0,
  asked: new Set(),
  answered: null
})

const makeLoops = (isRemote: boolean): Loops => ({
  exchange: isRemote ? [new Loop("exchange"), new Loop("exchange ahead")] : [new Loop("exchange")],
  leases: new Loop("leases"),
  reports: new Loop("reports"),
  signals: new Loop("signals"),
  presence: new Loop("presence"),
  interruptions: new Loop("interruptions"),
  callbacks: new Loop("callbacks")
})

/**
 * Starts the loops, each under supervision; the fiber is that of the one which lasts as long as the consumer lives. It is
 * heard of and listens before it claims, unless the backend is away.
 */
const live = Effect.fnUntraced(function* (
  state: State
): Effect.fn.Return<Fiber.RuntimeFiber<void>, never, Scope.Scope> {
  const { loops } = state
  const start = <E>(loop: Loop, self: Effect.Effect<void, E>) => Effect.forkScoped(supervise(loop, self))
  const startedAt = yield* state.broker.now
  yield* Effect.addFinalizer(() => Effect.sync(() => loops.callbacks.end()))
  yield* start(loops.signals, listen(state))
  yield* start(loops.presence, presence.keep(state, startedAt))
  yield* Effect.timeoutOption(Effect.zipRight(loops.signals.tried.await, loops.presence.tried.await), state.cleanup)
  yield* start(loops.leases, leases.keep(state))
  yield* start(loops.reports, reports.save(state))
  yield* start(loops.interruptions, stuck.watch(state))
  return yield* Effect.forkScoped(exchanging.all(state))
})

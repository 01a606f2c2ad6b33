/** What the tests of the suite share: storages, processes on them, and the passing of virtual and of real time. */

import { it } from "@effect/vitest"
import {
  type Backend,
  Broker,
  Store,
  type Task,
  TaskConsumer,
  type TaskEvents,
  type TaskGroup,
  TaskLogger,
  TaskManager,
  type TaskRun
} from "@effect-tasks/core"
import { Chunk, Clock, Context, Duration, Effect, Exit, identity, Layer, Scope, TestClock } from "effect"
import { ascending } from "../fixtures/runIds.js"

/**
 * A backend under test: makes a new, empty storage, and gives the Layer that opens it. Each build of the Layer is a user of
 * its own, as another process would be, where the backend allows for it.
 */
export interface Subject {
  readonly storage: Effect.Effect<Layer.Layer<Backend.Backend, unknown>, unknown, Scope.Scope>
}

/** How many calls of broker and store are under way. */
class Activity {
  calls = 0
  underWay = 0

  watch<A, E, R>(call: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      this.calls++
      this.underWay++
      return Effect.ensuring(
        call,
        Effect.sync(() => this.underWay--)
      )
    })
  }

  /** A service whose every operation is watched. */
  watchAll<S extends object>(service: S): S {
    const watched = Object.entries(service).map(([name, member]) => {
      if (typeof member === "function") {
        return [name, (...args: ReadonlyArray<never>) => this.watch(member(...args))]
      }
      return [name, Effect.isEffect(member) ? this.watch(member) : member]
    })
    return Object.fromEntries(watched)
  }
}

/** The storage of a test. `open` is the Layer of one more user of it. */
export class Storage extends Context.Tag("conformance/Storage")<
  Storage,
  {
    readonly open: Layer.Layer<Backend.Backend>
    readonly activity: Activity
    /** Ids for encoded runs, ascending. */
    readonly nextId: () => TaskRun.RunId
  }
>() {}

const makeStorage = Effect.fnUntraced(function* (subject: Subject) {
  const activity = new Activity()
  const layer = yield* subject.storage
  return Storage.of({
    open: Layer.map(Layer.orDie(layer), (context) =>
      Context.make(Broker.Broker, activity.watchAll(Context.get(context, Broker.Broker))).pipe(
        Context.add(Store.Store, activity.watchAll(Context.get(context, Store.Store)))
      )
    ),
    activity,
    nextId: ascending()
  })
})

/** What a process of an application has: a backend, a manager, and its events. */
export type Process = Backend.Backend | TaskManager.TaskManager | TaskEvents.TaskEvents

/** How a process differs from the usual one. */
interface ProcessOptions {
  readonly broker?: (broker: typeof Broker.Broker.Service) => typeof Broker.Broker.Service
  readonly store?: (store: typeof Store.Store.Service) => typeof Store.Store.Service
  readonly manager?: TaskManager.Options
  readonly observers?: ReadonlyArray<TaskLogger.Observer>
}

const runtime = (open: Layer.Layer<Backend.Backend>, options: ProcessOptions = {}): Layer.Layer<Process> => {
  const backend = Layer.map(open, (context) =>
    Context.make(Broker.Broker, (options.broker ?? identity)(Context.get(context, Broker.Broker))).pipe(
      Context.add(Store.Store, (options.store ?? identity)(Context.get(context, Store.Store)))
    )
  )
  return TaskManager.layerWith(options.manager ?? {}).pipe(
    Layer.orDie,
    Layer.provideMerge(backend),
    Layer.provide(TaskLogger.layer(...(options.observers ?? [])))
  )
}

/** What each test is given: the services of one process, the storage, and a scope for more. */
type Env = Process | Storage | Scope.Scope

/** Declares the tests of one family of rules. */
export type Family = (rule: (name: string, body: () => Effect.Effect<void, unknown, Env>) => void) => void

/** Runs a family against a subject. Each test has a storage and a virtual clock of its own. */
export const family = (subject: Subject, declare: Family): void =>
  declare((name, body) =>
    it.scoped(
      name,
      () =>
        Effect.gen(function* () {
          const storage = yield* makeStorage(subject)
          const context = yield* Layer.build(runtime(storage.open))
          yield* body().pipe(Effect.provide(context), Effect.provideService(Storage, storage))
        }),
      { timeout: 4 * patience }
    )
  )

/** One more process on the storage. Closing it is an orderly end; what it has not finished stays in the storage. */
export const openProcessWith = (options: ProcessOptions) =>
  Effect.gen(function* () {
    const { open } = yield* Storage
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(runtime(open, options), scope)
    return {
      /** Runs an effect in this process; its scope ends with the process. */
      run: <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Process | Scope.Scope>> =>
        self.pipe(Scope.extend(scope), Effect.provide(context)) as Effect.Effect<
          A,
          E,
          Exclude<R, Process | Scope.Scope>
        >,
      close: Scope.close(scope, Exit.void)
    }
  })

export const openProcess = openProcessWith({})

/**
 * Starts a consumer in this scope, with the handlers of its tasks by name. Unless a test says otherwise it has no grace:
 * virtual time stands still when a test ends.
 */
export const serve = <Tasks extends Task.Any, H extends TaskGroup.Handlers<Tasks>>(
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: H,
  options: TaskConsumer.Options = {}
) =>
  TaskConsumer.make(group, { grace: 0, ...options }).pipe(
    Effect.provide(group.toLayer(handlers)),
    Effect.orDie,
    Effect.tap(quiet)
  )

const liveClock = Clock.make()

/** Sleeps in real time. */
const pause = (millis: number) => Effect.withClock(Effect.sleep(Duration.millis(millis)), liveClock)

/** One turn of the event loop, its timers included: every fiber that can go on does so. */
const turn = Effect.async<void>((resume) => {
  setTimeout(() => setImmediate(() => resume(Effect.void)), 0)
})

/** How long the suite waits, in real time, for what must happen. */
const patience = 8_000

/** Tries a check again, in real time, until it holds. */
export const eventually = <A, E, R>(check: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const deadline = liveClock.unsafeCurrentTimeMillis() + patience
    const again: Effect.Effect<A, E, R> = Effect.flatMap(Effect.exit(check), (exit) =>
      Exit.isSuccess(exit) || liveClock.unsafeCurrentTimeMillis() > deadline ? exit : Effect.zipRight(pause(2), again)
    )
    return again
  })

/** Waits, in real time, until all fibers rest and the storage has answered them. */
export const quiet: Effect.Effect<void, never, Storage> = Effect.flatMap(Storage, ({ activity }) =>
  Effect.gen(function* () {
    const deadline = liveClock.unsafeCurrentTimeMillis() + patience
    let seen = activity.calls
    for (let turns = 0; turns < 2; turns++) {
      yield* turn
      if (activity.underWay > 0 || activity.calls !== seen) {
        seen = activity.calls
        turns = -1
      }
      if (liveClock.unsafeCurrentTimeMillis() > deadline) {
        return yield* Effect.dieMessage(`${activity.underWay} calls of the backend did not end`)
      }
    }
  })
)

/**
 * Lets virtual time pass. Unlike `TestClock.adjust` it lets the storage answer before and after each fiber that wakes up, so
 * it holds for backends that need real time too.
 */
export const advance = (duration: Duration.DurationInput): Effect.Effect<void, never, Storage> =>
  Effect.gen(function* () {
    const end = (yield* TestClock.currentTimeMillis) + Duration.toMillis(duration)
    while (true) {
      yield* quiet
      const next = Chunk.reduce(yield* TestClock.sleeps(), Number.POSITIVE_INFINITY, (a, b) => Math.min(a, b))
      yield* TestClock.setTime(Math.min(next, end))
      if (next > end) {
        return yield* quiet
      }
    }
  })

/**
 * The test kit of an application: its tasks on a memory backend, in virtual time, with what was queued and logged at hand;
 * and chaos, to see what an application does when its backend fails.
 *
 * It knows no test framework. Tests run with a `TestClock`: in `@effect/vitest` that is `it.effect`, elsewhere
 * `Effect.provide(TestContext.TestContext)`. What a test asserts fails as a typed error with a readable message.
 *
 * @example
 * ```ts
 * import { Task, TaskGroup, TaskTest } from "@effect-tasks/core"
 * import { Effect, Layer, Schema } from "effect"
 *
 * const SendEmail = Task.make("SendEmail", { payload: { to: Schema.String } })
 * const Mail = TaskGroup.make(SendEmail)
 *
 * const Test = TaskTest.consumer(Mail).pipe(
 *   Layer.provide(SendEmail.toLayer(({ to }) => Effect.log(`hello ${to}`))),
 *   Layer.provideMerge(TaskTest.layer)
 * )
 *
 * const test = Effect.gen(function*() {
 *   yield* SendEmail.queue({ to: "ada@example.com" }, { delay: "1 day" })
 *   yield* TaskTest.assertQueued(SendEmail, ({ to }) => to === "ada@example.com")
 *   yield* TaskTest.drain({ scheduled: true })
 *   const [run] = yield* TaskTest.ended(SendEmail)
 *   return run?.exit // Exit.void, one virtual day later
 * }).pipe(Effect.provide(Test))
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, Schema } from "effect"
import * as Backend from "./Backend.js"
import { Broker } from "./Broker.js"
import * as chaos_ from "./internal/testing/chaos.js"
import type { ChaosOptions } from "./internal/testing/chaosOptions.js"
import * as driving from "./internal/testing/driving.js"
import { Recorded, Recording } from "./internal/testing/recording.js"
import * as typedRuns from "./internal/testing/typedRuns.js"
import { type LogLine, Store } from "./Store.js"
import type * as Task from "./Task.js"
import * as TaskConsumer from "./TaskConsumer.js"
import type { BackendError, DuplicateTask, InvalidOption } from "./TaskError.js"
import type { TaskEvent } from "./TaskEvent.js"
import type { TaskEvents } from "./TaskEvents.js"
import type * as TaskGroup from "./TaskGroup.js"
import * as TaskLogger from "./TaskLogger.js"
import * as TaskManager from "./TaskManager.js"

export {
  /**
   * Steers the faults of one process that `chaos` stands in.
   *
   * - `calm`: from now on no faults, and no latency. What a kill has ended stays ended
   * - `resume`: faults again
   * - `kill`: the process dies now, as by `killAt`
   * - `counts`: how often each fault was injected; a call that a partition fails counts for one
   *
   * @since 0.1.0
   * @category services
   */
  Chaos
} from "./internal/testing/chaos.js"
export type {
  /**
   * The faults of one process. All probabilities are from 0 (the default) to 1, all times are those of the `Clock`, so
   * virtual in tests.
   *
   * - `seed`: of the faults. The same seed and the same calls give the same faults
   * - `calm`: whether to begin calm, until `Chaos.resume`. A consumer announces itself when it starts, so with a latency its
   *   Layer needs virtual time to be built, which a test that provides the Layer cannot let pass. Default: false
   * - `latency`: how long each call takes on its way there, and again on its way back: a range, or the most of it. Default:
   *   none
   * - `failClaim`, `failSettle`, `failEnqueue`: a call that claims, settles or enqueues fails, with a transient
   *   `BackendError`, before it took effect. A call that settles and claims can fail by either
   * - `failOther`: so does any other call of broker or store
   * - `loseAnswer`: a call took effect, and its answer is a transient `BackendError`
   * - `duplicateDelivery`: a claim gets a lease that ends long before its consumer believes it does, as after a stop of the
   *   whole machine: another consumer may get the run while the first still performs it
   * - `dropHeartbeat`: an extension of leases goes nowhere, and no answer comes
   * - `dropSignal`: a signal of the broker does not arrive
   * - `partition`: intervals, counted from the building of the layer, in which every call fails and no signal arrives. A
   *   call whose answer falls into one has taken effect
   * - `killAt`: from then on, counted in the same way, no call returns and none has an effect, as after a `kill -9`. What is
   *   closed waits for such calls too, so open a process that is to die in a scope that is never closed
   *
   * Where signals may be missed, the broker's `pollInterval` is at the most 5 seconds.
   *
   * @since 0.1.0
   * @category models
   */
  ChaosOptions,
  /**
   * What chaos does, by the name under which it is counted.
   *
   * @since 0.1.0
   * @category models
   */
  Fault,
  /**
   * A part of a test's time, counted from the moment at which a layer was built.
   *
   * @since 0.1.0
   * @category models
   */
  Interval
} from "./internal/testing/chaosOptions.js"
export type {
  /**
   * How a drain went: how many attempts were made, and how many runs still wait or are performed.
   *
   * @since 0.1.0
   * @category models
   */
  Drained
} from "./internal/testing/driving.js"
export {
  /**
   * A drain came to no end: more runs were performed than its `limit`, or runs wait that nobody performs. `comesBack` names
   * the tasks that were performed most.
   *
   * @since 0.1.0
   * @category errors
   */
  NeverDone
} from "./internal/testing/driving.js"
export {
  /**
   * What happened so far, in order: every event, every line that handlers logged, the stored records of the runs that were
   * queued, how many calls of the backend were made, how often the runs of each task were claimed, and how many runs have
   * not ended.
   *
   * @since 0.1.0
   * @category services
   */
  Recorded
} from "./internal/testing/recording.js"
export type {
  /**
   * A run that has ended: what it was queued as, when it ended, and its typed success or failure.
   *
   * @since 0.1.0
   * @category models
   */
  EndedRun,
  /**
   * A run that was queued: its decoded payload, and its record as it is now. Times are epoch milliseconds.
   *
   * @since 0.1.0
   * @category models
   */
  QueuedRun
} from "./internal/testing/typedRuns.js"

/**
 * What a test expected, and what there was instead.
 *
 * @since 0.1.0
 * @category errors
 */
export class AssertionFailed extends Schema.TaggedError<AssertionFailed>("@effect-tasks/core/TaskTest/AssertionFailed")(
  "AssertionFailed",
  { expected: Schema.String, found: Schema.String }
) {
  override get message(): string {
    return `expected ${this.expected}, found ${this.found}`
  }
}

/**
 * What the kit provides.
 *
 * @since 0.1.0
 * @category models
 */
export type Provided = TaskManager.TaskManager | TaskEvents | Backend.Backend | Recorded

/**
 * How the kit differs from `layer`.
 *
 * - `backend`: another backend than a memory without end, one whose storage is new and empty
 * - `chaos`: the faults between the backend and the application. Calls with a latency are answered in virtual time, so a
 *   test forks what it calls and lets time pass with `advance`
 * - `manager`: the options of the manager
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<E = never> {
  readonly backend?: Layer.Layer<Backend.Backend, E> | undefined
  readonly chaos?: ChaosOptions | undefined
  readonly manager?: TaskManager.Options | undefined
}

/**
 * `layer`, on another backend or with faults.
 *
 * @example
 * ```ts
 * import { TaskTest } from "@effect-tasks/core"
 *
 * const Stormy = TaskTest.layerWith({ chaos: { seed: 7, latency: "20 millis", failEnqueue: 0.2, loseAnswer: 0.1 } })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E = never>(options: Options<E>): Layer.Layer<Provided | chaos_.Chaos, E | InvalidOption> => {
  const build = Effect.map(
    Layer.build(options.backend ?? Backend.layerMemoryWith({ keepEnded: Number.MAX_SAFE_INTEGER })),
    (backend) => {
      const store = Context.get(backend, Store)
      const recording = new Recording(store)
      const watched = Backend.layer(
        Effect.succeed({ broker: recording.watch(Context.get(backend, Broker)), store: recording.watch(store) })
      )
      return TaskManager.layerWith(options.manager ?? {}).pipe(
        Layer.provideMerge(Layer.provide(chaos(options.chaos ?? { seed: 0 }), watched)),
        Layer.provide(TaskLogger.layer(recording.observer)),
        Layer.merge(Layer.succeed(Recorded, recording.service))
      )
    }
  )
  return Layer.unwrapScoped(build)
}

/**
 * A memory backend, a manager, and a record of what happens. It takes the test's `Clock`, so delays, retries and timeouts
 * pass with `advance` and `drain`, or with `TestClock.adjust`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Provided> = Layer.orDie(layerWith({}))

/**
 * A consumer for tests: `TaskConsumer.layer` without a grace, as virtual time stands still when a test ends.
 *
 * @since 0.1.0
 * @category layers
 */
export const consumer = <Tasks extends Task.Any>(
  group: TaskGroup.TaskGroup<Tasks>,
  options: TaskConsumer.Options = {}
): Layer.Layer<
  TaskConsumer.TaskConsumer,
  DuplicateTask | InvalidOption | BackendError,
  TaskGroup.Handler<Tasks> | TaskEvents | Backend.Backend
> => TaskConsumer.layer(group, { grace: 0, ...options })

/**
 * Puts faults between one process and its backend, whichever it is: the Layer needs a backend and provides it, disturbed.
 * Every operation of broker and store passes through it. Build it once for each process that the test simulates.
 *
 * @example
 * ```ts
 * import { Backend, TaskManager, TaskTest } from "@effect-tasks/core"
 * import { Layer } from "effect"
 *
 * const Process = TaskManager.layer.pipe(
 *   Layer.provideMerge(TaskTest.chaos({ seed: "a", dropHeartbeat: 0.5, partition: [{ from: "1 minute", to: "2 minutes" }] })),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category chaos
 */
export const chaos = (
  options: ChaosOptions
): Layer.Layer<Backend.Backend | chaos_.Chaos, InvalidOption, Backend.Backend> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const disturbed = yield* chaos_.make({ broker: yield* Broker, store: yield* Store }, options)
      return Context.make(Broker, disturbed.broker).pipe(
        Context.add(Store, disturbed.store),
        Context.add(chaos_.Chaos, disturbed.chaos)
      )
    })
  )

/**
 * Every event so far.
 *
 * @since 0.1.0
 * @category accessors
 */
export const events: Effect.Effect<ReadonlyArray<TaskEvent>, never, Recorded> = Effect.flatMap(
  Recorded,
  ({ events }) => events
)

/**
 * Every line that handlers logged so far.
 *
 * @since 0.1.0
 * @category accessors
 */
export const lines: Effect.Effect<ReadonlyArray<LogLine>, never, Recorded> = Effect.flatMap(
  Recorded,
  ({ lines }) => lines
)

/**
 * All runs of a task that were queued so far, by the test and by handlers, in order. Those that were performed in place
 * (`execute`) are not among them.
 *
 * @since 0.1.0
 * @category accessors
 */
export const queued = <T extends Task.Any>(
  task: T
): Effect.Effect<ReadonlyArray<typedRuns.QueuedRun<T>>, never, Recorded> =>
  Effect.flatMap(Recorded, (recorded) => typedRuns.queued(recorded, task))

/**
 * Those of the `queued` runs that have ended, with the typed success or failure of each.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ended = <T extends Task.Any>(
  task: T
): Effect.Effect<ReadonlyArray<typedRuns.EndedRun<T>>, never, Recorded> =>
  Effect.flatMap(Recorded, (recorded) => typedRuns.ended(recorded, task))

/**
 * The queued runs of a task whose payload is as the predicate says; fails when there is none.
 *
 * @since 0.1.0
 * @category assertions
 */
export const assertQueued = <T extends Task.Any>(
  task: T,
  predicate: (payload: Schema.Schema.Type<T["payloadSchema"]>, run: typedRuns.QueuedRun<T>) => boolean = () => true
): Effect.Effect<ReadonlyArray<typedRuns.QueuedRun<T>>, AssertionFailed, Recorded> =>
  Effect.flatMap(queued(task), (runs) => {
    const fitting = runs.filter((run) => predicate(run.payload, run))
    return fitting.length > 0
      ? Effect.succeed(fitting)
      : new AssertionFailed({ expected: `a queued run of ${task.name} that fits`, found: shown(runs) })
  })

/**
 * Fails when a queued run of a task has a payload as the predicate says.
 *
 * @since 0.1.0
 * @category assertions
 */
export const assertNotQueued = <T extends Task.Any>(
  task: T,
  predicate: (payload: Schema.Schema.Type<T["payloadSchema"]>, run: typedRuns.QueuedRun<T>) => boolean = () => true
): Effect.Effect<void, AssertionFailed, Recorded> =>
  Effect.flatMap(queued(task), (runs) => {
    const fitting = runs.filter((run) => predicate(run.payload, run))
    return fitting.length === 0
      ? Effect.void
      : new AssertionFailed({ expected: `no such queued run of ${task.name}`, found: shown(fitting) })
  })

/** At the most so many runs stand in a message. */
const mostShown = 10

const shown = (runs: ReadonlyArray<typedRuns.QueuedRun<Task.Any>>): string => {
  const one = ({ dueAt, payload, state }: typedRuns.QueuedRun<Task.Any>) =>
    `  ${state}, due at ${dueAt}: ${JSON.stringify(payload) ?? "no payload"}`
  const more = runs.length > mostShown ? [`  and ${runs.length - mostShown} more`] : []
  return runs.length === 0 ? "none" : `${runs.length}:\n${[...runs.slice(0, mostShown).map(one), ...more].join("\n")}`
}

/**
 * Performs everything that is due now and all that follows from it: children, retries without a delay, runs that handlers
 * queue. No virtual time passes; a handler that waits for some is left waiting, and the answer counts its run as `running`.
 * The test needs a consumer.
 *
 * With `scheduled` virtual time passes, from one moment at which something happens to the next, until no run is left.
 *
 * After `limit` attempts (default 10,000), or when what is left is never performed, it fails with `NeverDone`.
 *
 * @since 0.1.0
 * @category time
 */
export const drain: (options?: {
  readonly scheduled?: boolean | undefined
  readonly limit?: number | undefined
}) => Effect.Effect<driving.Drained, driving.NeverDone, Recorded> = (options = {}) =>
  Effect.flatMap(Recorded, (recorded) => driving.drain(recorded, options))

/**
 * Lets virtual time pass, so that everything which becomes due meanwhile happens at its own time. Unlike `TestClock.adjust`
 * it lets the backend answer in between, and it is quick: a year of daily runs takes a second.
 *
 * @since 0.1.0
 * @category time
 */
export const advance = (duration: Duration.DurationInput): Effect.Effect<void, never, Recorded> =>
  Effect.flatMap(Recorded, (recorded) => driving.advance(recorded, duration))

/**
 * The observers of an application's runs: each sees every lifecycle event, and every line that a handler logs.
 *
 * An observer has a fiber and a buffer of its own, so one that fails or is slow never affects a run or another observer;
 * what it has not seen yet is handed to it before the Layer closes.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, LogLevel, type Scope } from "effect"
import * as checking from "./internal/checking.js"
import type { LogLine } from "./Store.js"
import type { InvalidOption } from "./TaskError.js"
import type { TaskEvent } from "./TaskEvent.js"
import { isFinal } from "./TaskState.js"

/**
 * An observer.
 *
 * - `name`: for messages about it
 * - `minLevel`: lines below this level are not shown to it. Default: all that Effect's minimum log level lets through
 * - `lifecycle`: whether it is shown events. Default: true
 * - `onEvent`, `onLine`: what it does; a line comes with the name of the task. A failure is logged, and the observer goes on
 *
 * @since 0.1.0
 * @category models
 */
export interface Observer {
  readonly name: string
  readonly minLevel?: LogLevel.LogLevel | undefined
  readonly lifecycle?: boolean | undefined
  readonly onEvent?: ((event: TaskEvent) => Effect.Effect<void, unknown>) | undefined
  readonly onLine?: ((line: LogLine, task: string) => Effect.Effect<void, unknown>) | undefined
}

/**
 * The observers in force. None by default.
 *
 * @since 0.1.0
 * @category services
 */
export class TaskLogger extends Context.Reference<TaskLogger>()("@effect-tasks/core/TaskLogger", {
  defaultValue: (): ReadonlyArray<Observer> => []
}) {}

/**
 * Adds observers to those of the Layers below.
 *
 * @example
 * ```ts
 * import { Backend, TaskLogger, TaskManager } from "@effect-tasks/core"
 * import { Console, Layer } from "effect"
 *
 * const Main = TaskManager.layer.pipe(
 *   Layer.provide(TaskLogger.layer({ name: "stdout", onEvent: (event) => Console.log(event.state, event.run.id) })),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (...observers: ReadonlyArray<Observer>): Layer.Layer<never> =>
  Layer.effectContext(
    Effect.map(TaskLogger, (known) => Context.unsafeMake(new Map([[TaskLogger.key, [...known, ...observers]]])))
  )

/**
 * The same, for an observer that has something to open and to close. It is closed after what is above it, so it has been shown
 * everything by then.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerScoped = <E, R>(
  observer: Effect.Effect<Observer, E, R>
): Layer.Layer<never, E, Exclude<R, Scope.Scope>> =>
  Layer.unwrapScoped(Effect.map(observer, (observer) => layer(observer)))

/**
 * What an event is in a log: its level (failures are warnings, other ends at info, the rest at debug level), the attempt that
 * it is about, how long that took, and why the run has ended, where there is a word on it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Summary {
  readonly level: LogLevel.LogLevel
  readonly attempt: number
  readonly millis: number | null
  readonly reason: string | null
}

/**
 * What an event is in a log.
 *
 * @since 0.1.0
 * @category accessors
 */
export const summarize = ({ at, run, state }: TaskEvent): Summary => ({
  level: state === "failure" ? LogLevel.Warning : isFinal(state) ? LogLevel.Info : LogLevel.Debug,
  attempt: isFinal(state) ? (run.attempts.at(-1)?.number ?? 0) : run.attempt + 1,
  millis: isFinal(state) && run.startedAt !== null ? at - run.startedAt : null,
  reason: isFinal(state) ? reasonOf(run) : null
})

const reasonOf = ({ outcome }: TaskEvent["run"]): string | null => {
  switch (outcome?._tag) {
    case "Failure":
    case "Defect":
      return outcome.cause
    case "Timeout":
      return `it took longer than ${outcome.timeoutMillis} ms`
    case "Aborted":
    case "Cancelled":
    case "Interrupted":
      return outcome.reason
    case "PayloadInvalid":
    case "ResultInvalid":
      return outcome.issue
    default:
      return null
  }
}

/**
 * An observer that writes one line per event to the application's own logger: failures as warnings, other ends at info, the
 * rest at debug level.
 *
 * @since 0.1.0
 * @category observers
 */
export const console: Observer = {
  name: "console",
  onEvent: (event) => {
    const { attempt, level, millis } = summarize(event)
    return Effect.annotateLogs(Effect.logWithLevel(level, `${event.run.task} ${event.state}`), {
      run: event.run.id,
      attempt,
      ...(millis === null ? {} : { millis })
    })
  }
}

/**
 * An observer that keeps what it is shown, for tests.
 *
 * - `events`, `lines`: what it has kept so far, in order
 * - `clear`: forgets it
 *
 * @since 0.1.0
 * @category models
 */
export interface Memory extends Observer {
  readonly events: Effect.Effect<ReadonlyArray<TaskEvent>>
  readonly lines: Effect.Effect<ReadonlyArray<LogLine>>
  readonly clear: Effect.Effect<void>
}

/**
 * What an observer in memory keeps.
 *
 * - `capacity`: how many events, and how many lines: of more the newest. Default: 10,000
 * - `minLevel`, `lifecycle`: as those of `Observer`
 *
 * @since 0.1.0
 * @category models
 */
export interface MemoryOptions extends Pick<Observer, "minLevel" | "lifecycle"> {
  readonly capacity?: number | undefined
}

/**
 * Makes an observer in memory.
 *
 * @example
 * ```ts
 * import { Backend, TaskLogger, TaskManager } from "@effect-tasks/core"
 * import { Effect, Layer } from "effect"
 *
 * const test = Effect.gen(function* () {
 *   const memory = yield* TaskLogger.memory({ capacity: 100 })
 *   const Runtime = TaskManager.layer.pipe(
 *     Layer.provide(TaskLogger.layer(memory)),
 *     Layer.provide(Backend.layerMemory)
 *   )
 *   // what is shown last comes before the Layer is closed
 *   yield* Effect.scoped(Layer.build(Runtime))
 *   return yield* memory.events
 * })
 * ```
 *
 * @since 0.1.0
 * @category observers
 */
export const memory = ({
  capacity = 10_000,
  lifecycle,
  minLevel
}: MemoryOptions = {}): Effect.Effect<Memory, InvalidOption> =>
  Effect.map(checking.count("capacity", capacity, 1), () => {
    const events = new Newest<TaskEvent>(capacity)
    const lines = new Newest<LogLine>(capacity)
    return {
      name: "memory",
      minLevel,
      lifecycle,
      onEvent: (event) => Effect.sync(() => events.add(event)),
      onLine: (line) => Effect.sync(() => lines.add(line)),
      events: Effect.sync(() => events.all),
      lines: Effect.sync(() => lines.all),
      clear: Effect.sync(() => {
        events.clear()
        lines.clear()
      })
    }
  })

/** The newest of what was added; now and then what is too old is let go. */
class Newest<A> {
  private items: Array<A> = []
  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get all(): ReadonlyArray<A> {
    return this.items.slice(-this.capacity)
  }

  add(item: A): void {
    this.items.push(item)
    if (this.items.length >= 2 * this.capacity) {
      this.items = this.items.slice(-this.capacity)
    }
  }

  clear(): void {
    this.items = []
  }
}

import { Context, Effect, LogLevel, Mailbox, type Scope } from "effect"
import type { LogLine } from "../Store.js"
import { TaskEvent } from "../TaskEvent.js"
import type { Observer } from "../TaskLogger.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { path, type TaskState } from "../TaskState.js"
import * as codec from "./codec.js"
import type { RunId } from "./run.js"

/** A run in its new state, and the state before; `null` when the run has just been made. */
export interface Transition {
  readonly run: EncodedRun
  readonly from: TaskState | null
  readonly at: number
}

/** Which events a subscriber wants; all filters must hold. */
export interface Filter {
  readonly states?: ReadonlyArray<TaskState> | undefined
  readonly runId?: RunId | undefined
  readonly task?: string | undefined
}

interface Subscriber {
  readonly filter: Filter
  readonly offer: (event: TaskEvent) => void
}

const wants = (filter: Filter, run: EncodedRun, state: TaskState): boolean =>
  (filter.states === undefined || filter.states.includes(state)) &&
  (filter.runId === undefined || filter.runId === run.id) &&
  (filter.task === undefined || filter.task === run.task)

/**
 * The way of events and log lines from the runtime to those who listen in this process.
 *
 * Publishing is synchronous and never waits. Between `hold` and `release` the events of a run are kept back: while a
 * producer enqueues, a consumer may already perform the run, and its events must come after the producer's.
 */
export class Bus {
  private readonly subscribers = new Set<Subscriber>()
  private readonly lineSinks = new Set<(line: LogLine) => void>()
  private readonly held = new Map<RunId, Array<Transition>>()

  /** False while nobody listens: then no copy of a run needs to be made. */
  get hasListeners(): boolean {
    return this.subscribers.size > 0
  }

  hold(ids: ReadonlyArray<RunId>): void {
    for (const id of ids) {
      this.held.set(id, [])
    }
  }

  /** Publishes `first`, then what was kept back for these runs. */
  release(ids: ReadonlyArray<RunId>, first: ReadonlyArray<Transition>): void {
    first.forEach((transition) => this.deliver(transition))
    for (const id of ids) {
      const kept = this.held.get(id) ?? []
      this.held.delete(id)
      kept.forEach((transition) => this.deliver(transition))
    }
  }

  publish(transition: Transition): void {
    const kept = this.held.get(transition.run.id)
    if (kept === undefined) {
      this.deliver(transition)
    } else {
      kept.push(transition)
    }
  }

  publishLine(line: LogLine): void {
    this.lineSinks.forEach((sink) => sink(line))
  }

  private deliver({ at, from, run }: Transition): void {
    if (this.subscribers.size === 0) {
      return
    }
    const steps = from === null ? [run.state] : pathOrThrow(from, run.state)
    let previous = from
    for (const state of steps) {
      let event: TaskEvent | undefined
      for (const subscriber of this.subscribers) {
        if (wants(subscriber.filter, run, state)) {
          event ??= new TaskEvent(
            { state, previous, at, run: codec.toTaskRun(state === run.state ? run : { ...run, state }) },
            { disableValidation: true }
          )
          subscriber.offer(event)
        }
      }
      previous = state
    }
  }

  /** The events from now on, in a buffer of this capacity; what does not fit is dropped, and a warning says how much. */
  subscribe(filter: Filter, capacity: number): Effect.Effect<Mailbox.ReadonlyMailbox<TaskEvent>, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const mailbox = yield* Mailbox.make<TaskEvent>({ capacity, strategy: "dropping" })
      let dropped = 0
      const subscriber: Subscriber = {
        filter,
        offer: (event) => {
          dropped += mailbox.unsafeOffer(event) ? 0 : 1
        }
      }
      this.subscribers.add(subscriber)
      yield* Effect.addFinalizer(() => {
        this.subscribers.delete(subscriber)
        return Effect.zipRight(
          mailbox.end,
          dropped === 0 ? Effect.void : Effect.logWarning(`a subscriber was too slow and missed ${dropped} task events`)
        )
      })
      return mailbox
    })
  }

  /** Runs an observer in a fiber of its own until this scope closes, and then to the end of what it was given. */
  observe(observer: Observer): Effect.Effect<void, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const mailbox = yield* Mailbox.make<TaskEvent | LogLine>({ capacity: observerCapacity, strategy: "dropping" })
      const subscriber: Subscriber = { filter: {}, offer: (event) => void mailbox.unsafeOffer(event) }
      const { minLevel, onEvent, onLine } = observer
      const lineSink = (line: LogLine) => {
        if (minLevel === undefined || LogLevel.greaterThanEqual(levelOf(line), minLevel)) {
          mailbox.unsafeOffer(line)
        }
      }
      const show = (item: TaskEvent | LogLine): Effect.Effect<void> =>
        Effect.suspend(() =>
          item instanceof TaskEvent ? (onEvent?.(item) ?? Effect.void) : (onLine?.(item) ?? Effect.void)
        ).pipe(Effect.catchAllCause((cause) => Effect.logWarning(`task observer ${observer.name} failed`, cause)))
      const work = Effect.forever(Effect.flatMap(mailbox.take, show))
      const fiber = yield* Effect.forkDaemon(Effect.ignore(work))
      if (onEvent !== undefined) {
        this.subscribers.add(subscriber)
      }
      if (onLine !== undefined) {
        this.lineSinks.add(lineSink)
      }
      yield* Effect.addFinalizer(() => {
        this.subscribers.delete(subscriber)
        this.lineSinks.delete(lineSink)
        return Effect.zipRight(mailbox.end, fiber.await)
      })
    })
  }
}

const observerCapacity = 65_536

const levels = new Map<string, LogLevel.LogLevel>(LogLevel.allLevels.map((level) => [level.label, level]))

const levelOf = (line: LogLine): LogLevel.LogLevel => levels.get(line.level) ?? LogLevel.Info

const pathOrThrow = (from: TaskState, to: TaskState): ReadonlyArray<TaskState> => {
  const steps = path(from, to)
  if (steps._tag === "Left") {
    throw steps.left
  }
  return steps.right
}

/** The bus of a runtime: made by `TaskManager.layer`, used by consumers. */
export class TaskEvents extends Context.Tag("@effect-tasks/core/TaskEvents")<TaskEvents, Bus>() {}

import { Context, Effect, LogLevel, type Scope, Stream } from "effect"
import type { LogLine } from "../Store.js"
import { TaskEvent } from "../TaskEvent.js"
import type { Observer } from "../TaskLogger.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal, path, type TaskState } from "../TaskState.js"
import * as codec from "./codec.js"
import { Feed, withoutMarkers } from "./feed.js"
import type { Meter } from "./metrics.js"
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

/** Which log lines a subscriber wants; all filters must hold. */
export interface LineFilter {
  readonly runId?: RunId | undefined
  readonly task?: string | undefined
  readonly minLevel?: LogLevel.LogLevel | undefined
}

type LineSink = (line: LogLine, task: string) => void

/** A line on its way to an observer. */
interface Logged {
  readonly line: LogLine
  readonly task: string
}

interface Subscriber {
  readonly filter: Filter
  readonly offer: (event: TaskEvent) => void
}

/** A subscriber that has a name, which another one can take over. */
interface Named {
  readonly subscriber: Subscriber
  readonly feed: Feed<TaskEvent>
}

const wants = (filter: Filter, run: EncodedRun, state: TaskState): boolean =>
  (filter.states === undefined || filter.states.includes(state)) &&
  (filter.runId === undefined || filter.runId === run.id) &&
  (filter.task === undefined || filter.task === run.task)

const wantsLine = ({ minLevel, runId, task }: LineFilter, line: LogLine, taskOfLine: string): boolean =>
  (runId === undefined || runId === line.runId) &&
  (task === undefined || task === taskOfLine) &&
  (minLevel === undefined || LogLevel.greaterThanEqual(levelOf(line), minLevel))

/** So many runs that were claimed more than once are known after their end. */
const mostEnded = 10_000

/**
 * The way of events and log lines from the runtime to those who listen in this process.
 *
 * Publishing is synchronous and never waits. Between `hold` and `release` the events of a run are kept back: while a
 * producer enqueues, a consumer may already perform the run, and its events must come after the producer's.
 *
 * The answer to the end of a claim may come after others have been told that the run went on. So the first who tells of that
 * tells of the end too, as far as it is known, and the late one is not told any more (`begin`, `end` and `move`).
 */
export class Bus {
  private readonly subscribers = new Set<Subscriber>()
  private readonly named = new Map<string, Named>()
  private readonly lineSinks = new Set<LineSink>()
  private readonly progressSinks = new Set<(run: EncodedRun, progress: string) => void>()
  private readonly held = new Map<RunId, Array<Transition>>()
  /** The claims whose beginning was told, and whether their end was too, by somebody else. */
  private readonly claims = new Map<RunId, { readonly fence: number; readonly isTold: boolean }>()
  /** Runs whose end was told and that were claimed before: the answer to an older claim may still be under way. */
  private readonly ended = new Set<RunId>()
  private readonly meter: Meter

  constructor(meter: Meter) {
    this.meter = meter
  }

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

  /** Tells that a run is performed under a new claim; it was in the state `previous` before. */
  begin(run: EncodedRun, previous: "queued" | "scheduled" | "running", at: number): void {
    if (this.ended.has(run.id) || (this.claims.get(run.id)?.fence ?? 0) > run.fence) {
      return
    }
    const from = previous === "running" ? "queued" : previous
    this.tellUntold(run, from, at, previous === "running")
    this.claims.set(run.id, { fence: run.fence, isTold: false })
    this.publish({ run, from, at })
  }

  /** Tells what a run that waited has become by somebody's request. */
  move(run: EncodedRun, previous: "queued" | "scheduled", at: number): void {
    const claim = this.claims.get(run.id)
    this.tellUntold(run, previous, at, false)
    if (claim !== undefined) {
      this.claims.set(run.id, { ...claim, isTold: true })
    }
    this.publish({ run, from: previous, at })
    this.noteEnd(run)
  }

  /** Tells how a claim has ended, unless that is told. */
  end(run: EncodedRun, at: number): void {
    const claim = this.claims.get(run.id)
    if (claim === undefined || (claim.fence === run.fence && !claim.isTold)) {
      this.publish({ run, from: "running", at })
      this.noteEnd(run)
    }
    this.forget(run)
  }

  private noteEnd({ fence, id, state }: EncodedRun): void {
    if (fence > 1 && isFinal(state) && this.hasListeners) {
      this.ended.add(id)
      if (this.ended.size > mostEnded) {
        this.ended.clear()
      }
    }
  }

  /** Nothing more is to be told of a claim. */
  forget({ fence, id }: EncodedRun): void {
    if (this.claims.get(id)?.fence === fence) {
      this.claims.delete(id)
    }
  }

  private tellUntold(run: EncodedRun, state: "queued" | "scheduled", at: number, isTakenOver: boolean): void {
    if (isTakenOver || this.claims.get(run.id)?.isTold === false) {
      this.publish({ run: { ...run, state }, from: "running", at })
    }
  }

  publishLine(line: LogLine, task: string): void {
    this.lineSinks.forEach((sink) => sink(line, task))
  }

  publishProgress(run: EncodedRun, progress: string): void {
    this.progressSinks.forEach((sink) => sink(run, progress))
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

  /**
   * The events from now on, in a buffer of this capacity, until the scope closes. With a name the place of the subscriber of
   * that name is taken: from then on events come here, and its feed ends with what it holds.
   */
  subscribe(filter: Filter, capacity: number, name?: string): Effect.Effect<Feed<TaskEvent>, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const feed = new Feed<TaskEvent>(capacity, () => this.meter.droppedOne("stream"))
      const subscriber: Subscriber = { filter, offer: (event) => feed.offer(event) }
      yield* name === undefined ? listen(this.subscribers, subscriber) : this.takeName(name, { subscriber, feed })
      yield* feed.warn("a stream of task events")
      return feed
    })
  }

  private takeName(name: string, mine: Named): Effect.Effect<void, never, Scope.Scope> {
    const begin = Effect.sync(() => {
      this.unsubscribe(name)
      this.named.set(name, mine)
      this.subscribers.add(mine.subscriber)
    })
    const end = Effect.sync(() => (this.named.get(name) === mine ? this.unsubscribe(name) : false))
    return Effect.acquireRelease(begin, () => end)
  }

  /** Ends the subscription of that name, and says whether there was one; what its feed holds can be taken. */
  unsubscribe(name: string): boolean {
    const before = this.named.get(name)
    if (before === undefined) {
      return false
    }
    this.named.delete(name)
    this.subscribers.delete(before.subscriber)
    before.feed.close()
    return true
  }

  /** The log lines from now on, in a buffer of this capacity, until the scope closes. */
  subscribeLines(filter: LineFilter, capacity: number): Effect.Effect<Feed<LogLine>, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const feed = new Feed<LogLine>(capacity, () => this.meter.droppedOne("stream"))
      yield* this.onLine(filter, (line) => feed.offer(line))
      yield* feed.warn("a stream of log lines")
      return feed
    })
  }

  /** Calls back for each log line, until the scope closes. */
  onLine(filter: LineFilter, sink: LineSink): Effect.Effect<void, never, Scope.Scope> {
    return listen(this.lineSinks, (line, task) => {
      if (wantsLine(filter, line, task)) {
        sink(line, task)
      }
    })
  }

  /** Calls back for each report of progress of a run, with the fence of its claim, until the scope closes. */
  onProgress(id: RunId, sink: (progress: string, fence: number) => void): Effect.Effect<void, never, Scope.Scope> {
    return listen(this.progressSinks, (run, progress) => {
      if (run.id === id) {
        sink(progress, run.fence)
      }
    })
  }

  /** Runs an observer in a fiber of its own until this scope closes, and then to the end of what it was given. */
  observe(observer: Observer): Effect.Effect<void, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const { lifecycle = true, minLevel, name, onEvent, onLine } = observer
      const feed = new Feed<TaskEvent | Logged>(observerCapacity, () => this.meter.droppedOne("observer"))
      yield* feed.warn(`the task observer ${name}`)
      const show = (item: TaskEvent | Logged): Effect.Effect<void> =>
        Effect.suspend(() =>
          item instanceof TaskEvent ? (onEvent?.(item) ?? Effect.void) : (onLine?.(item.line, item.task) ?? Effect.void)
        ).pipe(Effect.catchAllCause((cause) => Effect.logWarning(`task observer ${name} failed`, cause)))
      const fiber = yield* Effect.forkDaemon(Stream.runForEach(withoutMarkers(feed.stream), show))
      yield* Effect.addFinalizer(() =>
        Effect.zipRight(
          Effect.sync(() => feed.close()),
          fiber.await
        )
      )
      if (onEvent !== undefined && lifecycle) {
        yield* listen(this.subscribers, { filter: {}, offer: (event) => feed.offer(event) })
      }
      if (onLine !== undefined) {
        yield* this.onLine({ minLevel }, (line, task) => feed.offer({ line, task }))
      }
    })
  }
}

/** A member of a set for as long as the scope is open. */
const listen = <A>(listeners: Set<A>, listener: A): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => void listeners.add(listener)),
    () => Effect.sync(() => listeners.delete(listener))
  )

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

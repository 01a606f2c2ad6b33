/**
 * Listening to what happens to runs in this process: as a stream, or with handlers.
 *
 * A listener never slows a run down and never breaks it: each has a bounded buffer of its own, and a handler that fails is
 * logged and goes on with the next event.
 *
 * @since 0.1.0
 */
import { Effect, type LogLevel, Predicate, type Scope, Stream } from "effect"
import { TaskEvents } from "./internal/bus.js"
import { type Lagged, withoutMarkers } from "./internal/feed.js"
import type { RunId } from "./internal/run.js"
import type { LogLine } from "./Store.js"
import type { TaskEvent } from "./TaskEvent.js"
import type { TaskState } from "./TaskState.js"

export {
  /**
   * The events of this runtime; `TaskManager.layer` provides it.
   *
   * @since 0.1.0
   * @category services
   */
  TaskEvents
} from "./internal/bus.js"

export {
  /**
   * Stands where a listener that was too slow has missed something, and says how much.
   *
   * @since 0.1.0
   * @category models
   */
  Lagged
} from "./internal/feed.js"

/**
 * Which events, and how many wait for a slow listener (default 4,096) before events are dropped for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly states?: ReadonlyArray<TaskState> | undefined
  readonly task?: string | undefined
  readonly runId?: RunId | undefined
  readonly bufferSize?: number | undefined
}

/**
 * Which log lines: of one run, of one task, from a level on; and how many wait for a slow listener (default 4,096) before
 * lines are dropped for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LineOptions {
  readonly runId?: RunId | undefined
  readonly task?: string | undefined
  readonly minLevel?: LogLevel.LogLevel | undefined
  readonly bufferSize?: number | undefined
}

/**
 * The events of this process from now on. What a slow listener misses is left out; a warning in the application's log tells
 * when it begins, and at the end how much it was.
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const stream = (options: Options = {}): Stream.Stream<TaskEvent, never, TaskEvents> =>
  withoutMarkers(feed(options))

/**
 * `stream`, with a marker where events are missing: for those who must then look for themselves.
 *
 * @example
 * ```ts
 * import { TaskEvents } from "@effect-tasks/core"
 * import { Effect, Stream } from "effect"
 *
 * const failures = TaskEvents.feed({ states: ["failure"], bufferSize: 100 }).pipe(
 *   Stream.runForEach((event) =>
 *     event instanceof TaskEvents.Lagged
 *       ? Effect.logWarning(`${event.missed} failures were not seen`)
 *       : Effect.logWarning(`${event.run.task} failed`)
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const feed = (options: Options = {}): Stream.Stream<TaskEvent | Lagged, never, TaskEvents> =>
  Stream.unwrapScoped(
    Effect.flatMap(TaskEvents, (bus) =>
      Effect.map(bus.subscribe(options, options.bufferSize ?? 4_096), (feed) => feed.stream)
    )
  )

/**
 * What handlers of this process log from now on. What a slow listener misses is left out, as with `stream`. The log of one
 * run from its first line on, whoever performs it, is `TaskRun.Handle.logs`.
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const lines = (options: LineOptions = {}): Stream.Stream<LogLine, never, TaskEvents> =>
  withoutMarkers(lineFeed(options))

/**
 * `lines`, with a marker where lines are missing.
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const lineFeed = (options: LineOptions = {}): Stream.Stream<LogLine | Lagged, never, TaskEvents> =>
  Stream.unwrapScoped(
    Effect.flatMap(TaskEvents, (bus) =>
      Effect.map(bus.subscribeLines(options, options.bufferSize ?? 4_096), (feed) => feed.stream)
    )
  )

/**
 * What a handler of events may need from outside: the services of the Effects that it gives.
 *
 * @since 0.1.0
 * @category models
 */
export type HandlerServices<A> = A extends Effect.Effect<infer _A, infer _E, infer R> ? R : never

/**
 * - `tag`: a name for the handler. Of one state and tag there is one handler: the next one takes its place. Default: none;
 *   handlers without a tag stand beside each other
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlerOptions {
  readonly tag?: string | undefined
}

/**
 * Calls a handler for each event of a state, or of every state (`"all"`), until the scope closes. When it returns, the
 * handler is registered. Each handler gets one event after the other, in their order.
 *
 * The handler is a plain function, whose promise is waited for if it returns one, or gives an Effect. One that fails, throws,
 * rejects or never ends affects neither runs nor other handlers: a failure is logged, and the next event comes.
 *
 * A handler with a `tag` takes the place of the one with that state and tag: events that happened before still go to the
 * earlier one, those after to the new one only. What was replaced stays replaced: when the new one's scope closes, there is
 * none. The closing of the earlier one's scope does nothing to the new one.
 *
 * @example
 * ```ts
 * import { TaskEvents } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   yield* TaskEvents.on("failure", (event) => Effect.logWarning(`${event.run.task} failed`))
 *   const seen = new Set<string>()
 *   yield* TaskEvents.on("success", ({ run }) => seen.add(run.id), { tag: "seen" })
 * })
 * ```
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const on = <A>(
  state: TaskState | "all",
  handler: (event: TaskEvent) => A,
  options: HandlerOptions = {}
): Effect.Effect<void, never, TaskEvents | Scope.Scope | HandlerServices<A>> =>
  Effect.gen(function* () {
    const bus = yield* TaskEvents
    const filter = state === "all" ? {} : { states: [state] }
    const name = options.tag === undefined ? undefined : handlerName(state, options.tag)
    const feed = yield* bus.subscribe(filter, 4_096, name)
    yield* Effect.forkScoped(
      Stream.runForEach(withoutMarkers(feed.stream), (event) =>
        Effect.catchAllCause(call(handler, event), (cause) =>
          Effect.logWarning(`a handler of ${event.state} events failed`, cause)
        )
      )
    )
  })

/**
 * Takes away the handler of this state and tag, and says whether there was one. Events that happened before still go to it.
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const off = (state: TaskState | "all", tag: string): Effect.Effect<boolean, never, TaskEvents> =>
  Effect.map(TaskEvents, (bus) => bus.unsubscribe(handlerName(state, tag)))

const handlerName = (state: TaskState | "all", tag: string): string => `${state}.${tag}`

const call = <A>(
  handler: (event: TaskEvent) => A,
  event: TaskEvent
): Effect.Effect<unknown, unknown, HandlerServices<A>> =>
  Effect.suspend(() => {
    const given: unknown = handler(event)
    if (Effect.isEffect(given)) {
      return given as Effect.Effect<unknown, unknown, HandlerServices<A>>
    }
    return Predicate.isPromiseLike(given) ? Effect.tryPromise(() => given) : Effect.void
  })

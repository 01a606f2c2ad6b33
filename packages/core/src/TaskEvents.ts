/**
 * Listening to what happens to runs in this process: as a stream, or with handlers.
 *
 * A listener never slows a run down and never breaks it: each has a bounded buffer of its own, and a handler that fails is
 * logged and goes on with the next event.
 *
 * @since 0.1.0
 */
import { Effect, Mailbox, type Scope, Stream } from "effect"
import { TaskEvents } from "./internal/bus.js"
import type { RunId } from "./internal/run.js"
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
 * The events from now on.
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const stream = (options: Options = {}): Stream.Stream<TaskEvent, never, TaskEvents> =>
  Stream.unwrapScoped(
    Effect.flatMap(TaskEvents, (bus) =>
      Effect.map(bus.subscribe(options, options.bufferSize ?? 4_096), (mailbox) => Mailbox.toStream(mailbox))
    )
  )

/**
 * Calls a handler for each event of a state, or of every state (`"all"`), until the scope closes. When it returns, the
 * handler is registered.
 *
 * @example
 * ```ts
 * import { TaskEvents } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   yield* TaskEvents.on("failure", (event) => Effect.logWarning(`${event.run.task} failed`))
 * })
 * ```
 *
 * @since 0.1.0
 * @category subscriptions
 */
export const on = <E, R>(
  state: TaskState | "all",
  handler: (event: TaskEvent) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, never, TaskEvents | Scope.Scope | R> =>
  Effect.gen(function* () {
    const bus = yield* TaskEvents
    const mailbox = yield* bus.subscribe(state === "all" ? {} : { states: [state] }, 4_096)
    const handle = (event: TaskEvent) =>
      Effect.suspend(() => handler(event)).pipe(
        Effect.catchAllCause((cause) => Effect.logWarning(`a handler of ${event.state} events failed`, cause))
      )
    yield* Effect.forkScoped(Effect.ignore(Effect.forever(Effect.flatMap(mailbox.take, handle))))
  })

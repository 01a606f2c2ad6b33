/**
 * What a request leaves to be done after its response has been sent: runs of tasks, and effects.
 *
 * For the HTTP servers of `@effect/platform`. `middleware` gives each request a `BackgroundTasks`; `layer` performs what the
 * requests leave, and waits for it when the server has shut down.
 *
 * It is begun when the whole body has been sent. It is left out when the handler fails, or answers with a status of 500 or
 * more; any other answer is one that the handler wanted. A client that goes away before the handler has answered interrupts
 * it, so nothing is done; one that goes away later changes nothing.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import { Context, Duration, Effect, Layer, type Schema, type Scope } from "effect"
import * as background from "./internal/background.js"
import type { QueueError, TaskManager } from "./internal/managerTag.js"
import type * as Task from "./Task.js"
import type { RunId } from "./TaskRun.js"

/**
 * How a run is queued (see `Task.QueueOptions`), and when.
 *
 * - `mode`: `afterResponse` makes the run at once, so that its payload is checked and its id known, and queues it when the
 *   response has been sent and the handler has not failed; what a process that dies in between has not queued is lost. `now`
 *   queues it before `add` returns: it is durable then, and performed whatever becomes of the request. Default:
 *   `afterResponse`
 *
 * @since 0.1.0
 * @category models
 */
export interface AddOptions extends background.AddOptions {}

/**
 * What a request can leave to be done.
 *
 * - `add`: a run of a task. It gives the run's id at once. Where an idempotency key leads to another run, no run has the id
 * - `run`: an effect, with the services that it has now and a `Scope` of its own. A failure is logged, and affects nothing else
 *
 * What a request leaves is done one after the other, in the order in which it came.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServerResponse } from "@effect/platform"
 * import { BackgroundTasks, Task } from "@effect-tasks/core"
 * import { Effect, Schema } from "effect"
 *
 * const Welcome = Task.make("Welcome", { payload: { to: Schema.String } })
 *
 * const app = HttpRouter.empty.pipe(
 *   HttpRouter.post(
 *     "/signup",
 *     Effect.gen(function*() {
 *       const tasks = yield* BackgroundTasks.BackgroundTasks
 *       const id = yield* tasks.add(Welcome, { to: "ada@example.com" })
 *       yield* tasks.run(Effect.log("signed up"))
 *       return yield* HttpServerResponse.json({ id })
 *     })
 *   ),
 *   BackgroundTasks.middleware
 * )
 * ```
 *
 * @since 0.1.0
 * @category services
 */
export class BackgroundTasks extends Context.Tag("@effect-tasks/core/BackgroundTasks")<
  BackgroundTasks,
  {
    readonly add: <T extends Task.Any>(
      task: T,
      payload: Schema.Schema.Type<T["payloadSchema"]>,
      options?: AddOptions
    ) => Effect.Effect<RunId, QueueError>
    readonly run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<void, never, Exclude<R, Scope.Scope>>
  }
>() {}

/**
 * Performs what requests leave to be done; `layer` provides it.
 *
 * @since 0.1.0
 * @category services
 */
export class Runner extends Context.Tag("@effect-tasks/core/BackgroundTasks/Runner")<Runner, background.Runner>() {}

/**
 * - `grace`: how long the end of the Layer waits for what is under way, before it is interrupted. Default: 30 seconds
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * Performs what requests leave to be done. The server depends on it by its middleware, so it ends after the server.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Runner, never, TaskManager> =>
  Layer.scoped(Runner, background.makeRunner(Duration.decode(options.grace ?? "30 seconds")))

const provide = <E, R>(
  runner: background.Runner,
  app: HttpApp.Default<E, R>
): HttpApp.Default<E, Exclude<R, BackgroundTasks> | Scope.Scope> =>
  background.around(runner, (collected) =>
    Effect.provideService(app, BackgroundTasks, {
      add: (task, payload, options = {}) => collected.add(task, payload, options),
      run: collected.run
    })
  )

/**
 * Gives each request of an app or a router its `BackgroundTasks`.
 *
 * @since 0.1.0
 * @category middleware
 */
export const middleware = <E, R>(
  app: HttpApp.Default<E, R>
): HttpApp.Default<E, Exclude<R, BackgroundTasks> | Runner | Scope.Scope> =>
  Effect.flatMap(Runner, (runner) => provide(runner, app))

/**
 * The same for routes of `HttpLayerRouter`: provide its `layer` to them.
 *
 * @since 0.1.0
 * @category middleware
 */
export const routerMiddleware = HttpLayerRouter.middleware<{ provides: BackgroundTasks }>()(
  Effect.map(Runner, (runner) => (app) => provide(runner, app))
)

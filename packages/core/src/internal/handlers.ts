import { Context, Effect, Layer, type Schema, Scope, Tracer } from "effect"
import type { CurrentRun } from "../CurrentRun.js"
import type { Definition, HandlerEntry } from "./definition.js"
import type { LockError } from "./locks.js"
import type { QueueError } from "./managerTag.js"

/** Documented in `Task`. */
export interface Handler<in out Name extends string> {
  readonly _: unique symbol
  readonly handlerOf: Name
}

/** Documented in `Task`. */
export type HandlerOf<
  Payload extends Schema.Schema.All,
  Success extends Schema.Schema.All,
  Error extends Schema.Schema.All
> = (
  payload: Schema.Schema.Type<Payload>
) => Effect.Effect<Schema.Schema.Type<Success>, Schema.Schema.Type<Error> | QueueError | LockError, unknown>

/** Documented in `Task`. */
export type HandlerServices<H> = H extends (...args: ReadonlyArray<never>) => Effect.Effect<infer _A, infer _E, infer R>
  ? Exclude<R, CurrentRun | Scope.Scope>
  : never

/** The service under which a consumer finds the handler of a task. */
export const tag = <Name extends string>(task: {
  readonly name: Name
  readonly key: string
}): Context.Tag<Handler<Name>, HandlerEntry> => Context.GenericTag<Handler<Name>, HandlerEntry>(task.key)

/** The services that a Layer is built with, but for the Scope and the span of the building: each attempt has its own. */
export const surroundings = <R>(): Effect.Effect<Context.Context<never>, never, R> =>
  Effect.map(Effect.context<R>(), (context) =>
    Context.omit(Scope.Scope, Tracer.ParentSpan)(context as Context.Context<Scope.Scope | Tracer.ParentSpan>)
  )

/** Gives the handler of a task, with the services that the Layer is built with. */
export const layer = <
  Name extends string,
  H extends (payload: never) => Effect.Effect<unknown, unknown, unknown>,
  EX = never,
  RX = never
>(
  definition: Definition & { readonly name: Name },
  build: H | Effect.Effect<H, EX, RX>
): Layer.Layer<Handler<Name>, EX, Exclude<RX, Scope.Scope> | HandlerServices<H>> =>
  Layer.scoped(
    tag(definition),
    Effect.flatMap(surroundings<HandlerServices<H>>(), (context) =>
      Effect.map(Effect.isEffect(build) ? build : Effect.succeed(build), (handler) => ({
        definition,
        handler,
        context
      }))
    )
  )

/** Gives the handlers of several tasks, by name. */
export const layerAll = <
  Tasks extends Definition,
  H extends { readonly [name: string]: (payload: never) => Effect.Effect<unknown, unknown, unknown> },
  EX = never,
  RX = never
>(
  tasks: ReadonlyArray<Tasks>,
  build: H | Effect.Effect<H, EX, RX>
): Layer.Layer<Handler<Tasks["name"]>, EX, Exclude<RX, Scope.Scope> | HandlerServices<H[keyof H]>> =>
  Layer.scopedContext(
    Effect.flatMap(surroundings<HandlerServices<H[keyof H]>>(), (context) =>
      Effect.map(Effect.isEffect(build) ? build : Effect.succeed(build), (handlers) => {
        const entries = tasks.flatMap((definition): ReadonlyArray<[string, HandlerEntry]> => {
          const handler = handlers[definition.name]
          return handler === undefined ? [] : [[definition.key, { definition, handler, context }]]
        })
        return Context.unsafeMake<Handler<Tasks["name"]>>(new Map(entries))
      })
    )
  )

/** Gives the entries of several tasks, made one by one. */
export const layerEntries = <Tasks extends Definition, E, R>(
  tasks: ReadonlyArray<Tasks>,
  build: Effect.Effect<(task: Tasks) => Effect.Effect<HandlerEntry, E>, never, R>
): Layer.Layer<Handler<Tasks["name"]>, E, R> =>
  Layer.effectContext(
    Effect.flatMap(build, (entryOf) =>
      Effect.map(
        Effect.forEach(tasks, (task) => Effect.map(entryOf(task), (entry) => [task.key, entry] as const)),
        (entries) => Context.unsafeMake<Handler<Tasks["name"]>>(new Map(entries))
      )
    )
  )

/** The entries of tasks by name, as the context has them. */
export const entriesOf = <Tasks extends Definition, R>(
  tasks: Iterable<Tasks>
): Effect.Effect<ReadonlyMap<string, HandlerEntry>, never, R> =>
  Effect.contextWith(
    (context: Context.Context<R>) => new Map(Array.from(tasks, (task) => [task.name, context.unsafeMap.get(task.key)]))
  )

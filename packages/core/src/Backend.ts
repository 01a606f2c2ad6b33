/**
 * A broker and a store that belong together and commit together.
 *
 * A backend is a Layer of both services, so that an application chooses it in one line: `Backend.layerMemory` here,
 * `SqliteBackend.layer` in `@effect-tasks/sql`.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, type Scope } from "effect"
import { Broker } from "./Broker.js"
import * as memory from "./internal/memoryBackend.js"
import { Store } from "./Store.js"

/**
 * What a backend provides.
 *
 * @since 0.1.0
 * @category models
 */
export type Backend = Broker | Store

/**
 * Wraps the two services of a backend as a Layer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const layer = <E, R>(
  make: Effect.Effect<{ readonly broker: typeof Broker.Service; readonly store: typeof Store.Service }, E, R>
): Layer.Layer<Backend, E, Exclude<R, Scope.Scope>> =>
  Layer.scopedContext(
    Effect.map(make, ({ broker, store }) => Context.make(Broker, broker).pipe(Context.add(Store, store)))
  )

/**
 * Everything in this process's memory: for tests and for work that may be lost with the process. Of the ended runs the
 * newest `keepEnded` stay (default 10,000).
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: { readonly keepEnded?: number | undefined }): Layer.Layer<Backend> =>
  layer(memory.make({ keepEnded: options.keepEnded ?? 10_000 }))

/**
 * `layerMemoryWith` and its defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Backend> = layerMemoryWith({})

import { Backend, Broker, Store } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Context, Effect, Layer, type Scope } from "effect"

/** The two services that all processes of a world share. */
export interface Services {
  readonly broker: typeof Broker.Broker.Service
  readonly store: typeof Store.Store.Service
}

export const backendNames = ["memory", "sqlite"] as const

export type BackendName = (typeof backendNames)[number]

const layers: { readonly [Name in BackendName]: Layer.Layer<Backend.Backend, unknown> } = {
  memory: Backend.layerMemory,
  sqlite: SqliteBackend.layer({ filename: ":memory:" })
}

export const open = (name: BackendName): Effect.Effect<Services, unknown, Scope.Scope> =>
  Effect.map(Layer.build(layers[name]), (context) => ({
    broker: Context.get(context, Broker.Broker),
    store: Context.get(context, Store.Store)
  }))

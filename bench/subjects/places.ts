import { Backend } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { Effect, Layer } from "effect"
import type * as protocol from "../protocol.js"
import * as files from "./files.js"
import * as postgres from "./postgres.js"

/** Where our runtime keeps its runs: a Layer per queue, each an empty one. */
export interface Place {
  /** Where ended runs are not kept for ever by default, `keepEnded` says how many are. */
  readonly fresh: (keepEnded?: number) => Layer.Layer<Backend.Backend, unknown>
  readonly remove: () => Promise<void>
}

const memory = (): Place => ({
  fresh: (keepEnded) => Backend.layerMemoryWith({ keepEnded }),
  remove: () => Promise.resolve()
})

/** The defaults of the backend: WAL, synchronous NORMAL. */
const sqlite = (): Place => {
  const { fresh, remove } = files.make()
  return {
    fresh: () => Layer.unwrapEffect(Effect.map(Effect.promise(fresh), (filename) => SqliteBackend.layer({ filename }))),
    remove
  }
}

/** The defaults of the backend; each queue begins with an empty schema. */
const pg = (name: string): Place => {
  const schema = `bench_${name}`
  const dropped = Effect.promise(() => postgres.dropSchema(schema))
  const { connections: maxConnections, url } = postgres
  return {
    fresh: () => Layer.unwrapEffect(Effect.as(dropped, PgBackend.layer({ url, maxConnections, schema }))),
    remove: () => postgres.dropSchema(schema)
  }
}

/** The backends of our runtime. Processes that measure at one time have different `name`s, which are identifiers. */
export const places: { readonly [Backend in protocol.Backend]: (name: string) => Place } = { memory, sqlite, pg }

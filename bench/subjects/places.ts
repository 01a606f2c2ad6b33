import { Backend } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Effect, Layer } from "effect"
import type * as protocol from "../protocol.js"
import * as files from "./files.js"

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

/**
 * The backends of our runtime. Processes that measure at one time have different `name`s, which are identifiers.
 *
 * PostgreSQL stands here as soon as `@effect-tasks/sql` has a backend for it: `fresh` drops the schema `bench_${name}` and
 * gives a layer on it with `postgres.url` and `postgres.connections`, `remove` drops it. Nothing else has to be changed.
 */
export const places: { readonly [Backend in protocol.Backend]?: (name: string) => Place } = { memory, sqlite }

/** The PostgreSQL server of the tests, and empty schemas on it. */

import { PgClient } from "@effect/sql-pg"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { Effect, Redacted } from "effect"

export const url = process.env.DATABASE_URL ?? "postgres://postgres@127.0.0.1:5432/test"

/** The runs of many tests have ended long ago by the clock of the server. */
export const keepAll = {
  success: "forever",
  failure: "forever",
  aborted: "forever",
  cancelled: "forever",
  interrupted: "forever",
  rate_limited: "forever",
  rejected: "forever"
} as const

/** Runs statements as the owner of the database, on a connection that lasts no longer. */
export const administer = <A, E>(use: (sql: PgClient.PgClient) => Effect.Effect<A, E>) =>
  Effect.flatMap(PgClient.PgClient, use).pipe(
    Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1, connectTimeout: "5 seconds" }))
  )

const isReachable = await Effect.runPromise(
  administer((sql) => sql`SELECT 1`).pipe(
    Effect.as(true),
    Effect.catchAll((error) =>
      process.env.CI === "true"
        ? Effect.die(error)
        : Effect.as(
            Effect.sync(() => console.warn(`no PostgreSQL at ${url}: its tests are skipped`)),
            false
          )
    )
  )
)

/** Whether the tests that need the server are left out. */
export const isSkipped = !isReachable

let made = 0

/** The name of a schema that nobody else uses; it is dropped at the end of the scope. */
export const freshSchema = Effect.acquireRelease(
  Effect.sync(() => `test_${process.pid}_${Date.now().toString(36)}_${++made}`),
  (schema) => Effect.orDie(administer((sql) => sql.unsafe(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)))
)

const tables = ["queue", "history", "count", "log", "key", "control", "rate", "lock", "consumer", "schedule"]

/** What makes a schema as if it were new. */
const emptied = (schema: string): string => tables.map((table) => `DELETE FROM ${schema}.task_${table}`).join("; ")

const free: Array<string> = []

/** A schema that is up to date and empty. Making one takes a while, so those of earlier tests are emptied and used again. */
export const emptySchema = Effect.acquireRelease(
  Effect.suspend(() => {
    const known = free.pop()
    const schema = known ?? `test_${process.pid}_${Date.now().toString(36)}_${++made}`
    const make: Effect.Effect<unknown, unknown> =
      known === undefined ? PgBackend.migrate({ url, schema }) : administer((sql) => sql.unsafe(emptied(schema)))
    return Effect.as(make, schema)
  }),
  (schema) => Effect.sync(() => free.push(schema))
)

/** Drops what `emptySchema` has made. */
export const dropSchemas = Effect.suspend(() =>
  administer((sql) => Effect.forEach(free.splice(0), (schema) => sql.unsafe(`DROP SCHEMA ${schema} CASCADE`)))
)

import * as SqlClient from "@effect/sql/SqlClient"
import * as SqlPersistedQueue from "@effect/sql/SqlPersistedQueue"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { type Duration, Effect, Layer, Redacted } from "effect"
import * as files from "./files.js"
import { open } from "./persistedQueue.js"
import * as postgres from "./postgres.js"
import type { Aim, Subject } from "./subject.js"

const table = "bench_effect_queue"

/**
 * It polls once a second by default, and sleeps for as long whenever it finds nothing or nobody to give it to, which happens
 * in a full queue too. The shorter, the quicker it is, and the more it takes of an idle processor.
 */
const pollIntervals: { readonly [A in Aim]: Duration.DurationInput } = {
  throughput: "1 millis",
  application: "10 millis"
}

const queueOn = (client: Layer.Layer<SqlClient.SqlClient, unknown>, aim: Aim) =>
  open<SqlClient.SqlClient>({
    layer: Layer.provideMerge(
      SqlPersistedQueue.layerStore({ tableName: table, pollInterval: pollIntervals[aim] }),
      client
    ),
    // offers of one transaction are committed once
    together: (offers) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(offers)),
    unfinished: Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.map(
        sql<{ readonly jobs: number | string }>`SELECT count(*) AS jobs FROM ${sql(table)} WHERE completed = FALSE`,
        ([row]) => Number(row?.jobs)
      )
    )
  })

/** The client turns WAL on by itself. */
export const makeSqlite = (): Subject => {
  const { fresh, remove } = files.make()
  const synchronous = Layer.effectDiscard(
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe("PRAGMA synchronous = NORMAL"))
  )
  return {
    open: async (aim) => queueOn(Layer.provideMerge(synchronous, SqliteClient.layer({ filename: await fresh() })), aim),
    remove
  }
}

export const makePg = (): Subject => {
  const remove = async () => {
    await postgres.query(`DROP TABLE IF EXISTS ${table}`)
  }
  return {
    open: async (aim) => {
      await remove()
      return queueOn(PgClient.layer({ url: Redacted.make(postgres.url), maxConnections: postgres.connections }), aim)
    },
    remove
  }
}

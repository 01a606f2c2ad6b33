import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { administer } from "../postgres/database.js"
import { connections } from "./connections.js"
import { Scene } from "./scene.js"

/** A transaction that has looked at the queue, and stays open: what it can see must be kept, so nothing is cleaned up. */
export const holdSnapshot = (millis: number) =>
  Effect.flatMap(Scene, ({ schema }) =>
    administer((sql) =>
      sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`
          yield* sql`SELECT count(*) FROM ${sql(schema)}.task_queue`
          yield* Effect.sleep(millis)
        })
      )
    )
  )

/** Ten for each process, and the one that listens. */
const connectionsPerProcess = 11

/**
 * A transaction that has locked the rows of a few runs that are performed, and of a few that wait, and stays open. Those who
 * wait for it must not pile up on the server.
 */
export const holdRows = (millis: number) =>
  Effect.flatMap(Scene, ({ alive, schema }) =>
    administer((sql) =>
      sql.withTransaction(
        Effect.gen(function* () {
          const queue = sql`${sql(schema)}.task_queue`
          yield* sql`SELECT id FROM ${queue} WHERE state = 'running' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED`
          yield* sql`SELECT id FROM ${queue} WHERE state = 'queued' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED`
          yield* Effect.sleep(millis)
          assert.isAtMost(yield* connections(schema), (alive.length + 1) * connectionsPerProcess)
        })
      )
    )
  )

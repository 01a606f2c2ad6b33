import { Effect } from "effect"
import { administer } from "../postgres/database.js"
import { Scene } from "./scene.js"

/** Ends every connection of the scene's workers and producers, as an administrator would. */
export const terminateAll = Effect.flatMap(Scene, ({ schema }) =>
  administer((sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ${schema}`)
)

/** How many connections the server has for those of this name. */
export const connections = (schema: string) =>
  Effect.map(
    administer((sql) => sql`SELECT pid FROM pg_stat_activity WHERE application_name = ${schema}`),
    (rows) => rows.length
  )

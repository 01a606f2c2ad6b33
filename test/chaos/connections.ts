import { Effect } from "effect"
import { administer } from "../postgres/database.js"
import { Scene } from "./scene.js"

/** Ends every connection of the scene's workers and producers, as an administrator would. */
export const terminateAll = Effect.flatMap(Scene, ({ schema }) =>
  administer(
    (sql) =>
      sql`SELECT count(pg_terminate_backend(pid))::int AS ended FROM pg_stat_activity WHERE application_name = ${schema}`
  )
)

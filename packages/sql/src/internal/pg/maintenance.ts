import { Effect, Schedule } from "effect"
import { liveClock } from "../liveClock.js"
import type { Database } from "./database.js"
import type { Names } from "./names.js"

/**
 * Every few seconds somebody folds the counts and makes the partitions that are due. The processes share the work: whoever
 * comes while another is at it leaves it to that one.
 */
export const make = Effect.fnUntraced(function* (database: Database, names: Names, now: Effect.Effect<number>) {
  const maintain = { name: `${names.prefix}maintain`, text: `SELECT ${names.maintain}($1)` }
  const once = Effect.flatMap(now, (at) => database.apart(maintain, [at]))
  yield* Effect.ignoreLogged(once)
  yield* Effect.ignore(once).pipe(
    Effect.schedule(Schedule.jittered(Schedule.spaced("10 seconds"))),
    Effect.withClock(liveClock),
    Effect.forkScoped
  )
})

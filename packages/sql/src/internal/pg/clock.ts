import { Clock, Duration, Effect, Schedule } from "effect"
import { liveClock } from "../liveClock.js"
import type { Database } from "./database.js"
import type { DriverError } from "./errors.js"
import type { Names } from "./names.js"

/** A sample whose round trip took longer says too little. */
const longestRoundTrip = 1_000

const refresh = Duration.minutes(1)

/**
 * The Effect of the present moment by the server's clock: the `Clock` and the offset that was measured last. Machines whose
 * clocks differ agree about leases that way, and a virtual clock stays one.
 */
export const make = Effect.fnUntraced(function* (database: Database, names: Names) {
  const clock = yield* Effect.clock
  const ask = {
    name: `${names.prefix}clock`,
    text: "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
  }
  let offset: number | undefined
  const measure: Effect.Effect<void, DriverError> = Effect.gen(function* () {
    const sentAt = performance.now()
    const [row] = yield* database.apart<readonly [at: number]>(ask, [])
    const roundTrip = performance.now() - sentAt
    if (row !== undefined && (offset === undefined || roundTrip <= longestRoundTrip)) {
      offset = Math.round(row[0] + roundTrip / 2 - clock.unsafeCurrentTimeMillis())
    }
  })
  yield* measure
  yield* Effect.ignore(measure).pipe(
    Effect.schedule(Schedule.spaced(refresh)),
    Effect.withClock(liveClock),
    Effect.forkScoped
  )
  return { now: Effect.map(Clock.currentTimeMillis, (now) => Math.floor(now) + (offset ?? 0)) }
})

import type { PgClient } from "@effect/sql-pg/PgClient"
import { Clock, Duration, Effect } from "effect"
import type { Rule } from "../retention.js"
import * as Signals from "../signals.js"
import type { Transactions } from "../transactions.js"
import * as Broker from "./broker.js"
import * as ServerClock from "./clock.js"
import * as Database from "./database.js"
import { cannotOpen, DriverError } from "./errors.js"
import { listen } from "./listener.js"
import * as Maintenance from "./maintenance.js"
import { ensure } from "./migrate.js"
import * as Names from "./names.js"
import * as Notifier from "./notifier.js"
import * as Records from "./records.js"
import * as Retention from "./retention.js"
import * as Store from "./store.js"

export interface Options {
  readonly client: PgClient
  readonly transactions: Transactions
  readonly schema: string
  readonly prefix: string
  readonly migrate: boolean
  readonly prepare: boolean
  readonly listen: boolean
  readonly pollInterval: Duration.Duration
  readonly serverClock: boolean
  readonly timeout: Duration.Duration
  readonly retention: ReadonlyArray<Rule>
}

/** Makes broker and store on a client's database. */
export const make = Effect.fnUntraced(function* (options: Options) {
  const { client, prepare, transactions } = options
  const names = yield* Names.names(options.schema, options.prefix)
  const database = yield* Effect.mapError(
    Database.make({ client, transactions, prepare, timeout: Duration.toMillis(options.timeout) }),
    cannotOpen
  )
  yield* database
    .lend((driver) => ensure(driver, names, options))
    .pipe(Effect.mapError((error) => (error instanceof DriverError ? cannotOpen(error) : error)))
  const now = options.serverClock
    ? (yield* Effect.mapError(ServerClock.make(database, names), cannotOpen)).now
    : Effect.map(Clock.currentTimeMillis, Math.floor)
  yield* Maintenance.make(database, names, now)
  yield* Retention.make(database, names, now, options.retention)
  const signals = yield* Signals.make
  const self = crypto.randomUUID()
  const notifier = yield* Notifier.make({ database, names, signals, self })
  if (options.listen) {
    yield* listen({ database, names, signals, self })
  }
  const parts = { database, names, signals, notifier, transactions, records: Records.make(names), now }
  const broker = yield* Broker.make({ ...parts, pollInterval: options.pollInterval })
  return { broker, store: Store.make(parts) }
})

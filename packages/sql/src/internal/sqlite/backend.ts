import type { SqliteClient } from "@effect/sql-sqlite-node/SqliteClient"
import { Duration, Effect } from "effect"
import type { Rule } from "../retention.js"
import * as Signals from "../signals.js"
import type { Transactions } from "../transactions.js"
import * as Broker from "./broker.js"
import * as Database from "./database.js"
import * as Migrate from "./migrate.js"
import * as Records from "./records.js"
import { prune } from "./retention.js"
import * as Schema from "./schema.js"
import { watch } from "./signals.js"
import * as Store from "./store.js"

/** A database that no other connection can reach: in memory, or without a name. */
const isPrivate = (filename: string): boolean => filename === ":memory:" || filename === ""

/** Makes broker and store on a client's database: brings the tables up to date, and listens for other processes. */
export const make = Effect.fnUntraced(function* (options: {
  readonly client: SqliteClient
  readonly transactions: Transactions
  readonly prefix: string
  readonly migrate: boolean
  readonly watchInterval: Duration.Duration
  readonly rules: ReadonlyArray<Rule>
  readonly pruneInterval: Duration.Duration
}) {
  const { client, prefix, pruneInterval, rules, transactions, watchInterval } = options
  const tables = yield* Schema.tables(prefix)
  const database = yield* Database.make(client)
  yield* Migrate.ensure(database, tables, options)
  const alone = isPrivate(client.config.filename)
  const signals = yield* Signals.make
  const parts = { database, tables, signals, transactions, records: Records.make(tables) }
  if (!alone) {
    yield* watch({ database, tables, signals, interval: watchInterval })
  }
  const broker = yield* Broker.make({ ...parts, pollInterval: alone ? Duration.infinity : Duration.seconds(5) })
  yield* prune(parts, { rules, interval: pruneInterval, now: broker.now })
  return { broker, store: Store.make(parts) }
})

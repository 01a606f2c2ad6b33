import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import { make as makeClient, type SqliteClient } from "@effect/sql-sqlite-node/SqliteClient"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Duration, Effect, ExecutionStrategy, Exit, Scope } from "effect"
import { liveClock } from "../liveClock.js"
import * as Transactions from "../transactions.js"
import { retryBusy, whileBusy } from "./database.js"
import { cannotOpen } from "./errors.js"

export interface OpenOptions {
  readonly filename: string
  readonly synchronous: "normal" | "full"
  readonly busyTimeout: Duration.Duration
}

/** To this size the log is cut back after a burst. */
const journalSizeLimit = 64 * 1024 * 1024

const pragmas = ({ busyTimeout, synchronous }: OpenOptions): ReadonlyArray<string> => [
  `PRAGMA busy_timeout = ${Math.round(Duration.toMillis(busyTimeout))}`,
  `PRAGMA synchronous = ${synchronous.toUpperCase()}`,
  `PRAGMA journal_size_limit = ${journalSizeLimit}`,
  "PRAGMA foreign_keys = ON"
]

const execute = (connection: Connection, sql: string): Effect.Effect<void, SqlError> =>
  Effect.asVoid(connection.execute(sql, [], undefined))

/**
 * The client's own transactions are deferred: one that reads before it writes fails when another process has written in
 * between. These are immediate. They wait for the lock, and one that can neither begin nor commit leaves the connection as
 * it found it.
 */
const immediateTransactions = (client: SqliteClient): SqliteClient["withTransaction"] =>
  SqlClient.makeWithTransaction({
    transactionTag: SqlClient.TransactionConnection,
    spanAttributes: [["db.system.name", "sqlite"]],
    acquireConnection: Effect.flatMap(Scope.make(), (scope) =>
      Effect.map(Scope.extend(client.reserve, scope), (connection) => [scope, connection] as const)
    ),
    begin: (connection) => retryBusy(execute(connection, "BEGIN IMMEDIATE")),
    savepoint: (connection, id) => execute(connection, `SAVEPOINT effect_sql_${id}`),
    commit: (connection) =>
      Effect.tapError(execute(connection, "COMMIT"), () => Effect.ignore(execute(connection, "ROLLBACK"))),
    rollback: (connection) => Effect.ignore(execute(connection, "ROLLBACK")),
    rollbackSavepoint: (connection, id) => execute(connection, `ROLLBACK TO SAVEPOINT effect_sql_${id}`)
  })

const connect = Effect.fnUntraced(function* (options: OpenOptions) {
  const client = yield* makeClient({ filename: options.filename })
  const connection = yield* Effect.scoped(client.reserve)
  yield* Effect.forEach(pragmas(options), (pragma) => execute(connection, pragma), { discard: true })
  const transactions = Transactions.make(immediateTransactions(client))
  return { client: Object.assign(client, { withTransaction: transactions.run }), transactions }
})

/** Opens the database for as long as the scope lasts. The driver throws where it cannot: here that is a typed error. */
export const open = Effect.fnUntraced(function* (
  options: OpenOptions
): Effect.fn.Return<
  { readonly client: SqliteClient; readonly transactions: Transactions.Transactions },
  BackendError,
  Scope.Scope
> {
  const scope = yield* Effect.scope
  const attempt = Effect.flatMap(Scope.fork(scope, ExecutionStrategy.sequential), (own) =>
    connect(options).pipe(
      Effect.catchAllDefect((defect) => Effect.fail({ cause: defect })),
      Effect.mapError(({ cause }) => cannotOpen(options.filename, cause)),
      Scope.extend(own),
      Effect.onExit((exit) => (Exit.isFailure(exit) ? Scope.close(own, exit) : Effect.void))
    )
  )
  return yield* attempt.pipe(
    // several processes that open a new file at once stand in each other's way for a moment
    Effect.retry({ schedule: whileBusy, while: (error) => error.transient }),
    Effect.withClock(liveClock),
    Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make)
  )
})

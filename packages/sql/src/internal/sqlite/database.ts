import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Context, Effect, Exit, Option, Schedule } from "effect"
import { liveClock } from "../liveClock.js"
import { fromSqlError, isBusy } from "./errors.js"

/**
 * Runs one statement on the connection that the caller holds. Statements are prepared once per text, so texts are constant
 * and everything that varies is a parameter. Parameters are positional, or one object with the values by name.
 *
 * It goes to the connection directly: a `Statement` of the client would make a span each, which costs more than SQLite does.
 */
export interface Run {
  <Row>(sql: string, params?: ReadonlyArray<unknown> | undefined): Effect.Effect<ReadonlyArray<Row>, SqlError>

  /** Rows as arrays of their values: for rows of many columns half the cost of objects. */
  readonly values: <Row extends ReadonlyArray<unknown>>(
    sql: string,
    params: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Row>, SqlError>
}

/** What is done while the connection is held. */
export type Body<A> = (run: Run) => Effect.Effect<A, SqlError>

/** The one connection of a `SqliteClient`, shared with the application. */
export interface Database {
  /** Reads without a transaction. */
  readonly read: <A>(operation: string, body: Body<A>) => Effect.Effect<A, BackendError>

  /**
   * Reads and writes in a transaction: all or nothing. In a fiber that is inside `withTransaction` of the same client it
   * is a part of that transaction, to be committed or rolled back with it.
   */
  readonly write: <A>(operation: string, body: Body<A>) => Effect.Effect<A, BackendError>

  /** Whether the calling fiber is inside `withTransaction` of the same client. */
  readonly isInTransaction: Effect.Effect<boolean>

  /** The connection itself, which waits for nobody, also while a transaction is open. */
  readonly connection: Connection
}

/** How to wait for the lock of another connection: from 2 ms to 100 ms, for about five seconds. */
export const whileBusy = Schedule.exponential("2 millis", 1.6).pipe(
  Schedule.union(Schedule.spaced("100 millis")),
  Schedule.jittered,
  Schedule.upTo("5 seconds")
)

/** Tries once on the caller's clock, and again only when another connection holds the lock. */
export const retryBusy = <A, R>(effect: Effect.Effect<A, SqlError, R>): Effect.Effect<A, SqlError, R> =>
  Effect.catchIf(effect, isBusy, () =>
    Effect.sleep("1 millis").pipe(
      Effect.zipRight(Effect.retry(effect, { schedule: whileBusy, while: isBusy })),
      Effect.withClock(liveClock)
    )
  )

/**
 * Makes `Run`. The client remembers a statement that could not be prepared for ten minutes, also when only a lock was in
 * the way; after such a failure the texts are changed, so that they are prepared anew.
 */
const makeRun = (connection: Connection) => {
  let failures = 0
  const textOf = (sql: string): string => (failures === 0 ? sql : `${sql} -- ${failures}`)
  const run: Run = Object.assign(
    <Row>(sql: string, params: ReadonlyArray<unknown> = []): Effect.Effect<ReadonlyArray<Row>, SqlError> =>
      connection.execute(textOf(sql), params, undefined),
    {
      values: <Row extends ReadonlyArray<unknown>>(sql: string, params: ReadonlyArray<unknown>) =>
        Effect.map(connection.executeValues(textOf(sql), params), (rows) => rows as ReadonlyArray<Row>)
    }
  )
  const noteFailure = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.tapError(effect, (error) =>
      Effect.sync(() => {
        failures += error.message.startsWith("Failed to prepare") ? 1 : 0
      })
    )
  return { run, noteFailure }
}

/** Runs the body between two statements. A commit that fails leaves the transaction open, so that is undone too. */
const between = <A>(
  run: Run,
  texts: { readonly begin: string; readonly commit: string; readonly rollback: ReadonlyArray<string> },
  body: Body<A>
): Effect.Effect<A, SqlError> =>
  run(texts.begin).pipe(
    Effect.zipRight(
      Effect.exit(
        Effect.zipLeft(
          Effect.suspend(() => body(run)),
          Effect.suspend(() => run(texts.commit))
        )
      )
    ),
    Effect.flatMap((exit) =>
      Exit.isSuccess(exit)
        ? exit
        : Effect.zipRight(
            Effect.forEach(texts.rollback, (text) => Effect.ignore(run(text)), { discard: true }),
            exit
          )
    )
  )

// A deferred transaction that reads first and writes then fails at once when another process has written in between. An
// immediate one takes the write lock first.
const transaction = { begin: "BEGIN IMMEDIATE", commit: "COMMIT", rollback: ["ROLLBACK"] }

const savepoint = {
  begin: "SAVEPOINT effect_tasks",
  commit: "RELEASE effect_tasks",
  rollback: ["ROLLBACK TO effect_tasks", "RELEASE effect_tasks"]
}

/** Whether the calling fiber is inside a transaction on this connection that is not the backend's own. */
const makeIsInTransaction = (connection: Connection, run: Run, isOwn: () => boolean): Effect.Effect<boolean> => {
  // A fiber forked inside a transaction keeps its context after the commit. SQLite knows whether one is still open: it
  // refuses a second BEGIN. And while one of ours is open, it cannot be the caller's. (Nobody may come in between.)
  const isOpen = Effect.suspend(() =>
    isOwn()
      ? Effect.succeed(false)
      : Effect.match(Effect.zipRight(run("BEGIN"), run("ROLLBACK")), { onFailure: () => true, onSuccess: () => false })
  ).pipe(Effect.withMaxOpsBeforeYield(Number.MAX_SAFE_INTEGER))

  return Effect.contextWithEffect((context: Context.Context<never>) => {
    const open = Context.getOption(context, SqlClient.TransactionConnection)
    return Option.isSome(open) && open.value[0] === connection ? isOpen : Effect.succeed(false)
  })
}

export const make = Effect.fnUntraced(function* (client: SqlClient.SqlClient) {
  const { reserve } = client
  // a SqliteClient has one connection, so the one that it lends now tells its transactions from those of other clients
  const connection = yield* Effect.scoped(Effect.mapError(reserve, fromSqlError("open")))
  const joining = yield* Effect.makeSemaphore(1)
  const { noteFailure, run } = makeRun(connection)
  let ownTransaction = false

  const own = <A>(body: Body<A>): Effect.Effect<A, SqlError> =>
    Effect.uninterruptibleMask((restore) =>
      restore(reserve).pipe(
        Effect.zipRight(Effect.sync(() => (ownTransaction = true))),
        Effect.zipRight(between(run, transaction, body)),
        Effect.ensuring(Effect.sync(() => (ownTransaction = false))),
        Effect.scoped
      )
    )

  // One at a time: the savepoints of concurrent fibers would enclose each other.
  const joined = <A>(body: Body<A>): Effect.Effect<A, SqlError> =>
    joining.withPermits(1)(Effect.uninterruptible(between(run, savepoint, body)))

  const isInTransaction = makeIsInTransaction(connection, run, () => ownTransaction)

  const access =
    (
      alone: <A>(body: Body<A>) => Effect.Effect<A, SqlError>,
      inside: <A>(body: Body<A>) => Effect.Effect<A, SqlError>
    ): Database["write"] =>
    (operation, body) =>
      isInTransaction.pipe(
        Effect.flatMap((open) => (open ? noteFailure(inside(body)) : retryBusy(noteFailure(alone(body))))),
        // a statement that was once used with SafeIntegers gives bigints to all who use it later
        Effect.provideService(SqlClient.SafeIntegers, false),
        Effect.mapError(fromSqlError(operation))
      )

  const database: Database = {
    read: access(
      (body) => Effect.scoped(Effect.flatMap(reserve, () => body(run))),
      (body) => body(run)
    ),
    write: access(own, joined),
    isInTransaction,
    connection
  }
  return database
})

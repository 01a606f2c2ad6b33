import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { PgClient } from "@effect/sql-pg/PgClient"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Cause, Context, Effect, Exit, Option } from "effect"
import type { Transactions } from "../transactions.js"
import { type Driver, discard, driverOf, query, type Statement } from "./driver.js"
import { DriverError, fromDriver, Unanswered } from "./errors.js"

/** Runs one statement on the connection that the caller holds. */
export type Run = <Row extends ReadonlyArray<unknown>>(
  statement: Statement,
  values: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, DriverError>

/** The connections of a `PgClient`, shared with the application. */
export interface Database {
  /**
   * Runs one statement, which is a transaction of its own. In a fiber that is inside a transaction of the same client it is a
   * part of that one, and leaves it usable when it fails.
   */
  readonly call: <Row extends ReadonlyArray<unknown>>(
    operation: string,
    statement: Statement,
    values: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<Row>, BackendError>

  /** What makes do with one statement, of its own making. */
  readonly read: <A>(
    operation: string,
    body: (run: Run) => Effect.Effect<A, DriverError>
  ) => Effect.Effect<A, BackendError>

  /** Runs several statements in a transaction: all or nothing. */
  readonly write: <A>(
    operation: string,
    body: (run: Run) => Effect.Effect<A, DriverError>
  ) => Effect.Effect<A, BackendError>

  /** Runs a statement on a connection of its own, whatever transaction the fiber is in. */
  readonly apart: Run

  /** Lends a connection of the pool. */
  readonly lend: <A, E, R>(use: (driver: Driver) => Effect.Effect<A, E, R>) => Effect.Effect<A, E | DriverError, R>

  /** Whether the calling fiber is inside a transaction of the same client. */
  readonly isInTransaction: Effect.Effect<boolean>
}

export interface Options {
  readonly client: PgClient
  readonly transactions: Transactions
  /** Whether statements are prepared under a name. */
  readonly prepare: boolean
  /** How long an answer may take, in milliseconds. */
  readonly timeout: number
}

/** Runs the body between two statements. */
const between = <A, E>(
  run: Run,
  texts: { readonly begin: string; readonly commit: string; readonly rollback: string },
  body: Effect.Effect<A, E>
): Effect.Effect<A, E | DriverError> => {
  const say = (text: string) => run({ name: "", text }, [])
  return Effect.flatMap(say(texts.begin), () =>
    Effect.flatMap(
      Effect.exit(body),
      (exit): Effect.Effect<A, E | DriverError> =>
        Exit.isSuccess(exit)
          ? Effect.as(say(texts.commit), exit.value)
          : Effect.zipRight(Effect.ignore(say(texts.rollback)), exit)
    )
  )
}

// whatever the default of the database is: each statement has to see what was committed before it began
const transaction = { begin: "BEGIN ISOLATION LEVEL READ COMMITTED", commit: "COMMIT", rollback: "ROLLBACK" }

const savepoint = {
  begin: "SAVEPOINT effect_tasks",
  commit: "RELEASE SAVEPOINT effect_tasks",
  rollback: "ROLLBACK TO SAVEPOINT effect_tasks; RELEASE SAVEPOINT effect_tasks"
}

/** One at a time per connection: the savepoints of concurrent fibers would enclose each other. */
const makeOneByOne = () => {
  const semaphores = new WeakMap<Driver, Effect.Semaphore>()
  return <A, E>(driver: Driver, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
    const known = semaphores.get(driver)
    const semaphore = known ?? Effect.unsafeMakeSemaphore(1)
    if (known === undefined) {
      semaphores.set(driver, semaphore)
    }
    return semaphore.withPermits(1)(effect)
  }
}

/**
 * The connection of the transaction that the calling fiber is in, if it is one of this client: every client has a class of
 * connections of its own. A fiber that was forked inside a transaction keeps it in its context after the commit.
 */
const makeJoined = (sample: Connection, transactions: Transactions): Effect.Effect<Option.Option<Driver>> => {
  const kind: unknown = Object.getPrototypeOf(sample)
  return Effect.flatMap(transactions.isOver, (isOver) =>
    Effect.contextWith((context: Context.Context<never>) =>
      isOver
        ? Option.none()
        : Context.getOption(context, SqlClient.TransactionConnection).pipe(
            Option.filter(([connection]) => Object.getPrototypeOf(connection) === kind),
            Option.map(([connection]) => driverOf(connection)),
            Option.filter((driver) => driver.getTransactionStatus?.() !== "I")
          )
    )
  )
}

/**
 * What is known of the connections of a pool. Where one did not answer, the others that have been silent since are likely to be
 * half open too, and each would be waited for as long; so they are discarded before they are asked.
 */
const makeTrust = () => {
  const heard = new WeakMap<Driver, number>()
  let silent = Number.NEGATIVE_INFINITY
  return {
    isTrusted: (driver: Driver): boolean => (heard.get(driver) ?? Number.POSITIVE_INFINITY) >= silent,
    note: <A>(driver: Driver, answer: Effect.Effect<A, DriverError>): Effect.Effect<A, DriverError> =>
      Effect.suspend(() => {
        const sentAt = performance.now()
        return Effect.onExit(answer, (exit) =>
          Effect.sync(() => {
            if (Exit.isFailure(exit) && isUnanswered(exit.cause)) {
              silent = Math.max(silent, sentAt)
            } else {
              heard.set(driver, performance.now())
            }
          })
        )
      })
  }
}

const isUnanswered = (cause: Cause.Cause<DriverError>): boolean =>
  Option.exists(Cause.failureOption(cause), (error) => error.cause instanceof Unanswered)

export const make = Effect.fnUntraced(function* ({ client, prepare, timeout, transactions }: Options) {
  const trust = makeTrust()
  const on = (driver: Driver): Run => {
    return (statement, values) =>
      trust.note(driver, query(driver, statement, values, { prepare: prepare && statement.name !== "", timeout }))
  }
  // The pool forgets a caller that is interrupted while it waits, and the connection would be lost.
  const reserve = Effect.uninterruptible(
    Effect.mapError(client.reserve, (error) => new DriverError(error.cause ?? error))
  )
  const lend: Database["lend"] = (use) =>
    Effect.flatMap(
      Effect.scoped(
        Effect.flatMap(reserve, (connection) => {
          const driver = driverOf(connection)
          return trust.isTrusted(driver) ? Effect.asSome(use(driver)) : Effect.as(discard(driver), Option.none())
        })
      ),
      Option.match({ onNone: () => lend(use), onSome: Effect.succeed })
    )
  const sample = yield* Effect.scoped(reserve)
  const joined = makeJoined(sample, transactions)
  const oneByOne = makeOneByOne()

  const access = <A>(
    operation: string,
    alone: (run: Run) => Effect.Effect<A, DriverError>,
    body: (run: Run) => Effect.Effect<A, DriverError>
  ): Effect.Effect<A, BackendError> =>
    Effect.flatMap(joined, (inside) =>
      Effect.uninterruptible(
        Option.isNone(inside)
          ? lend((driver) => alone(on(driver)))
          : oneByOne(inside.value, between(on(inside.value), savepoint, body(on(inside.value))))
      )
    ).pipe(Effect.mapError(fromDriver(operation)))

  const database: Database = {
    call: <Row extends ReadonlyArray<unknown>>(
      operation: string,
      statement: Statement,
      values: ReadonlyArray<unknown>
    ) => {
      const body = (run: Run) => run<Row>(statement, values)
      return access(operation, body, body)
    },
    read: (operation, body) => access(operation, body, body),
    write: (operation, body) => access(operation, (run) => between(run, transaction, body(run)), body),
    apart: (statement, values) => Effect.uninterruptible(lend((driver) => on(driver)(statement, values))),
    lend,
    isInTransaction: Effect.map(joined, Option.isSome)
  }
  return database
})

import type { Connection } from "@effect/sql/SqlConnection"
import { Effect, Predicate } from "effect"
import { DriverError, Unanswered } from "./errors.js"

/**
 * The driver's connection under a connection of a `PgClient`. The client itself cannot name a prepared statement, give rows as
 * arrays of it, or discard a connection that does not answer.
 */
export interface Driver {
  readonly query: (query: object, callback: (error: Error | null, result: { readonly rows: unknown }) => void) => void
  readonly on: (event: string, listener: (argument: Notification) => void) => unknown
  readonly off: (event: string, listener: (argument: Notification) => void) => unknown
  readonly getTransactionStatus?: () => string | null
  readonly connection: { readonly stream: { readonly destroy: () => void } }
}

/** What a listening connection is told. */
export interface Notification {
  readonly channel?: string
  readonly payload?: string
}

/** A text that is the same each time, and the name under which it is prepared. */
export interface Statement {
  readonly name: string
  readonly text: string
}

const isDriver = (u: unknown): u is Driver =>
  Predicate.hasProperty(u, "query") && Predicate.hasProperty(u, "on") && Predicate.hasProperty(u, "connection")

/** The driver of a connection; it dies on one that is not a `PgClient`'s. */
export const driverOf = (connection: Connection): Driver => {
  const pg: unknown = Predicate.hasProperty(connection, "pg") ? connection.pg : undefined
  if (isDriver(pg)) {
    return pg
  }
  throw new TypeError("the PgClient is of another kind than that of @effect/sql-pg")
}

const int8 = 20
const int4 = 23
const bool = 16

const isTrue = (text: string): boolean => text === "t"
const asIs = (text: string): string => text

/** The backend's own parsers: those of the application's client may be any. All numbers here are below 2^53. */
const types = {
  getTypeParser: (type: number): ((text: string) => unknown) =>
    type === int8 || type === int4 ? Number : type === bool ? isTrue : asIs
}

/**
 * Runs a statement. A connection that does not answer within `timeout` is destroyed: it may be half open, and nothing that is
 * sent over it would be answered either.
 *
 * It cannot be interrupted: a connection that is given back must not be busy.
 */
export const query = <Row extends ReadonlyArray<unknown>>(
  driver: Driver,
  statement: Statement | string,
  values: ReadonlyArray<unknown>,
  options: { readonly prepare: boolean; readonly timeout: number }
): Effect.Effect<ReadonlyArray<Row>, DriverError> =>
  Effect.uninterruptible(
    Effect.async<ReadonlyArray<Row>, DriverError>((resume) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        driver.connection.stream.destroy()
      }, options.timeout)
      const { name, text } = typeof statement === "string" ? { name: undefined, text: statement } : statement
      const named = options.prepare && name !== undefined ? { name } : {}
      // without values it goes as a simple query, which may hold several statements
      const given = values.length === 0 ? {} : { values }
      driver.query({ ...named, ...given, text, rowMode: "array", types }, (error, result) => {
        clearTimeout(timer)
        resume(
          isLate
            ? Effect.fail(new DriverError(new Unanswered(options.timeout, error)))
            : error
              ? Effect.fail(new DriverError(error))
              : Effect.succeed(result.rows as ReadonlyArray<Row>)
        )
      })
    })
  )

/** Closes a connection that is not believed to be alive, and waits until that is known, so that its pool forgets it. */
export const discard = (driver: Driver): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), longestClosing)
    driver.on("end", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    driver.connection.stream.destroy()
  })

const longestClosing = 1_000

/** Runs several statements that are given as one text, without parameters. */
export const script = (driver: Driver, text: string, timeout: number): Effect.Effect<void, DriverError> =>
  Effect.asVoid(query(driver, text, [], { prepare: false, timeout }))

import type { SqlError } from "@effect/sql/SqlError"
import { BackendError } from "@effect-tasks/core/TaskError"
import { Predicate } from "effect"

/** The name under which this backend reports itself. */
export const backend = "postgresql"

/** What the driver fails with: an error of the server, with its SQLSTATE, or one of the connection. */
export class DriverError {
  readonly _tag = "DriverError"
  readonly cause: unknown

  constructor(cause: unknown) {
    this.cause = cause
  }
}

/** What is said of a connection that did not answer in time. */
export class Unanswered extends Error {
  constructor(millis: number, cause: unknown) {
    super(`no answer within ${millis} ms`, { cause })
  }
}

/** The SQLSTATE, or the operating system's name for what befell the connection. */
const codeOf = (cause: unknown): string | undefined =>
  Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined

/**
 * A lost connection (08), a server that stops or starts (57P), a conflict with others (40001, 40P01), a lack of connections,
 * memory or disk (53), a lock or a statement that took too long (55P03, 57014), a server that only reads for the moment
 * (25006), a disturbed device (58), and the names of the operating system, which begin with E.
 */
const transientCode = /^(08...|57P0[1-5]|57014|40001|40P01|53...|55P03|25006|58...|E[A-Z_]+)$/

/** A lock was waited for too long. */
export const isLockTimeout = (cause: unknown): boolean => codeOf(cause) === "55P03"

/** An error without a code is the driver's own: the connection ended, or could not be had in time. */
const isTransient = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return code === undefined ? !(cause instanceof TypeError || cause instanceof RangeError) : transientCode.test(code)
}

/** Node's error for several addresses that all refuse has no message of its own. */
const withMessage = (cause: unknown): unknown =>
  cause instanceof AggregateError && cause.message === ""
    ? Object.assign(new Error(cause.errors.map((error) => String(error)).join("; "), { cause }), {
        code: codeOf(cause)
      })
    : cause

/** What an operation reports when the database refuses it, or does not answer. */
export const fromDriver =
  (operation: string) =>
  ({ cause }: DriverError): BackendError =>
    new BackendError({ backend, operation, transient: isTransient(cause), cause: withMessage(cause) })

export const fromSqlError =
  (operation: string) =>
  (error: SqlError): BackendError =>
    fromDriver(operation)(new DriverError(error.cause ?? error))

const adviceFor = (cause: unknown): string => {
  const code = codeOf(cause)
  if (code === "28P01" || code === "28000") {
    return "the server refuses this user; look at the user, the password and the server's pg_hba.conf"
  }
  if (code === "3D000") {
    return "there is no such database; create it first"
  }
  if (code === "42501") {
    return "this user may not do that; let a user who may create tables run the migrations"
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return "the host's name is not known; look at the url"
  }
  if (code === "ECONNREFUSED") {
    return "nobody listens there; is the server running, and are host and port right?"
  }
  if (code === "53300") {
    return "the server has no connection left; lower maxConnections, or use a pooler"
  }
  return "is the server running, and is the url right?"
}

/** What opening reports. */
export const cannotOpen = ({ cause }: DriverError): BackendError => {
  const shown = withMessage(cause)
  const said = shown instanceof Error ? shown.message : String(shown)
  return new BackendError({
    backend,
    operation: "open",
    transient: isTransient(cause),
    cause: new Error(`cannot use the database: ${said}: ${adviceFor(cause)}`, { cause })
  })
}

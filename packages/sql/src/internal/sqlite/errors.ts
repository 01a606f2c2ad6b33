import type { SqlError } from "@effect/sql/SqlError"
import { BackendError } from "@effect-tasks/core/TaskError"
import { Predicate } from "effect"

/** The name under which this backend reports itself. */
export const backend = "sqlite"

/** The driver's error code, such as `SQLITE_BUSY_SNAPSHOT`. */
const codeOf = (cause: unknown): string =>
  Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : ""

const causeOf = (error: SqlError): unknown => error.cause ?? error

/** Another connection holds the lock that a statement needs: the same statement will soon succeed. */
export const isBusy = (error: SqlError): boolean => /^SQLITE_(BUSY|LOCKED|PROTOCOL)/.test(codeOf(causeOf(error)))

/** Locks pass, and so may a full disk, a lack of memory or of file handles, and a disturbed device. */
const transient = /^SQLITE_(BUSY|LOCKED|PROTOCOL|FULL|NOMEM|IOERR|CANTOPEN|INTERRUPT)/

/** What an operation reports when the database refuses it. */
export const fromSqlError =
  (operation: string) =>
  (error: SqlError): BackendError => {
    const cause = causeOf(error)
    return new BackendError({ backend, operation, transient: transient.test(codeOf(cause)), cause })
  }

const adviceFor = (cause: unknown): string => {
  const code = codeOf(cause)
  if (cause instanceof TypeError && cause.message.includes("directory does not exist")) {
    return "its directory does not exist; create it first"
  }
  if (code.startsWith("SQLITE_CANTOPEN")) {
    return "it must be a file, or a place for one, that this process may read and write"
  }
  if (code.startsWith("SQLITE_READONLY")) {
    return "this process may not write the file or its directory"
  }
  if (code.startsWith("SQLITE_NOTADB")) {
    return "the file is no SQLite database; choose another filename"
  }
  return cause instanceof Error ? cause.message : String(cause)
}

/** What opening reports when the driver refuses the file. */
export const cannotOpen = (filename: string, cause: unknown): BackendError => {
  const message = `cannot open the database "${filename}": ${adviceFor(cause)}`
  const transient = /^SQLITE_(BUSY|LOCKED|PROTOCOL)/.test(codeOf(cause))
  return new BackendError({ backend, operation: "open", transient, cause: new Error(message, { cause }) })
}

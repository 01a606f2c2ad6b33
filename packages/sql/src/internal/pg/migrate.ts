import { BackendError } from "@effect-tasks/core/TaskError"
import { Effect, Exit } from "effect"
import { SchemaVersionError } from "../../SchemaVersion.js"
import { type Driver, query, script } from "./driver.js"
import { backend, cannotOpen, type DriverError } from "./errors.js"
import { type Migration, migrations } from "./migrations.js"
import { literal, type Names } from "./names.js"

/** What a database has, and what this program knows. */
export interface Status {
  readonly found: number
  readonly known: number
  readonly pending: ReadonlyArray<Migration>
}

/** Changing long tables takes time. */
const timeout = 10 * 60_000

const ask = <Row extends ReadonlyArray<unknown>>(driver: Driver, text: string, values: ReadonlyArray<unknown> = []) =>
  query<Row>(driver, { name: "", text }, values, { prepare: false, timeout })

/**
 * Asks the catalog's tables. What `to_regclass` says may be remembered from before the lock was waited for, when another process
 * has made the table meanwhile.
 */
const foundVersion = Effect.fnUntraced(function* (driver: Driver, t: Names) {
  const found = yield* ask(
    driver,
    `SELECT 1 FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
WHERE nspname = $1 AND relname = $2`,
    [t.schema, `${t.prefix}migrations`]
  )
  if (found.length === 0) {
    return 0
  }
  const [row] = yield* ask<readonly [version: number | null]>(driver, `SELECT max(version) FROM ${t.migrations}`)
  return row?.[0] ?? 0
})

export const status = (driver: Driver, t: Names): Effect.Effect<Status, BackendError> =>
  Effect.map(foundVersion(driver, t), (found): Status => {
    const all = migrations(t)
    return { found, known: all.length, pending: all.filter(({ version }) => version > found) }
  }).pipe(Effect.mapError(cannotOpen))

const refuseNewer = ({ found, known }: Status): Effect.Effect<void, SchemaVersionError> =>
  found > known ? Effect.fail(new SchemaVersionError({ backend, found, known })) : Effect.void

/** A schema that is there needs no right to make one. */
const makeSchema = Effect.fnUntraced(function* (driver: Driver, t: Names) {
  const found = yield* ask(driver, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", [t.schema])
  if (found.length === 0) {
    yield* script(driver, `CREATE SCHEMA "${t.schema.replaceAll('"', '""')}"`, timeout)
  }
})

/**
 * Applies what is pending, in one transaction. Processes that start at once come one after the other: the lock ends with the
 * transaction, so it also holds behind a pooler.
 */
export const migrate = (driver: Driver, t: Names): Effect.Effect<Status, BackendError | SchemaVersionError> => {
  const say = (text: string) => Effect.mapError(script(driver, text, timeout), cannotOpen)
  const apply = Effect.gen(function* () {
    yield* say(`SELECT pg_advisory_xact_lock(hashtext(${literal(t.lock)}), 0)`)
    const before = yield* status(driver, t)
    yield* refuseNewer(before)
    if (before.pending.length > 0) {
      yield* Effect.mapError(makeSchema(driver, t), cannotOpen)
    }
    yield* Effect.forEach(before.pending, ({ name, sql, version }) =>
      Effect.mapError(script(driver, sql, timeout), (error) => migrationFailed(version, name, error))
    )
    return before
  })
  return Effect.uninterruptible(
    Effect.zipRight(
      say("BEGIN"),
      Effect.flatMap(Effect.exit(apply), (exit) =>
        Exit.isSuccess(exit)
          ? Effect.as(say("COMMIT"), exit.value)
          : Effect.zipRight(Effect.ignore(say("ROLLBACK")), exit)
      )
    )
  )
}

const migrationFailed = (version: number, name: string, error: DriverError): BackendError => {
  const { cause, transient } = cannotOpen(error)
  const said = cause instanceof Error ? cause.message : String(cause)
  return new BackendError({
    backend,
    operation: "migrate",
    transient,
    cause: new Error(`migration ${version} (${name}) failed, and nothing was changed: ${said}`, { cause })
  })
}

/** Brings the schema to the version that this code knows, or only looks whether it is. */
export const ensure = Effect.fnUntraced(function* (driver: Driver, t: Names, options: { readonly migrate: boolean }) {
  const now = yield* status(driver, t)
  yield* refuseNewer(now)
  if (now.pending.length === 0) {
    return
  }
  if (!options.migrate) {
    return yield* new SchemaVersionError({ backend, found: now.found, known: now.known })
  }
  yield* migrate(driver, t)
})

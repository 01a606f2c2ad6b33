import { SqlError } from "@effect/sql/SqlError"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Effect } from "effect"
import { SchemaVersionError } from "../../SchemaVersion.js"
import type { Database, Run } from "./database.js"
import { backend, isBusy } from "./errors.js"
import { type Tables, version1 } from "./schema.js"

/** One step of the schema, and its SQL: what is printed is what is applied. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
}

/** What a database has, and what this program knows. */
export interface Status {
  readonly found: number
  readonly known: number
  readonly pending: ReadonlyArray<Migration>
}

/** The driver takes one statement at a time. */
interface Step {
  readonly version: number
  readonly name: string
  readonly statements: ReadonlyArray<string>
}

/** A step whose number is not higher than that of the newest one in the table has been applied. */
const makeVersions = (t: Tables): string => `CREATE TABLE ${t.migrations} (
  version INTEGER NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)`

/** All versions, in order. A released one never changes. */
const steps = (t: Tables): ReadonlyArray<Step> =>
  [{ name: "tables", statements: [makeVersions(t), ...version1(t)] }].map(({ name, statements }, i) => ({
    version: i + 1,
    name,
    statements: [...statements, `INSERT INTO ${t.migrations} (version, name) VALUES (${i + 1}, '${name}')`]
  }))

const printed = ({ name, statements, version }: Step): Migration => ({
  version,
  name,
  sql: statements.map((statement) => `${statement};\n`).join("\n")
})

export const migrations = (t: Tables): ReadonlyArray<Migration> => steps(t).map(printed)

/** The newest version that has been applied, or 0. */
const foundVersion = Effect.fnUntraced(function* (run: Run, t: Tables): Effect.fn.Return<number, SqlError> {
  const exists = yield* run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [t.migrations])
  if (exists.length === 0) {
    return 0
  }
  const [found] = yield* run<{ readonly version: number | null }>(`SELECT max(version) AS version FROM ${t.migrations}`)
  return found?.version ?? 0
})

const statusAt = (t: Tables, found: number): Status => {
  const all = migrations(t)
  return { found, known: all.length, pending: all.filter(({ version }) => version > found) }
}

export const status = (database: Database, t: Tables): Effect.Effect<Status, BackendError> =>
  Effect.map(
    database.read("open", (run) => foundVersion(run, t)),
    (found) => statusAt(t, found)
  )

const failed =
  ({ name, version }: Step) =>
  (error: SqlError): SqlError => {
    if (isBusy(error)) {
      return error
    }
    const said = error.cause instanceof Error ? error.cause.message : String(error.cause)
    const message = `migration ${version} (${name}) failed, and nothing was changed: ${said}`
    return new SqlError({ message, cause: new Error(message, { cause: error }) })
  }

const refuseNewer = ({ found, known }: Status): Effect.Effect<void, SchemaVersionError> =>
  found > known ? Effect.fail(new SchemaVersionError({ backend, found, known })) : Effect.void

/**
 * Applies what is pending, in one transaction, which takes the write lock at once: processes that start together come one
 * after the other. Gives what was found before.
 */
export const migrate = (database: Database, t: Tables): Effect.Effect<Status, BackendError | SchemaVersionError> =>
  Effect.tap(
    database.write(
      "migrate",
      Effect.fnUntraced(function* (run): Effect.fn.Return<Status, SqlError> {
        const found = yield* foundVersion(run, t)
        for (const step of steps(t).filter(({ version }) => version > found)) {
          yield* Effect.mapError(
            Effect.forEach(step.statements, (statement) => run(statement), { discard: true }),
            failed(step)
          )
        }
        return statusAt(t, found)
      })
    ),
    refuseNewer
  )

/** Brings the tables to the version that this code knows, or only looks whether they are; a later one is refused. */
export const ensure = Effect.fnUntraced(function* (
  database: Database,
  t: Tables,
  options: { readonly migrate: boolean }
) {
  const now = yield* status(database, t)
  yield* refuseNewer(now)
  if (now.pending.length === 0) {
    return
  }
  if (!options.migrate) {
    return yield* new SchemaVersionError({ backend, found: now.found, known: now.known })
  }
  yield* migrate(database, t)
})

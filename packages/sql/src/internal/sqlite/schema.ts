import * as Reactivity from "@effect/experimental/Reactivity"
import * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import { InvalidOption, SchemaVersionError } from "@effect-tasks/core/TaskError"
import { Effect, Either, Option, Predicate } from "effect"
import type { Database } from "./database.js"
import { backend } from "./errors.js"

/** The names of the tables. */
export interface Tables {
  readonly queue: string
  readonly history: string
  readonly count: string
  readonly log: string
  readonly key: string
  readonly control: string
  readonly rate: string
  readonly consumer: string
  readonly migrations: string
}

/** The names under a prefix, which must be an identifier itself: it becomes a part of every statement. */
export const tables = (prefix: string): Either.Either<Tables, InvalidOption> =>
  /^[a-z][a-z0-9_]*$/i.test(prefix) && !/^sqlite_/i.test(prefix)
    ? Either.right({
        queue: `${prefix}queue`,
        history: `${prefix}history`,
        count: `${prefix}count`,
        log: `${prefix}log`,
        key: `${prefix}key`,
        control: `${prefix}control`,
        rate: `${prefix}rate`,
        consumer: `${prefix}consumer`,
        migrations: `${prefix}migrations`
      })
    : Either.left(
        new InvalidOption({
          option: "prefix",
          value: prefix,
          expected: "a letter, then letters, digits and underscores, and not sqlite_"
        })
      )

// Short columns stand before the texts, so that a scan over them need not follow a row into its overflow pages.
const runColumns = `
  id TEXT NOT NULL PRIMARY KEY,
  task TEXT NOT NULL,
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  payload_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  attempt INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  consumer TEXT,
  lease_until INTEGER,
  logged INTEGER NOT NULL,
  snoozes INTEGER NOT NULL,
  expires_at INTEGER,
  group_id TEXT,
  limit_keys TEXT,
  key TEXT,
  key_hold INTEGER,
  key_until INTEGER,
  key_latest INTEGER,
  key_conflict TEXT,
  parent_id TEXT,
  root_id TEXT,
  retry_of TEXT,
  traceparent TEXT,
  tags TEXT NOT NULL,
  progress TEXT,
  outcome TEXT,
  ledger TEXT NOT NULL,
  payload TEXT NOT NULL`

const counted = (t: Tables, row: "NEW" | "OLD", change: 1 | -1): string =>
  `INSERT INTO ${t.count} (queue, task, state, runs) VALUES (${row}.queue, ${row}.task, ${row}.state, ${change})
  ON CONFLICT (queue, task, state) DO UPDATE SET runs = runs + ${change};`

/** The first version of the tables. Each statement is one text. */
const version1 = (t: Tables): ReadonlyArray<string> => [
  // Unfinished runs only. Each index serves one question of a claim and holds only the rows that can answer it, so a claim
  // reads neither history nor runs that it may not take.
  `CREATE TABLE ${t.queue} (
  lane TEXT NOT NULL,
  rank INTEGER NOT NULL,
  was_scheduled INTEGER NOT NULL,
  cancel_reason TEXT,${runColumns}
)`,
  `CREATE INDEX ${t.queue}_next ON ${t.queue} (lane, rank, id) WHERE state = 'queued'`,
  `CREATE INDEX ${t.queue}_due ON ${t.queue} (task, queue, due_at) WHERE state = 'scheduled'`,
  `CREATE INDEX ${t.queue}_lease ON ${t.queue} (task, lease_until, consumer) WHERE state = 'running'`,
  `CREATE INDEX ${t.queue}_cancel ON ${t.queue} (id) WHERE cancel_reason IS NOT NULL`,

  // Ended runs. Newest first is the order of the primary key. Most runs are successes, and every index that they enter is
  // paid for at each settlement: among them the filters of a query are found by reading on, the others have indexes.
  `CREATE TABLE ${t.history} (${runColumns}
)`,
  `CREATE INDEX ${t.history}_state ON ${t.history} (state, id) WHERE state <> 'success'`,
  `CREATE INDEX ${t.history}_task ON ${t.history} (task, id)`,
  `CREATE INDEX ${t.history}_task_state ON ${t.history} (task, state, id) WHERE state <> 'success'`,
  `CREATE INDEX ${t.history}_group ON ${t.history} (group_id, id) WHERE group_id IS NOT NULL`,
  `CREATE INDEX ${t.history}_parent ON ${t.history} (parent_id, id) WHERE parent_id IS NOT NULL`,
  `CREATE INDEX ${t.history}_root ON ${t.history} (root_id, id) WHERE root_id IS NOT NULL`,

  // How many runs of the history are in each state: a history may be long, and counting it would stop the event loop. What
  // is added is counted by the statement that adds it, all of a batch at once; a trigger would run for each row.
  `CREATE TABLE ${t.count} (
  queue TEXT NOT NULL,
  task TEXT NOT NULL,
  state TEXT NOT NULL,
  runs INTEGER NOT NULL,
  PRIMARY KEY (queue, task, state)
) WITHOUT ROWID`,
  `CREATE TRIGGER ${t.history}_deleted AFTER DELETE ON ${t.history} BEGIN ${counted(t, "OLD", -1)} END`,
  `CREATE TRIGGER ${t.history}_updated AFTER UPDATE OF queue, task, state ON ${t.history}
WHEN (OLD.queue, OLD.task, OLD.state) <> (NEW.queue, NEW.task, NEW.state)
BEGIN ${counted(t, "OLD", -1)} ${counted(t, "NEW", 1)} END`,

  `CREATE TABLE ${t.log} (
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at INTEGER NOT NULL,
  level TEXT NOT NULL,
  message TEXT NOT NULL,
  annotations TEXT NOT NULL,
  spans TEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
) WITHOUT ROWID`,

  // Idempotency keys outlive the row in the queue. held_until NULL: while the run is unfinished, or for ever.
  `CREATE TABLE ${t.key} (
  task TEXT NOT NULL,
  key TEXT NOT NULL,
  run_id TEXT NOT NULL,
  held_until INTEGER,
  PRIMARY KEY (task, key)
)`,
  `CREATE INDEX ${t.key}_held ON ${t.key} (held_until) WHERE held_until IS NOT NULL`,

  `CREATE TABLE ${t.control} (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  held_until INTEGER,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID`,

  // What has passed a rate limit, and until when keys are held (see rateNames and heldName). Well after `until` a row says nothing.
  `CREATE TABLE ${t.rate} (
  name TEXT NOT NULL PRIMARY KEY,
  until INTEGER NOT NULL,
  used INTEGER NOT NULL
) WITHOUT ROWID`,
  `CREATE INDEX ${t.rate}_until ON ${t.rate} (until)`,

  `CREATE TABLE ${t.consumer} (
  id TEXT NOT NULL PRIMARY KEY,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  queues TEXT NOT NULL,
  tasks TEXT NOT NULL,
  max_concurrent_tasks INTEGER NOT NULL,
  running INTEGER NOT NULL,
  stopping INTEGER NOT NULL
) WITHOUT ROWID`
]

const statements = (texts: ReadonlyArray<string>): Effect.Effect<void, unknown, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.forEach(texts, (text) => sql.unsafe(text), { discard: true }))

/** All versions, in order; the number in the name is the version. A released one never changes. */
const migrations = (t: Tables): Record<string, Effect.Effect<void, unknown, SqlClient.SqlClient>> => ({
  "0001_tables": statements(version1(t))
})

const innermost = (cause: unknown): string =>
  Predicate.hasProperty(cause, "cause") && cause.cause !== undefined && cause.cause !== null
    ? innermost(cause.cause)
    : cause instanceof Error
      ? cause.message
      : String(cause)

const migrationFailed = (error: Migrator.MigrationError): SqlError =>
  new SqlError({ message: error.message, cause: new Error(`${error.message}: ${innermost(error)}`, { cause: error }) })

/**
 * The Migrator compares versions and writes in a deferred transaction of its own, which fails when several processes start
 * at once. Inside an immediate one, where it makes a savepoint, they come one after the other.
 */
const migrate = (database: Database, t: Tables) =>
  database.write("migrate", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.make({
        acquirer: Effect.succeed(database.connection),
        compiler: Statement.makeCompilerSqlite(),
        spanAttributes: []
      })
      yield* Migrator.make({})({ loader: Migrator.fromRecord(migrations(t)), table: t.migrations }).pipe(
        Effect.provideService(SqlClient.SqlClient, sql),
        Effect.provideService(SqlClient.TransactionConnection, [database.connection, 0])
      )
    }).pipe(
      Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
      Effect.withTracerEnabled(false),
      Effect.catchTag("MigrationError", (error) => Effect.fail(migrationFailed(error))),
      // a migration that fails is a defect of the Migrator
      Effect.catchSomeDefect((defect) =>
        defect instanceof Migrator.MigrationError ? Option.some(Effect.fail(migrationFailed(defect))) : Option.none()
      )
    )
  )

const version = Effect.fnUntraced(function* (database: Database, t: Tables) {
  const exists = yield* database.read("open", (run) =>
    run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [t.migrations])
  )
  if (exists.length === 0) {
    return 0
  }
  const [found] = yield* database.read("open", (run) =>
    run<{ readonly version: number | null }>(`SELECT max(migration_id) AS version FROM ${t.migrations}`)
  )
  return found?.version ?? 0
})

/** Brings the tables to the version that this code knows, and refuses to work on a later one. */
export const ensure = Effect.fnUntraced(function* (database: Database, t: Tables) {
  const known = Object.keys(migrations(t)).length
  const found = yield* version(database, t)
  if (found > known) {
    return yield* new SchemaVersionError({ backend, found, known })
  }
  if (found < known) {
    yield* migrate(database, t)
  }
})

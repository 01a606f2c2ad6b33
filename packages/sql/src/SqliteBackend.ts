/**
 * Broker and store in one SQLite file: durable tasks without a server.
 *
 * A run that was queued survives the process, a `kill -9` included, and every process that opens the file can perform it.
 * A settlement moves a run from the queue to the history in one transaction. The same database is open to the
 * application: what it queues inside `sql.withTransaction` is committed or rolled back with its own data.
 *
 * **Files.** SQLite's write-ahead log is used, so the file must be on a local disk, and `-wal` and `-shm` files stand beside
 * it. The directory must exist.
 *
 * **Several processes.** Each sees the others' commits after `watchInterval`. One of them writes at a time; the others wait,
 * and a wait of more than about five seconds is a transient `BackendError`.
 *
 * **One connection.** SQLite is called synchronously, and a transaction of the application holds the only connection of its
 * process: keep transactions short, and queries limited.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import type { Backend } from "@effect-tasks/core/Backend"
import type { BackendError, InvalidOption } from "@effect-tasks/core/TaskError"
import type { TaskTransaction } from "@effect-tasks/core/TaskTransaction"
import { Config, type ConfigError, Context, Duration, Effect, Either, Layer } from "effect"
import { rules } from "./internal/retention.js"
import * as Services from "./internal/services.js"
import * as backend from "./internal/sqlite/backend.js"
import * as Database from "./internal/sqlite/database.js"
import { fromSqlError } from "./internal/sqlite/errors.js"
import * as Migrate from "./internal/sqlite/migrate.js"
import { open } from "./internal/sqlite/open.js"
import { type Tables, tables } from "./internal/sqlite/schema.js"
import * as Transactions from "./internal/transactions.js"
import type { Retention } from "./Retention.js"
import type { SchemaVersionError } from "./SchemaVersion.js"

/**
 * Where the tables are.
 *
 * - `prefix`: what their names begin with (default `task_`)
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  readonly prefix?: string | undefined
}

/**
 * How the tables are used.
 *
 * - `migrate`: whether to bring the tables up to date at the start (default true). Without, tables that are behind are a
 *   `SchemaVersionError`
 * - `watchInterval`: how often to look for commits of other processes (default 25 ms; a quarter as often while
 *   there are none)
 * - `retention`: how long ended runs are kept (default: successes 7 days, other ends 30)
 *
 * @since 0.1.0
 * @category models
 */
export interface UseOptions extends Place {
  readonly migrate?: boolean | undefined
  readonly watchInterval?: Duration.DurationInput | undefined
  readonly retention?: Retention | undefined
}

/**
 * Where the database is, and how it is opened.
 *
 * - `filename`: the database file, made when it is not there, or `":memory:"`
 * - `synchronous`: `"normal"` (default) survives every crash of the process; a power loss may take the last commits, but
 *   never leaves a damaged file. `"full"` waits for the disk at each commit, and survives a power loss too
 * - `busyTimeout`: how long SQLite itself waits for another process's lock (default 50 ms). It blocks the event loop; the
 *   backend tries again by itself after that, and so does the beginning of `sql.withTransaction`
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  readonly filename: string
  readonly synchronous?: "normal" | "full" | undefined
  readonly busyTimeout?: Duration.DurationInput | undefined
}

/**
 * Where database and tables are, and how they are used.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends ConnectOptions, UseOptions {}

/**
 * What `layer` provides: the backend, its transactions, and the client of its database.
 *
 * @since 0.1.0
 * @category models
 */
export type Provided = Backend | TaskTransaction | SqlClient.SqlClient | SqliteClient.SqliteClient

/**
 * Why the backend may not start: the file cannot be opened or the tables not be made, they are of another version than this
 * program needs, or an option is out of its range.
 *
 * @since 0.1.0
 * @category models
 */
export type StartError = BackendError | SchemaVersionError | InvalidOption

/**
 * The state of the tables: the version that was found (0: there are none), the one that this program knows, and what is
 * pending.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = Migrate.Status

const defaults = {
  prefix: "task_",
  busyTimeout: Duration.millis(50),
  watchInterval: Duration.millis(25),
  pruneInterval: Duration.seconds(10)
}

const services = Effect.fnUntraced(function* (
  client: SqliteClient.SqliteClient,
  transactions: Transactions.Transactions,
  options: UseOptions
) {
  const { broker, store } = yield* backend.make({
    client,
    transactions,
    prefix: options.prefix ?? defaults.prefix,
    migrate: options.migrate ?? true,
    watchInterval: Duration.decode(options.watchInterval ?? defaults.watchInterval),
    rules: rules(options.retention),
    pruneInterval: defaults.pruneInterval
  })
  return Services.make({ broker, store, transactions, toBackendError: fromSqlError("transaction") })
})

const openClient = ({ busyTimeout, filename, synchronous }: ConnectOptions) =>
  open({
    filename,
    synchronous: synchronous ?? "normal",
    busyTimeout: Duration.decode(busyTimeout ?? defaults.busyTimeout)
  })

const openServices = Effect.fnUntraced(function* (options: Options) {
  const { client, transactions } = yield* openClient(options)
  return Context.add(yield* services(client, transactions, options), SqliteClient.SqliteClient, client).pipe(
    Context.add(SqlClient.SqlClient, client)
  )
})

/**
 * Opens the database, brings its tables up to date, and provides the backend and the client.
 *
 * The transactions of this client (`sql.withTransaction`) begin `IMMEDIATE`: they take the write lock at once, so they never
 * fail half way because another process wrote in between. When the layer closes, what is being written is finished first.
 *
 * @example
 * ```ts
 * import { SqliteBackend } from "@effect-tasks/sql"
 * import { Broker } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const broker = yield* Broker.Broker
 *   yield* Effect.log(`tasks wait in ${broker.name}`)
 * })
 *
 * export const main = program.pipe(Effect.provide(SqliteBackend.layer({ filename: "tasks.db" })))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Provided, StartError> => Layer.scopedContext(openServices(options))

/**
 * `layer`, with options from the configuration.
 *
 * @example
 * ```ts
 * import { SqliteBackend } from "@effect-tasks/sql"
 * import { Config } from "effect"
 *
 * export const Tasks = SqliteBackend.layerConfig({ filename: Config.string("TASKS_DATABASE") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<Provided, StartError | ConfigError.ConfigError> =>
  Layer.scopedContext(Effect.flatMap(Config.unwrap(options), openServices))

/**
 * The backend on a client that the application has opened itself. Its pragmas and its transactions stay as they are: set a
 * short `busy_timeout`, and note that a transaction which reads before it queues may fail while another process writes.
 * What is queued inside `sql.withTransaction` of such a client publishes its events at once; inside `TaskTransaction.run` it
 * does so at the commit.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (
  options: UseOptions = {}
): Layer.Layer<Backend | TaskTransaction, StartError, SqliteClient.SqliteClient> =>
  Layer.scopedContext(
    Effect.flatMap(SqliteClient.SqliteClient, (client) =>
      services(client, Transactions.make(client.withTransaction), options)
    )
  )

const tablesOf = ({ prefix }: Place) => tables(prefix ?? defaults.prefix)

/** Opens the database for one use. */
const withDatabase = <A, E>(
  options: ConnectOptions & Place,
  use: (database: Database.Database, names: Tables) => Effect.Effect<A, E>
): Effect.Effect<A, E | BackendError | InvalidOption> =>
  Effect.gen(function* () {
    const names = yield* tablesOf(options)
    const { client } = yield* openClient(options)
    return yield* use(yield* Database.make(client), names)
  }).pipe(Effect.scoped)

/**
 * The state of the tables. None is made or changed.
 *
 * @since 0.1.0
 * @category migrations
 */
export const status = (options: ConnectOptions & Place): Effect.Effect<Status, BackendError | InvalidOption> =>
  withDatabase(options, Migrate.status)

/**
 * Brings the tables up to date, and gives what was found before, with what was pending then. For deployments whose processes
 * do not change the tables themselves (`migrate: false`).
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate = (options: ConnectOptions & Place): Effect.Effect<Status, StartError> =>
  withDatabase(options, Migrate.migrate)

/**
 * The SQL of all migrations, in order, exactly as `migrate` applies it, for those who apply it by other means.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrations = (
  options: Place = {}
): Either.Either<
  ReadonlyArray<{ readonly version: number; readonly name: string; readonly sql: string }>,
  InvalidOption
> => Either.map(tablesOf(options), Migrate.migrations)

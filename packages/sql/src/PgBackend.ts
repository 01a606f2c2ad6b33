/**
 * Broker and store in a PostgreSQL database: durable tasks for any number of processes and machines.
 *
 * A run that was queued survives every process. What ends it moves it from the queue to the history in one transaction, and the
 * same round trip claims the next. The same database is open to the application: what it queues inside `sql.withTransaction` is
 * committed or rolled back with its own data.
 *
 * **Server.** PostgreSQL 13 or later. The tables stand in a schema of their own, which the first process makes.
 *
 * **Waking.** Processes wake each other by LISTEN and NOTIFY, on one more connection each; `pollInterval` stands behind it.
 *
 * **Poolers.** Behind a pooler that lends connections per transaction, say `listen: false` and `prepare: false`.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Backend } from "@effect-tasks/core/Backend"
import { type BackendError, InvalidOption } from "@effect-tasks/core/TaskError"
import type { TaskTransaction } from "@effect-tasks/core/TaskTransaction"
import { Config, type ConfigError, Context, Duration, Effect, Either, Layer, Redacted } from "effect"
import * as backend from "./internal/pg/backend.js"
import { driverOf } from "./internal/pg/driver.js"
import { cannotOpen, DriverError, fromSqlError } from "./internal/pg/errors.js"
import * as Migrate from "./internal/pg/migrate.js"
import { migrations as allMigrations } from "./internal/pg/migrations.js"
import * as Names from "./internal/pg/names.js"
import { open } from "./internal/pg/open.js"
import { rules } from "./internal/retention.js"
import * as Services from "./internal/services.js"
import * as Transactions from "./internal/transactions.js"
import type { Retention } from "./Retention.js"
import type { SchemaVersionError } from "./SchemaVersion.js"

/**
 * Where the tables are.
 *
 * - `schema`: the schema that holds them (default `effect_tasks`)
 * - `prefix`: what their names begin with (default `task_`)
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  readonly schema?: string | undefined
  readonly prefix?: string | undefined
}

/**
 * How the database is used.
 *
 * - `migrate`: whether to bring the schema up to date at the start (default true). Without, a schema that is behind is a
 *   `SchemaVersionError`
 * - `prepare`: whether statements are prepared by name (default true); not behind a pooler that lends connections per
 *   transaction
 * - `listen`: whether to listen for other processes (default true), which takes one connection of the pool for good
 * - `pollInterval`: after how long to look without having been woken (default 5 seconds; 1 second without `listen`)
 * - `serverClock`: whether leases and due times go by the server's clock (default true), so that machines need not agree
 * - `operationTimeout`: for how long to wait for an answer (default 15 seconds); then the connection is thought to be dead,
 *   and is closed
 * - `retention`: how long ended runs are kept (default 7 days for a success, 30 for every other end)
 *
 * @since 0.1.0
 * @category models
 */
export interface UseOptions extends Place {
  readonly migrate?: boolean | undefined
  readonly prepare?: boolean | undefined
  readonly listen?: boolean | undefined
  readonly pollInterval?: Duration.DurationInput | undefined
  readonly serverClock?: boolean | undefined
  readonly operationTimeout?: Duration.DurationInput | undefined
  readonly retention?: Retention | undefined
}

/**
 * Which database: a `url` (`postgres://user:password@host:5432/database`), or its parts, as `PgClient` takes them.
 * `maxConnections` is the size of the pool (default 10), to which the listening connection is added.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions
  extends Omit<PgClient.PgClientConfig, "url" | "transformQueryNames" | "transformResultNames" | "transformJson"> {
  readonly url?: string | Redacted.Redacted | undefined
}

/**
 * What `layer` takes.
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
export type Provided = Backend | TaskTransaction | SqlClient.SqlClient | PgClient.PgClient

/**
 * Why the backend may not start: the database cannot be reached or the schema not be made, it is of another version than this
 * program needs, or an option is out of its range.
 *
 * @since 0.1.0
 * @category models
 */
export type StartError = BackendError | SchemaVersionError | InvalidOption

/**
 * The state of a schema: the version that was found (0: there is none), the one that this program knows, and what is pending.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = Migrate.Status

const defaults = { schema: "effect_tasks", prefix: "task_", maxConnections: 10 }

const namesOf = ({ prefix, schema }: Place) => Names.names(schema ?? defaults.schema, prefix ?? defaults.prefix)

const services = Effect.fnUntraced(function* (
  client: PgClient.PgClient,
  transactions: Transactions.Transactions,
  options: UseOptions
) {
  const listen = options.listen ?? true
  const { broker, store } = yield* backend.make({
    client,
    transactions,
    schema: options.schema ?? defaults.schema,
    prefix: options.prefix ?? defaults.prefix,
    migrate: options.migrate ?? true,
    prepare: options.prepare ?? true,
    listen,
    pollInterval: Duration.decode(options.pollInterval ?? (listen ? "5 seconds" : "1 second")),
    serverClock: options.serverClock ?? true,
    timeout: Duration.decode(options.operationTimeout ?? "15 seconds"),
    retention: rules(options.retention)
  })
  return Services.make({ broker, store, transactions, toBackendError: fromSqlError("transaction") })
})

/** The client's part of the options. */
const configOf = (
  {
    listen,
    migrate,
    operationTimeout,
    pollInterval,
    prefix,
    prepare,
    retention,
    schema,
    serverClock,
    url,
    ...config
  }: Options,
  more: number
): PgClient.PgClientConfig => ({
  ...config,
  ...(url === undefined ? {} : { url: typeof url === "string" ? Redacted.make(url) : url }),
  maxConnections: (config.maxConnections ?? defaults.maxConnections) + more
})

const openServices = Effect.fnUntraced(function* (options: Options) {
  const { client, transactions } = yield* open(configOf(options, options.listen === false ? 0 : 1))
  return Context.add(yield* services(client, transactions, options), PgClient.PgClient, client).pipe(
    Context.add(SqlClient.SqlClient, client)
  )
})

/**
 * Connects, brings the schema up to date, and provides the backend and the client. Ten processes may start at once: one makes
 * the schema, the others wait for it.
 *
 * @example
 * ```ts
 * import * as PgBackend from "@effect-tasks/sql/PgBackend"
 * import { Broker } from "@effect-tasks/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const broker = yield* Broker.Broker
 *   yield* Effect.log(`tasks wait in ${broker.name}`)
 * })
 *
 * export const main = program.pipe(Effect.provide(PgBackend.layer({ url: "postgres://localhost/app" })))
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
 * import * as PgBackend from "@effect-tasks/sql/PgBackend"
 * import { Config } from "effect"
 *
 * export const Tasks = PgBackend.layerConfig({ url: Config.redacted("DATABASE_URL") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<Provided, StartError | ConfigError.ConfigError> =>
  Layer.scopedContext(Effect.flatMap(Config.unwrap(options), openServices))

/** Whoever listens on the only connection leaves none for the work. */
const roomForListening = ({ config }: PgClient.PgClient, { listen }: UseOptions): Effect.Effect<void, InvalidOption> =>
  listen !== false && config.maxConnections !== undefined && config.maxConnections < 2
    ? Effect.fail(
        new InvalidOption({
          option: "maxConnections",
          value: config.maxConnections,
          expected: "2 or more, as one connection listens; or say `listen: false`"
        })
      )
    : Effect.void

/**
 * The backend on a client that the application has opened itself. With `listen` one of its connections is taken for good.
 * What is queued inside `sql.withTransaction` of such a client publishes its events at once; inside `TaskTransaction.run` it
 * does so at the commit.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (
  options: UseOptions = {}
): Layer.Layer<Backend | TaskTransaction, StartError, PgClient.PgClient> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const client = yield* PgClient.PgClient
      yield* roomForListening(client, options)
      return yield* services(client, Transactions.make(client.withTransaction), options)
    })
  )

/** Uses one connection of a client of its own. */
const withDriver = <A, E>(
  options: ConnectOptions & Place,
  use: (driver: ReturnType<typeof driverOf>, names: Names.Names) => Effect.Effect<A, E>
): Effect.Effect<A, E | BackendError | InvalidOption> =>
  Effect.gen(function* () {
    const names = yield* namesOf(options)
    const { client } = yield* open(configOf({ ...options, maxConnections: 1 }, 0))
    const connection = yield* Effect.mapError(client.reserve, (error) =>
      cannotOpen(new DriverError(error.cause ?? error))
    )
    return yield* use(driverOf(connection), names)
  }).pipe(Effect.scoped)

/**
 * The state of the schema. Nothing is changed.
 *
 * @since 0.1.0
 * @category migrations
 */
export const status = (options: ConnectOptions & Place): Effect.Effect<Status, BackendError | InvalidOption> =>
  withDriver(options, Migrate.status)

/**
 * Brings the schema up to date, and gives what was found before, with what was pending then. For deployments whose processes
 * may not change the schema themselves (`migrate: false`).
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate = (options: ConnectOptions & Place): Effect.Effect<Status, StartError> =>
  withDriver(options, Migrate.migrate)

/**
 * The SQL of all migrations, in order, exactly as `migrate` applies it, for those who apply it by other means. The schema must
 * be there before.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrations = (
  options: Place = {}
): Either.Either<
  ReadonlyArray<{ readonly version: number; readonly name: string; readonly sql: string }>,
  InvalidOption
> => Either.map(namesOf(options), allMigrations)

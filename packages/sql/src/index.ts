/**
 * How long ended runs are kept.
 *
 * @since 0.1.0
 */
export * as Retention from "./Retention.js"
/**
 * The versions of the tables of a backend.
 *
 * @since 0.1.0
 */
export * as SchemaVersion from "./SchemaVersion.js"

/**
 * The PostgreSQL backend is a module of its own, `@effect-tasks/sql/PgBackend`: who does not use it need not install its driver.
 *
 * @since 0.1.0
 */
export * as SqliteBackend from "./SqliteBackend.js"

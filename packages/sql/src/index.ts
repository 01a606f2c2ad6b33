/**
 * @since 0.1.0
 */
export * as SqliteBackend from "./SqliteBackend.js"

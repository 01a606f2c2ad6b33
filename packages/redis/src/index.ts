/**
 * @since 0.1.0
 */
export * as RedisStream from "./RedisStream.js"

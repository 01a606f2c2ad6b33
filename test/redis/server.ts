/** The Redis server of the tests, and keys on it that nobody else uses. */

import { RedisStream } from "@effect-tasks/redis"
import { Effect, Redacted } from "effect"
import { Redis } from "ioredis"

const url = process.env.REDIS_URL ?? "redis://127.0.0.1:6379"

/** A connection of the test's own. */
export const connection = Effect.acquireRelease(
  Effect.sync(() => {
    const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: 1, retryStrategy: () => null })
    client.on("error", () => {})
    return client
  }),
  (client) => Effect.sync(() => client.disconnect())
).pipe(Effect.tap((client) => Effect.promise(() => client.connect())))

const isReachable = await Effect.runPromise(
  Effect.scoped(connection).pipe(
    Effect.as(true),
    Effect.catchAllCause((cause) =>
      process.env.CI === "true"
        ? Effect.failCause(cause)
        : Effect.as(
            Effect.sync(() => console.warn(`no Redis at ${url}: its tests are skipped`)),
            false
          )
    )
  )
)

/** Whether the tests that need the server are left out. */
export const isSkipped = !isReachable

let made = 0

/** The name of a stream that nobody else uses; it and its dead letters are deleted at the end of the scope. */
export const freshKey = Effect.acquireRelease(
  Effect.sync(() => `test:${process.pid}:${Date.now().toString(36)}:${++made}`),
  (key) => Effect.scoped(Effect.flatMap(connection, (client) => Effect.promise(() => client.del(key, `${key}:dead`))))
)

/** What a test does on the server itself. */
export const command = (...[name, ...args]: readonly [string, ...ReadonlyArray<string | number>]) =>
  Effect.scoped(Effect.flatMap(connection, (client) => Effect.promise(() => client.call(name, ...args))))

export const Live = RedisStream.layer({ url: Redacted.make(url) })

/** The same, with connections that the server tells apart from others by a name. */
export const named = (name: string) =>
  RedisStream.layer({ url: Redacted.make(`${url}?connectionName=${encodeURIComponent(name)}`) })

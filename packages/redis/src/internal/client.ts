import { BackendError } from "@effect-tasks/core/TaskError"
import { Effect, type Scope } from "effect"
import { Redis, type RedisOptions } from "ioredis"

/*
 * Connections to Redis, whose failures are values.
 */

/** Replies that say "not now" rather than "no". */
const passing = /^(LOADING|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|READONLY|NOGROUP|UNBLOCKED|OOM)\b/

/** A refusal by the server will not pass by itself; a broken connection will. */
export const toError = (operation: string, cause: unknown): BackendError => {
  const isReply = cause instanceof Error && cause.name === "ReplyError"
  return new BackendError({ backend: "redis", operation, transient: !isReply || passing.test(cause.message), cause })
}

/** Calls a command. */
export const call = (
  client: Redis,
  operation: string,
  command: string,
  ...args: ReadonlyArray<string | number>
): Effect.Effect<unknown, BackendError> =>
  Effect.tryPromise({
    try: () => client.call(command, ...args),
    catch: (cause) => toError(operation, cause)
  })

/** Runs a script over the keys. The server keeps the compiled text by its digest, so a text must be constant. */
export const run = (
  client: Redis,
  operation: string,
  script: string,
  keys: ReadonlyArray<string>,
  args: ReadonlyArray<string | number>
): Effect.Effect<unknown, BackendError> => call(client, operation, "EVAL", script, keys.length, ...keys, ...args)

const connected = (operation: string, make: () => Redis): Effect.Effect<Redis, BackendError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const client = make()
        // a failure is told of by the command that meets it
        client.on("error", () => {})
        return client
      },
      catch: (cause) => toError(operation, cause)
    }),
    (client) => Effect.sync(() => client.disconnect())
  ).pipe(
    Effect.tap((client) =>
      Effect.tryPromise({ try: () => client.connect(), catch: (cause) => toError(operation, cause) })
    )
  )

/** A connection for commands, which is made again when it breaks; a command that meets that is tried once more. */
export const connect = (url: string, options: RedisOptions) =>
  connected(
    "connect",
    () =>
      new Redis(url, {
        ...options,
        lazyConnect: true,
        maxRetriesPerRequest: 1,
        retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 10), 2_000)
      })
  )

/** A connection like another one, for commands that block. It is not made again: its end is the end of a pull. */
export const duplicate = (client: Redis) =>
  connected("connect to read", () =>
    client.duplicate({ lazyConnect: true, maxRetriesPerRequest: null, retryStrategy: () => null })
  )

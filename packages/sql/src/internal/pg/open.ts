import { Socket } from "node:net"
import * as Reactivity from "@effect/experimental/Reactivity"
import { make as makeClient, type PgClient, type PgClientConfig } from "@effect/sql-pg/PgClient"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Effect, type Scope } from "effect"
import { liveClock } from "../liveClock.js"
import * as Transactions from "../transactions.js"
import { cannotOpen, DriverError } from "./errors.js"

/** A connection on which nothing was said for so long is asked by the system whether the other side is there. */
const keepAliveDelay = 5_000

/** Opens a client for as long as the scope lasts, whose transactions tell of their end. */
export const open = Effect.fnUntraced(function* (
  config: PgClientConfig
): Effect.fn.Return<
  { readonly client: PgClient; readonly transactions: Transactions.Transactions },
  BackendError,
  Scope.Scope
> {
  const client = yield* makeClient({
    applicationName: "effect-tasks",
    connectTimeout: "10 seconds",
    stream: () => new Socket().setKeepAlive(true, keepAliveDelay),
    ...config
  }).pipe(
    Effect.mapError((error) => cannotOpen(new DriverError(error.cause ?? error))),
    // what is waited for is real: under a test's virtual clock the limit would never come
    Effect.withClock(liveClock),
    Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make)
  )
  const transactions = Transactions.make(client.withTransaction)
  return { client: Object.assign(client, { withTransaction: transactions.run }), transactions }
})

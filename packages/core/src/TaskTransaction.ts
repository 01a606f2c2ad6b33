/**
 * Queueing, and completing, in the application's own transaction.
 *
 * A backend that stands in a database can commit a run together with the application's data. One that cannot does not
 * provide this service, and a program that asks for it does not compile on it.
 *
 * @since 0.1.0
 */
import { Context, Effect } from "effect"
import type { BackendError } from "./TaskError.js"

/**
 * The transactions of the database that a backend stands in.
 *
 * @since 0.1.0
 * @category services
 */
export class TaskTransaction extends Context.Tag("@effect-tasks/core/TaskTransaction")<
  TaskTransaction,
  {
    /** See `run`. */
    readonly run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | BackendError, R>
  }
>() {}

/**
 * Runs an effect in a transaction of the backend's database. What it queues, and what it writes with the `SqlClient` of the
 * backend, is committed together when it succeeds, and undone together when it fails or is interrupted. Events and wake-ups
 * of what it has queued come at the commit.
 *
 * Inside a transaction of the same client it is a part of that one.
 *
 * @example
 * ```ts
 * import { Task, TaskTransaction } from "@effect-tasks/core"
 * import { SqlClient } from "@effect/sql"
 * import { Effect, Schema } from "effect"
 *
 * const Welcome = Task.make("Welcome", { payload: { email: Schema.String } })
 *
 * export const signUp = (email: string) =>
 *   TaskTransaction.run(
 *     Effect.gen(function* () {
 *       const sql = yield* SqlClient.SqlClient
 *       yield* sql`INSERT INTO person (email) VALUES (${email})`
 *       yield* Welcome.queue({ email })
 *     })
 *   )
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const run = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | BackendError, R | TaskTransaction> =>
  Effect.flatMap(TaskTransaction, (transactions) => transactions.run(self))

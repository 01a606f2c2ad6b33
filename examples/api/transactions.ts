/* Queueing and completing together with the application's own data, on one database. */
import { SqlClient } from "@effect/sql"
import { Task, TaskTransaction } from "@effect-tasks/core"
import { Effect, Schema } from "effect"

export const Invoice = Task.make("Invoice", {
  payload: { order: Schema.Int, cents: Schema.Int },
  success: Schema.Struct({ number: Schema.Int })
})

export const createTables = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE shop_order (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL)`
  yield* sql`CREATE TABLE shop_invoice (number INTEGER PRIMARY KEY, order_id INTEGER NOT NULL)`
})

// The order and its run are committed together, or neither is. On a backend without transactions this does not compile.
export const placeOrder = (order: number, cents: number) =>
  TaskTransaction.run(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`INSERT INTO shop_order (id, cents) VALUES (${order}, ${cents})`
      if (cents < 0) return yield* Effect.fail("an order costs something" as const)
      return yield* Invoice.queue({ order, cents })
    })
  )

// The invoice is written in the same commit that ends the run, so there is one invoice, however often the run is tried.
export const InvoiceLive = Invoice.toLayer(({ order }) =>
  Invoice.completeWith(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql<{ readonly number: number }>`
        INSERT INTO shop_invoice (number, order_id)
        SELECT coalesce(max(number), 0) + 1, ${order} FROM shop_invoice RETURNING number`
      return { number: row?.number ?? 0 }
    }).pipe(Effect.orDie)
  )
)

import { Schema } from "effect"

/** What a worker process is told to be, as its only argument. */
export const Orders = Schema.Struct({
  name: Schema.String,
  backend: Schema.Union(
    Schema.TaggedStruct("Sqlite", { filename: Schema.String }),
    Schema.TaggedStruct("Postgres", { url: Schema.String, schema: Schema.String })
  ),
  /** How far its clock is wrong, in milliseconds. */
  clockShift: Schema.optional(Schema.Int)
})

export type Orders = typeof Orders.Type

export type BackendOrders = Orders["backend"]

export const OrdersText = Schema.parseJson(Orders)

import type { SqlError } from "@effect/sql/SqlError"
import { Effect } from "effect"
import type { Run } from "./database.js"

/** Inserts all items, with as few statements as it takes. */
export type Insert<A> = (run: Run, items: ReadonlyArray<A>) => Effect.Effect<void, SqlError>

/**
 * The numbers of rows for which there is a statement. Rows go as parameters of a few fixed texts: that is four times as
 * quick as one JSON text which SQLite takes apart again.
 */
const sizes = [64, 8, 1] as const

/** Makes the insert into a table, of `values` in the order of the columns. */
export const make = <A>(options: {
  readonly into: string
  readonly columns: string
  readonly values: (item: A) => ReadonlyArray<unknown>
  readonly onConflict: string
}): Insert<A> => {
  const { columns, into, onConflict, values } = options
  const row = `(${columns.replaceAll(/\w+/g, "?")})`
  const statements = sizes.map((size) => ({
    size,
    text: `INSERT INTO ${into} (${columns}) VALUES ${Array(size).fill(row).join(", ")} ${onConflict}`
  }))
  return Effect.fnUntraced(function* (run, items) {
    let at = 0
    for (const { size, text } of statements) {
      for (; items.length - at >= size; at += size) {
        // plain loops: `flatMap` takes as long here as SQLite does
        const params: Array<unknown> = []
        for (let i = at; i < at + size; i++) {
          for (const value of values(items[i]!)) {
            params.push(value)
          }
        }
        yield* run(text, params)
      }
    }
  })
}

import { runColumnNames as columns } from "../rows.js"
import { type Column, columnTypes } from "./tables.js"

/**
 * Plans are made once per session, perhaps while the table was empty and everything looked cheap. These settings leave the
 * planner nothing but the way that is right when it is long: from the few given rows, by index, to the rows of the queue. Rows
 * are also locked in that order, which is the order in which they are given.
 *
 * Whoever waits for a lock does not see that its client is gone. So that those who asked again do not pile up on the server
 * behind a transaction that stays open, waiting ends before the client gives up (see `operationTimeout`).
 */
export const settings = `SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET lock_timeout = '10s'`

export const list = (names: ReadonlyArray<string>, from?: string): string =>
  names.map((name) => (from === undefined ? name : `${from}.${name}`)).join(", ")

/** The columns of a run as the result of a function: with names that no column has. */
export const resultColumns = columns.map((column) => `${column}_ ${columnTypes[column]}`).join(", ")

/** No values for these columns. */
export const nulls = (names: ReadonlyArray<Column>): string =>
  names.map((name) => `, NULL::${columnTypes[name]}`).join("")

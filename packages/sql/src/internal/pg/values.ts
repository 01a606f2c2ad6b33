import { rank } from "@effect-tasks/core/TaskPriority"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { queueColumnNames, queueValues, runColumnNames, runValues } from "../rows.js"

/*
 * How values travel. Many rows are one JSON parameter, so the texts of the statements are the same whatever their number.
 */

/** Times may have fractions, those of a jittered delay for example; nothing is due before its time. */
export const whole = (value: number): number => Math.ceil(value)

/** Rows as JSON objects, by the names of their columns. */
const toJson = (names: ReadonlyArray<string>, values: ReadonlyArray<unknown>): Record<string, unknown> => {
  const row: Record<string, unknown> = {}
  for (let i = 0; i < names.length; i++) {
    const value = values[i]
    if (value !== null) {
      row[names[i]!] = typeof value === "number" ? whole(value) : value
    }
  }
  return row
}

export const queueRow = (run: TaskRun.Encoded): Record<string, unknown> => ({
  ...toJson(queueColumnNames, queueValues(run)),
  was_scheduled: run.state === "scheduled"
})

export const queueRows = (runs: ReadonlyArray<TaskRun.Encoded>): string => JSON.stringify(runs.map(queueRow))

export const runRows = (runs: ReadonlyArray<TaskRun.Encoded>): string =>
  JSON.stringify(runs.map((run) => toJson(runColumnNames, runValues(run))))

/** What a settlement says of a run. */
export const settledRow = (run: TaskRun.Encoded) => ({
  id: run.id,
  rank: whole(rank(run.dueAt, run.priority)),
  state: run.state,
  due_at: whole(run.dueAt),
  started_at: run.startedAt === null ? null : whole(run.startedAt),
  ended_at: run.endedAt === null ? null : whole(run.endedAt),
  attempt: run.attempt,
  crashes: run.crashes,
  snoozes: run.snoozes,
  fence: run.fence,
  consumer: run.consumer,
  lease_until: run.leaseUntil === null ? null : whole(run.leaseUntil),
  logged: run.logged,
  progress: run.progress,
  outcome: run.outcome,
  ledger: run.ledger
})

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Whether an id can be that of a run here. PostgreSQL knows other ways to write a UUID, but ids are compared as texts. */
export const isUuid = (id: string): boolean => uuid.test(id)

/** An array of UUIDs. */
export const uuids = (ids: ReadonlyArray<string>): string => `{${ids.filter(isUuid).join(",")}}`

/** An array of texts. */
export const texts = (values: ReadonlyArray<string>): string =>
  `{${values.map((value) => `"${value.replaceAll(/["\\]/g, "\\$&")}"`).join(",")}}`

/** An array of numbers. */
export const numbers = (values: ReadonlyArray<number | null>): string =>
  `{${values.map((value) => value ?? "NULL").join(",")}}`

/*
 * A text of PostgreSQL cannot hold U+0000. The texts of JSON never do. In a log line, which nobody can correct any more, it is
 * written with a code point that no text should hold.
 */
const escape = "\ufdd0"

export const escaped = (text: string): string =>
  text.includes("\u0000") || text.includes(escape)
    ? text.replaceAll(escape, `${escape}1`).replaceAll("\u0000", `${escape}0`)
    : text

export const unescaped = (text: string): string =>
  text.includes(escape) ? text.replaceAll(`${escape}0`, "\u0000").replaceAll(`${escape}1`, escape) : text

import type { LogLine } from "@effect-tasks/core/Store"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect } from "effect"
import { type LogRow, logColumnNames, logValues, toLogLine } from "../logs.js"
import { type RunRow, runColumnNames, toRun } from "../rows.js"
import type { Run } from "./database.js"
import type { DriverError } from "./errors.js"
import type { Names } from "./names.js"
import { escaped, isUuid, unescaped, uuids } from "./values.js"

/** What broker and store do alike with records. */
export interface Records {
  /** The records of these runs, wherever they are. */
  readonly get: (run: Run, ids: ReadonlyArray<string>) => Effect.Effect<Map<string, TaskRun.Encoded>, DriverError>

  /** Log lines of a run, in order. */
  readonly logs: (
    run: Run,
    id: TaskRun.RunId,
    options: { readonly fromSeq: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<LogLine>, DriverError>
}

/** A log line as JSON. */
export const logRow = (line: LogLine): Record<string, unknown> => {
  const row: Record<string, unknown> = {}
  logValues(line).forEach((value, i) => {
    row[logColumnNames[i]!] = typeof value === "string" ? escaped(value) : value
  })
  return row
}

export const make = (t: Names): Records => {
  const get = {
    name: `${t.prefix}get`,
    text: `SELECT ${runColumnNames.map((column) => `${column}_`).join(", ")} FROM ${t.get}($1)`
  }
  const logs = {
    name: `${t.prefix}logs`,
    text: `SELECT ${logColumnNames.join(", ")} FROM ${t.log} WHERE run_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3`
  }
  return {
    get: (run, ids) =>
      Effect.map(run<RunRow>(get, [uuids(ids)]), (rows) => new Map(rows.map((row) => [row[0], toRun(row)]))),
    logs: (run, id, { fromSeq, limit }) =>
      isUuid(id)
        ? Effect.map(run<LogRow>(logs, [id, fromSeq, limit]), (rows) =>
            rows.map(([runId, seq, attempt, at, level, message, annotations, spans]) =>
              toLogLine([runId, seq, attempt, at, level, unescaped(message), unescaped(annotations), unescaped(spans)])
            )
          )
        : Effect.succeed([])
  }
}

import { LogLine } from "@effect-tasks/core/Store"
import type * as TaskRun from "@effect-tasks/core/TaskRun"

/** JSON of whatever a program gave as annotations: what JSON cannot hold becomes a text. */
const toJson = (value: unknown): string => {
  try {
    return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner))
  } catch {
    return JSON.stringify({ unserializable: String(value) })
  }
}

/** A log line as the driver takes it: the values of `logColumnNames`, in that order. */
export const logColumnNames = ["run_id", "seq", "attempt", "at", "level", "message", "annotations", "spans"] as const

export const logValues = (line: LogLine): ReadonlyArray<unknown> => [
  line.runId,
  line.seq,
  line.attempt,
  line.at,
  line.level,
  line.message,
  toJson(line.annotations),
  JSON.stringify(line.spans)
]

/** A log line as the driver gives it. */
export type LogRow = readonly [
  runId: TaskRun.RunId,
  seq: number,
  attempt: number,
  at: number,
  level: string,
  message: string,
  annotations: string,
  spans: string
]

export const toLogLine = ([runId, seq, attempt, at, level, message, annotations, spans]: LogRow): LogLine =>
  new LogLine(
    { runId, seq, attempt, at, level, message, annotations: JSON.parse(annotations), spans: JSON.parse(spans) },
    true
  )

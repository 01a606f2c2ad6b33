import type { LogLine } from "@effect-tasks/core/Store"
import type { TaskEvent } from "@effect-tasks/core/TaskEvent"
import * as TaskLogger from "@effect-tasks/core/TaskLogger"
import { DateTime, Inspectable, type LogLevel } from "effect"

/*
 * How log lines and events look in a file.
 */

/** What stands in a line of the file. */
export interface Entry {
  readonly at: number
  readonly level: string
  readonly run: string
  readonly task: string
  readonly message: string
  /** What is told of it besides, by name. */
  readonly fields: Record<string, unknown>
}

export const ofLine = ({ annotations, at, attempt, level, message, runId, spans }: LogLine, task: string): Entry => ({
  at,
  level,
  run: runId,
  task,
  message,
  fields: { attempt, ...(spans.length === 0 ? {} : { spans }), ...annotations }
})

/** An event as it stands in a log; nothing, when it is below the level. */
export const ofEvent = (event: TaskEvent, minLevel: LogLevel.LogLevel): Entry | undefined => {
  const { attempt, level, millis, reason } = TaskLogger.summarize(event)
  return level.ordinal < minLevel.ordinal
    ? undefined
    : {
        at: event.at,
        level: level.label,
        run: event.run.id,
        task: event.run.task,
        message: reason === null ? event.state : `${event.state}: ${reason}`,
        fields: { attempt, ...(millis === null ? {} : { millis }) }
      }
}

const timeOf = (at: number): string => DateTime.formatIso(DateTime.unsafeMake(at))

const asText = (value: unknown): string => Inspectable.toStringUnknown(value, 0)

/** One value of a line: a word as it is, everything else as JSON. */
const shown = (value: unknown): string =>
  typeof value === "string" && /^[^\s"=\p{Cc}]+$/u.test(value)
    ? value
    : asText(typeof value === "string" ? JSON.stringify(value) : value)

/** What follows a line break is set in, so that no message can look like a line of its own. */
const setIn = (text: string): string => text.replace(/\r\n|[\n\r\u0085\u2028\u2029]/g, "\n    ")

/** For people. The end of an id tells runs of the same moment apart. */
const toText = ({ at, fields, level, message, run, task }: Entry): string => {
  const more = Object.entries(fields).map(([name, value]) => ` ${shown(name)}=${shown(value)}`)
  return setIn(`[${timeOf(at)}] ${level} [${run.slice(-8)}] [${task}] ${message}${more.join("")}`)
}

/** For programs. What JSON cannot hold becomes a text. */
const toJson = ({ at, fields, level, message, run, task }: Entry): string => {
  const { attempt, ...annotations } = fields
  const head = { time: timeOf(at), level, run, task, attempt, message }
  const told = Object.entries(annotations)
  return JSON.stringify(
    told.length === 0
      ? head
      : { ...head, annotations: Object.fromEntries(told.map(([name, value]) => [name, asJson(value)])) }
  )
}

const asJson = (value: unknown): unknown => {
  try {
    JSON.stringify(value)
    return value
  } catch {
    return asText(value)
  }
}

export const format = (entry: Entry, as: "text" | "json"): string =>
  `${as === "json" ? toJson(entry) : toText(entry)}\n`

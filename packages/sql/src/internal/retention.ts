import { Final } from "@effect-tasks/core/TaskState"
import { Duration } from "effect"
import type { Keep, Retention } from "../Retention.js"

/**
 * How long the ended runs in one state are kept, in milliseconds (`null`: for ever): those of one task, or those of all tasks
 * but some.
 */
export interface Rule {
  readonly state: Final
  readonly task: string | null
  readonly exceptTasks: ReadonlyArray<string>
  readonly millis: number | null
}

const millisOf = (keep: Keep): number | null => {
  const millis = keep === "forever" ? Number.POSITIVE_INFINITY : Duration.toMillis(keep)
  return Number.isFinite(millis) ? Math.ceil(millis) : null
}

const defaultOf = (state: Final): Keep => (state === "success" ? "7 days" : "30 days")

/** The rules of a retention: exactly one holds for each ended run. */
export const rules = (retention: Retention = {}): ReadonlyArray<Rule> =>
  Final.literals.flatMap((state) => {
    const ofTasks = Object.entries(retention.tasks ?? {}).flatMap(([task, byState]): ReadonlyArray<Rule> => {
      const keep = byState[state]
      return keep === undefined ? [] : [{ state, task, exceptTasks: [], millis: millisOf(keep) }]
    })
    return [
      ...ofTasks,
      {
        state,
        task: null,
        exceptTasks: ofTasks.map(({ task }) => task ?? ""),
        millis: millisOf(retention[state] ?? defaultOf(state))
      }
    ]
  })

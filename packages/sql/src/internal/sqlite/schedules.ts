import type { SqlError } from "@effect/sql/SqlError"
import type { ScheduleChange } from "@effect-tasks/core/Scheduling"
import { Effect } from "effect"
import { scheduleColumnNames, scheduleValues } from "../schedules.js"
import type { Run } from "./database.js"
import { insertQueue } from "./rows.js"
import type { Tables } from "./schema.js"

/** Makes the part of a transaction that writes schedules, each if its record is the expected one, with their runs. */
export const makeChange = (t: Tables) => {
  const queue = insertQueue(t.queue)
  const columns = scheduleColumnNames.join(", ")
  const marks = scheduleColumnNames.map(() => "?").join(", ")
  const add = `INSERT INTO ${t.schedule} (${columns}) VALUES (${marks}) ON CONFLICT (name) DO NOTHING RETURNING 1`
  const change = `UPDATE ${t.schedule} SET (${columns}) = (${marks}) WHERE name = ? AND revision = ? RETURNING 1`

  return Effect.fnUntraced(function* (
    run: Run,
    changes: ReadonlyArray<ScheduleChange>
  ): Effect.fn.Return<ReadonlyArray<boolean>, SqlError> {
    const written: Array<boolean> = []
    for (const { expected, runs, schedule } of changes) {
      const values = scheduleValues(schedule).map((value) => (typeof value === "boolean" ? Number(value) : value))
      const rows =
        expected === null ? yield* run(add, values) : yield* run(change, [...values, schedule.name, expected])
      written.push(rows.length > 0)
      if (rows.length > 0) {
        yield* queue(run, runs)
      }
    }
    return written
  })
}

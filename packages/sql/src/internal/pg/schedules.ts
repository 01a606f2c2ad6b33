import type { Broker, Signal } from "@effect-tasks/core/Broker"
import type { ScheduleChange } from "@effect-tasks/core/Scheduling"
import type { Store } from "@effect-tasks/core/Store"
import { Effect } from "effect"
import { scheduleColumnNames as columns, type ScheduleRow, scheduleValues, toSchedule } from "../schedules.js"
import type { Database } from "./database.js"
import type { Names } from "./names.js"
import { list, settings } from "./texts.js"
import { queueRow, whole } from "./values.js"

/**
 * Writes schedules, each if its record is the expected one, and queues the runs of those that were written. The records are
 * locked first, in the order of their names, so nobody waits in a circle, and what is compared is what was committed last.
 */
export const makeFire = (
  t: Names
): string => `CREATE FUNCTION ${t.fire}(p_changes json, p_runs json) RETURNS TABLE (name_ text)
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_names text[];
BEGIN
  PERFORM 1 FROM ${t.schedule} AS schedule JOIN json_to_recordset(p_changes) AS given (name text)
    ON schedule.name = given.name ORDER BY schedule.name FOR UPDATE OF schedule;
  WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(p_changes) AS given (
      expected bigint, name text, revision bigint, created_at bigint, paused boolean, next_tick bigint, waiting_tick bigint,
      last_tick bigint, last_run_id uuid, task text, scope text, unfinished text, spec text, run text, declared text
    )
  ), added AS (
    INSERT INTO ${t.schedule} (${list(columns)})
    SELECT ${list(columns)} FROM given WHERE expected IS NULL ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO NOTHING RETURNING name
  ), changed AS (
    UPDATE ${t.schedule} AS schedule SET ${columns.map((column) => `${column} = given.${column}`).join(", ")}
    FROM given WHERE schedule.name = given.name AND schedule.revision = given.expected RETURNING schedule.name
  )
  SELECT array_agg(name) INTO v_names FROM (SELECT name FROM added UNION ALL SELECT name FROM changed) AS written;
  IF p_runs IS NOT NULL THEN
    PERFORM ${t.enqueue}((
      SELECT json_agg(given.run -> 'run') FROM json_array_elements(p_runs) AS given (run) WHERE given.run ->> 'schedule' = ANY (v_names)
    ));
  END IF;
  RETURN QUERY SELECT unnest(v_names);
END $body$;`

interface Parts {
  readonly database: Database
  readonly names: Names
  readonly tell: (signals: ReadonlyArray<Signal>) => Effect.Effect<void>
}

const changeRow = ({ expected, schedule }: ScheduleChange) => ({
  expected,
  ...Object.fromEntries(
    scheduleValues(schedule).map((value, i) => [columns[i], typeof value === "number" ? whole(value) : value])
  )
})

/** Makes the operations that write schedules. */
export const makeWriting = ({
  database,
  names,
  tell
}: Parts): Pick<typeof Broker.Service, "fire" | "putSchedules" | "removeSchedules"> => {
  const fire = { name: `${names.prefix}fire`, text: `SELECT name_ FROM ${names.fire}($1, $2)` }
  const remove = {
    name: `${names.prefix}remove_schedules`,
    text: `DELETE FROM ${names.schedule} WHERE name IN (SELECT json_array_elements_text($1)) RETURNING name`
  }
  const write = (operation: string, changes: ReadonlyArray<ScheduleChange>, more: ReadonlyArray<Signal>) => {
    const runs = changes.flatMap(({ runs, schedule: { name } }) =>
      runs.map((run) => ({ schedule: name, run: queueRow(run) }))
    )
    return database
      .call<readonly [name: string]>(operation, fire, [
        JSON.stringify(changes.map(changeRow)),
        runs.length === 0 ? null : JSON.stringify(runs)
      ])
      .pipe(
        Effect.map((rows) => {
          const written = new Set(rows.map(([name]) => name))
          return changes.map(({ schedule }) => written.has(schedule.name))
        }),
        Effect.tap((written) =>
          tell(changes.some(({ runs }, i) => written[i] && runs.length > 0) ? [...more, { _tag: "Work" }] : more)
        )
      )
  }
  return {
    fire: (changes) => write("fire", changes, []),
    putSchedules: (changes) => write("putSchedules", changes, [{ _tag: "Schedules" }]),
    removeSchedules: (given) =>
      database.call("removeSchedules", remove, [JSON.stringify(given)]).pipe(
        Effect.map((rows) => rows.length),
        Effect.zipLeft(tell([{ _tag: "Schedules" }]))
      )
  }
}

/** Makes the operation that reads schedules. */
export const makeReading = ({
  database,
  names
}: Pick<Parts, "database" | "names">): Pick<typeof Store.Service, "schedules"> => {
  const all = {
    name: `${names.prefix}schedules`,
    text: `SELECT ${list(columns)} FROM ${names.schedule} ORDER BY name`
  }
  return {
    schedules: Effect.map(database.call<ScheduleRow>("schedules", all, []), (rows) => rows.map(toSchedule))
  }
}

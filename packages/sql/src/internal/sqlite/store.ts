import type { QueueStats, Store } from "@effect-tasks/core/Store"
import type { TaskState } from "@effect-tasks/core/TaskState"
import { Effect, Option } from "effect"
import { type RunRow, toRun } from "../rows.js"
import { type ScheduleRow, scheduleColumnNames, toSchedule } from "../schedules.js"
import type { Signals } from "../signals.js"
import { type ConsumerRow, insertConsumers, toConsumer } from "./consumers.js"
import type { Database } from "./database.js"
import { countsText, countText, runsText } from "./queries.js"
import type { Records } from "./records.js"
import type { Tables } from "./schema.js"

interface Parts {
  readonly database: Database
  readonly tables: Tables
  readonly records: Records
  readonly signals: Signals
}

const recording = ({ database, records, signals, tables }: Parts): Pick<typeof Store.Service, "record"> => {
  const knownFences = `SELECT id, fence FROM ${tables.history} WHERE id IN (SELECT value FROM json_each(:ids))`
  return {
    record: (entries) =>
      database
        .write(
          "record",
          Effect.fnUntraced(function* (run) {
            const ids = JSON.stringify(entries.map((entry) => entry.run.id))
            const rows = yield* run<{ readonly id: string; readonly fence: number }>(knownFences, [{ ids }])
            const known = new Map(rows.map(({ fence, id }) => [id, fence]))
            const runs = entries.map((entry) => entry.run)
            // an older record must not free the key that a newer one holds
            yield* records.remember(
              run,
              runs.filter(({ fence, id }) => (known.get(id) ?? fence) <= fence),
              (id) => known.has(id)
            )
            yield* records.appendLogs(
              run,
              entries.flatMap(({ logs }) => logs)
            )
            return runs.map(({ id }) => id)
          })
        )
        .pipe(Effect.map(signals.ended))
  }
}

const querying = ({
  database,
  records,
  tables
}: Parts): Pick<typeof Store.Service, "get" | "runs" | "count" | "counts" | "logs" | "appendLogs"> => ({
  get: (ids) =>
    Effect.map(
      database.read("get", (run) => records.get(run, ids)),
      (found) => ids.map((id) => Option.fromNullable(found.get(id)))
    ),
  runs: (query) => {
    const text = runsText(tables, query)
    return text === ""
      ? Effect.succeed([])
      : Effect.map(
          database.read("runs", (run) => run.values<RunRow>(text, [{ ...query }])),
          (rows) => rows.map((row) => toRun(row))
        )
  },
  count: (filter) => {
    const text = countText(tables, filter)
    return text === ""
      ? Effect.succeed(0)
      : Effect.map(
          database.read("count", (run) => run<{ readonly runs: number | null }>(text, [{ ...filter }])),
          (rows) => rows.reduce((sum, { runs }) => sum + (runs ?? 0), 0)
        )
  },
  counts: (query) =>
    Effect.map(
      database.read("counts", (run) =>
        run<{ readonly state: TaskState; readonly runs: number | null }>(countsText(tables, query), [{ ...query }])
      ),
      (rows) =>
        Object.fromEntries(rows.flatMap(({ runs, state }) => (runs !== null && runs > 0 ? [[state, runs]] : [])))
    ),
  logs: (id, options) => database.read("logs", (run) => records.logs(run, id, options)),
  appendLogs: (lines) =>
    lines.length === 0 ? Effect.void : database.write("appendLogs", (run) => records.appendLogs(run, lines))
})

/** All unfinished runs are read for it, so it is for those who ask now and then. */
const queues = ({ database, tables }: Parts): Pick<typeof Store.Service, "queues"> => ({
  queues: database.read("queues", (run) =>
    run<QueueStats>(`SELECT queue, sum(state = 'queued') AS queued, sum(state = 'scheduled') AS scheduled,
  sum(state = 'running') AS running, min(CASE WHEN state <> 'running' THEN due_at END) AS oldestDueAt
FROM ${tables.queue} GROUP BY queue`)
  )
})

const removing = ({ database, records }: Parts): Pick<typeof Store.Service, "remove"> => ({
  remove: (ids) => (ids.length === 0 ? Effect.succeed(0) : database.write("remove", (run) => records.remove(run, ids)))
})

const consumers = ({
  database,
  tables
}: Parts): Pick<typeof Store.Service, "putConsumers" | "removeConsumers" | "consumers"> => {
  const put = insertConsumers(tables.consumer)
  const remove = `DELETE FROM ${tables.consumer} WHERE id IN (SELECT value FROM json_each(?))`
  const all = `SELECT * FROM ${tables.consumer} ORDER BY started_at, id`
  return {
    putConsumers: (list) => database.write("putConsumers", (run) => put(run, list)),
    removeConsumers: (ids) =>
      Effect.asVoid(database.write("removeConsumers", (run) => run(remove, [JSON.stringify(ids)]))),
    consumers: Effect.map(
      database.read("consumers", (run) => run<ConsumerRow>(all)),
      (rows) => rows.map(toConsumer)
    )
  }
}

const schedules = ({ database, tables }: Parts): Pick<typeof Store.Service, "schedules"> => {
  const all = `SELECT ${scheduleColumnNames.join(", ")} FROM ${tables.schedule} ORDER BY name`
  return {
    schedules: Effect.map(
      database.read("schedules", (run) => run.values<ScheduleRow>(all, [])),
      (rows) => rows.map(toSchedule)
    )
  }
}

/** Makes the store. */
export const make = (parts: Parts): typeof Store.Service => ({
  ...recording(parts),
  ...querying(parts),
  ...queues(parts),
  ...removing(parts),
  ...consumers(parts),
  ...schedules(parts)
})

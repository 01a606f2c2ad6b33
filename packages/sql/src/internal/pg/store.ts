import { ConsumerRecord, type Store } from "@effect-tasks/core/Store"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import type { TaskState } from "@effect-tasks/core/TaskState"
import { Effect, Option } from "effect"
import { logColumnNames } from "../logs.js"
import { type RunRow, toRun } from "../rows.js"
import type { Database, Run } from "./database.js"
import type { Names } from "./names.js"
import type { Notifier } from "./notifier.js"
import { countQuery, countsQuery, runsQuery } from "./queries.js"
import { logRow, type Records } from "./records.js"
import * as Schedules from "./schedules.js"
import { isUuid, runRows, uuids } from "./values.js"

interface Parts {
  readonly database: Database
  readonly names: Names
  readonly records: Records
  readonly notifier: Notifier
}

type Service = typeof Store.Service

const makeAppendLogs = (t: Names) => {
  const statement = {
    name: `${t.prefix}append_logs`,
    text: `INSERT INTO ${t.log} (${logColumnNames.join(", ")})
SELECT ${logColumnNames.join(", ")} FROM json_to_recordset($1) AS line (
  run_id uuid, seq int, attempt int, at bigint, level text, message text, annotations text, spans text
) ON CONFLICT (run_id, seq) DO NOTHING`
  }
  return (run: Run, lines: Parameters<Service["appendLogs"]>[0]) => run(statement, [JSON.stringify(lines.map(logRow))])
}

/** Of several records of one run in a call, the one that stands: the highest fence, and of equal ones the last. */
const standing = (runs: ReadonlyArray<TaskRun.Encoded>): ReadonlyArray<TaskRun.Encoded> => {
  const best = new Map<string, TaskRun.Encoded>()
  for (const run of runs) {
    if ((best.get(run.id)?.fence ?? run.fence) <= run.fence) {
      best.set(run.id, run)
    }
  }
  return Array.from(best.values()).sort((a, b) => (a.id < b.id ? -1 : 1))
}

const recording = ({ database, names, notifier }: Parts): Pick<Service, "record" | "appendLogs"> => {
  const record = { name: `${names.prefix}record`, text: `SELECT ${names.record}($1)` }
  const appendLogs = makeAppendLogs(names)
  return {
    record: (entries) => {
      const runs = entries.map(({ run }) => run)
      const lines = entries.flatMap(({ logs }) => logs)
      const rows = runRows(standing(runs))
      const recorded =
        lines.length === 0
          ? database.call("record", record, [rows])
          : database.write("record", (run) => Effect.zipRight(run(record, [rows]), appendLogs(run, lines)))
      return Effect.map(recorded, () => notifier.committed([{ _tag: "Ended", ids: runs.map(({ id }) => id) }]))
    },
    appendLogs: (lines) =>
      lines.length === 0 ? Effect.void : Effect.asVoid(database.read("appendLogs", (run) => appendLogs(run, lines)))
  }
}

const querying = ({
  database,
  names,
  records
}: Parts): Pick<Service, "get" | "runs" | "count" | "counts" | "logs"> => ({
  get: (ids) =>
    ids.some(isUuid)
      ? Effect.map(
          database.read("get", (run) => records.get(run, ids)),
          (found) => ids.map((id) => Option.fromNullable(found.get(id)))
        )
      : Effect.succeed(ids.map(() => Option.none())),
  runs: (query) => {
    const found = runsQuery(names, query)
    return found === undefined
      ? Effect.succeed([])
      : Effect.map(database.call<RunRow>("runs", { name: "", text: found.text }, found.values), (rows) =>
          rows.map((row) => toRun(row))
        )
  },
  count: (filter) => {
    const found = countQuery(names, filter)
    return found === undefined
      ? Effect.succeed(0)
      : Effect.map(
          database.call<readonly [runs: number]>("count", { name: "", text: found.text }, found.values),
          ([row]) => row?.[0] ?? 0
        )
  },
  counts: (query) => {
    const { text, values } = countsQuery(names, query)
    return Effect.map(
      database.call<readonly [state: TaskState, runs: number]>("counts", { name: "", text }, values),
      (rows) => Object.fromEntries(rows.filter(([, runs]) => runs > 0))
    )
  },
  logs: (id, options) => database.read("logs", (run) => records.logs(run, id, options))
})

const removing = ({ database, names }: Parts): Pick<Service, "remove"> => {
  const statement = { name: `${names.prefix}remove`, text: `SELECT ${names.remove}($1)` }
  return {
    remove: (ids) =>
      ids.some(isUuid)
        ? Effect.map(
            database.call<readonly [runs: number]>("remove", statement, [uuids(ids)]),
            ([row]) => row?.[0] ?? 0
          )
        : Effect.succeed(0)
  }
}

type QueueRow = readonly [queue: string, queued: number, scheduled: number, running: number, oldestDueAt: number | null]

/** All unfinished runs are read for it, so it is for those who ask now and then. */
const queues = ({ database, names }: Parts): Pick<Service, "queues"> => {
  const all = {
    name: `${names.prefix}queues`,
    text: `SELECT queue, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'scheduled'),
  count(*) FILTER (WHERE state = 'running'), min(due_at) FILTER (WHERE state <> 'running')
FROM ${names.queue} GROUP BY queue`
  }
  return {
    queues: Effect.map(database.call<QueueRow>("queues", all, []), (rows) =>
      rows.map(([queue, queued, scheduled, running, oldestDueAt]) => ({
        queue,
        queued,
        scheduled,
        running,
        oldestDueAt
      }))
    )
  }
}

type ConsumerRow = readonly [
  id: string,
  startedAt: number,
  seenAt: number,
  queues: string,
  tasks: string,
  maxConcurrentTasks: number,
  running: number,
  stopping: boolean
]

const toConsumer = ([id, startedAt, seenAt, queues, tasks, maxConcurrentTasks, running, stopping]: ConsumerRow) =>
  new ConsumerRecord(
    {
      id,
      startedAt,
      seenAt,
      queues: JSON.parse(queues),
      tasks: JSON.parse(tasks),
      maxConcurrentTasks,
      running,
      stopping
    },
    true
  )

const consumerColumns = "id, started_at, seen_at, queues, tasks, max_concurrent_tasks, running, stopping"

const consumers = ({ database, names }: Parts): Pick<Service, "putConsumers" | "removeConsumers" | "consumers"> => {
  const put = {
    name: `${names.prefix}put_consumers`,
    text: `INSERT INTO ${names.consumer} (${consumerColumns})
SELECT id, "startedAt", "seenAt", queues::text, tasks::text, "maxConcurrentTasks", running, stopping
FROM json_to_recordset($1) AS given (
  id text, "startedAt" bigint, "seenAt" bigint, queues json, tasks json, "maxConcurrentTasks" int, running int, stopping boolean
) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at, queues = excluded.queues,
  tasks = excluded.tasks, max_concurrent_tasks = excluded.max_concurrent_tasks, running = excluded.running,
  stopping = excluded.stopping`
  }
  const remove = {
    name: `${names.prefix}remove_consumers`,
    text: `DELETE FROM ${names.consumer} WHERE id IN (SELECT json_array_elements_text($1))`
  }
  const all = {
    name: `${names.prefix}consumers`,
    text: `SELECT ${consumerColumns} FROM ${names.consumer} ORDER BY started_at, id`
  }
  return {
    putConsumers: (list) => Effect.asVoid(database.call("putConsumers", put, [JSON.stringify(list)])),
    removeConsumers: (ids) => Effect.asVoid(database.call("removeConsumers", remove, [JSON.stringify(ids)])),
    consumers: Effect.map(database.call<ConsumerRow>("consumers", all, []), (rows) => rows.map(toConsumer))
  }
}

/** Makes the store. */
export const make = (parts: Parts): Service => ({
  ...recording(parts),
  ...querying(parts),
  ...removing(parts),
  ...queues(parts),
  ...consumers(parts),
  ...Schedules.makeReading(parts)
})

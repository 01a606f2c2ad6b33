import { rank } from "@effect-tasks/core/TaskPriority"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect } from "effect"
import { laneOf, queueColumnNames, queueValues, runColumnNames, runColumns, runValues } from "../rows.js"
import * as Insert from "./insert.js"

/** The columns of a run that has nothing in the others, as it is with most when they are queued. */
const bareColumns = `lane, rank, was_scheduled, id, task, queue, state, priority, payload_version, created_at, due_at,
  attempt, crashes, fence, logged, snoozes, tags, ledger, payload`

const bareValues = (run: TaskRun.Encoded): ReadonlyArray<unknown> => [
  laneOf(run.queue, run.task),
  rank(run.dueAt, run.priority),
  run.state === "scheduled" ? 1 : 0,
  run.id,
  run.task,
  run.queue,
  run.state,
  run.priority,
  run.payloadVersion,
  run.createdAt,
  run.dueAt,
  run.attempt,
  run.crashes,
  run.fence,
  run.logged,
  run.snoozes,
  run.tags.length === 0 ? "[]" : JSON.stringify(run.tags),
  run.ledger,
  run.payload
]

const isBare = (run: TaskRun.Encoded): boolean =>
  run.startedAt === null &&
  run.endedAt === null &&
  run.consumer === null &&
  run.leaseUntil === null &&
  run.group === null &&
  run.limitKeys === null &&
  run.expiresAt === null &&
  run.idempotency === null &&
  run.parentId === null &&
  run.rootId === null &&
  run.retryOf === null &&
  run.traceparent === null &&
  run.progress === null &&
  run.outcome === null

/**
 * A run that is there already is left as it is: the call that added it is repeated after its answer was lost. To bind the
 * empty columns would take a quarter of the time, so runs that have nothing in them go without.
 */
export const insertQueue = (table: string): Insert.Insert<TaskRun.Encoded> => {
  const onConflict = "ON CONFLICT (id) DO NOTHING"
  const whole = Insert.make({ into: table, columns: queueColumnNames.join(", "), values: queueValues, onConflict })
  const bare = Insert.make({ into: table, columns: bareColumns, values: bareValues, onConflict })
  return (run, items) => {
    const others = items.filter((item) => !isBare(item))
    return others.length === items.length
      ? whole(run, items)
      : Effect.zipRight(others.length === 0 ? Effect.void : whole(run, others), bare(run, items.filter(isBare)))
  }
}

const replaced = runColumnNames
  .slice(1)
  .map((column) => `${column} = excluded.${column}`)
  .join(", ")

/** The record with the higher fence stands; of two with the same fence, the later. */
export const insertHistory = (table: string): Insert.Insert<TaskRun.Encoded> =>
  Insert.make({
    into: table,
    columns: runColumns,
    values: runValues,
    onConflict: `ON CONFLICT (id) DO UPDATE SET ${replaced} WHERE excluded.fence >= ${table}.fence`
  })

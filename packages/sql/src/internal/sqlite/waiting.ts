import type { SqlError } from "@effect/sql/SqlError"
import type { Edit, EditResult } from "@effect-tasks/core/Operating"
import { edited } from "@effect-tasks/core/RunRecord"
import { QueueFull } from "@effect-tasks/core/TaskError"
import { rank } from "@effect-tasks/core/TaskPriority"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { isFinal } from "@effect-tasks/core/TaskState"
import { Effect } from "effect"
import { laneOf, laneOfRun } from "../rows.js"
import type { Run } from "./database.js"
import type { Records } from "./records.js"
import type { Tables } from "./schema.js"

/** Writes other records of runs that wait, in a transaction in which they were seen to. */
export type Change = (run: Run, changed: ReadonlyArray<TaskRun.Encoded>) => Effect.Effect<void, SqlError>

export const makeChange = (t: Tables): Change => {
  const change = `UPDATE ${t.queue} SET lane = :lane, rank = :rank, was_scheduled = :wasScheduled, state = :state,
  priority = :priority, due_at = :dueAt, limit_keys = :limitKeys, payload_version = :payloadVersion, payload = :payload
WHERE id = :id`
  return (run, changed) =>
    Effect.forEach(
      changed,
      (record) =>
        run(change, [
          {
            id: record.id,
            lane: laneOfRun(record),
            rank: rank(record.dueAt, record.priority),
            wasScheduled: record.state === "scheduled" ? 1 : 0,
            state: record.state,
            priority: record.priority,
            dueAt: record.dueAt,
            limitKeys: record.limitKeys,
            payloadVersion: record.payloadVersion,
            payload: record.payload
          }
        ]),
      { discard: true }
    )
}

/** Makes the part of a transaction that edits runs; the answers stand in the order of the ids. */
export const makeEdit = (t: Tables, records: Records) => {
  const change = makeChange(t)

  return Effect.fnUntraced(function* (run: Run, edit: Edit): Effect.fn.Return<ReadonlyArray<EditResult>, SqlError> {
    const found = yield* records.get(run, edit.ids)
    const changed = new Map<string, TaskRun.Encoded>()
    const results = edit.ids.map((id): EditResult => {
      const record = found.get(id)
      if (record === undefined) {
        return { _tag: "Unknown" }
      }
      if (isFinal(record.state)) {
        return { _tag: "Ended" }
      }
      if (record.state === "running") {
        return { _tag: "Running" }
      }
      const next = edited(record, edit)
      found.set(id, next)
      changed.set(id, next)
      return { _tag: "Edited", run: next, previous: record.state === "scheduled" ? "scheduled" : "queued" }
    })
    yield* change(run, Array.from(changed.values()))
    return results
  })
}

/** Makes the part of a transaction that asks whether more runs of a task than `maxQueued` would wait in a queue. */
export const makeFull = (t: Tables) => {
  const waiting = `SELECT (
  SELECT count(*) FROM (
    SELECT 1 FROM ${t.queue} WHERE state = 'queued' AND lane >= :lane AND lane < :lane || ' ' LIMIT :most
  )
) + (
  SELECT count(*) FROM (
    SELECT 1 FROM ${t.queue} WHERE state = 'scheduled' AND task = :task AND queue = :queue LIMIT :most
  )
) AS runs`

  return Effect.fnUntraced(function* (
    run: Run,
    added: ReadonlyArray<TaskRun.Encoded>,
    maxQueued: number
  ): Effect.fn.Return<QueueFull | undefined, SqlError> {
    const more = new Map<string, { readonly task: string; readonly queue: string; runs: number }>()
    for (const { queue, task } of added) {
      const lane = laneOf(queue, task)
      more.set(lane, { task, queue, runs: (more.get(lane)?.runs ?? 0) + 1 })
    }
    for (const [lane, { queue, runs, task }] of more) {
      const [found] = yield* run<{ readonly runs: number }>(waiting, [{ lane, task, queue, most: maxQueued + 1 }])
      if ((found?.runs ?? 0) + runs > maxQueued) {
        return new QueueFull({ task, queue, maxQueued })
      }
    }
    return undefined
  })
}

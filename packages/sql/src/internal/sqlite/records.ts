import type { SqlError } from "@effect/sql/SqlError"
import { keyHeldUntil } from "@effect-tasks/core/RunRecord"
import type { LogLine } from "@effect-tasks/core/Store"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect } from "effect"
import { type LogRow, logColumnNames, logValues, toLogLine } from "../logs.js"
import { laneOf, type RunRow, runColumns, toRun } from "../rows.js"
import type { Run } from "./database.js"
import * as Insert from "./insert.js"
import { insertHistory } from "./rows.js"
import type { Tables } from "./schema.js"

/** What broker and store do alike with records: each a part of a transaction. */
export interface Records {
  /** The records of these runs, wherever they are. */
  readonly get: (run: Run, ids: ReadonlyArray<string>) => Effect.Effect<Map<string, TaskRun.Encoded>, SqlError>

  /**
   * Writes ended runs into the history, and frees or keeps their idempotency keys. `isKnown` tells of those that are there
   * already.
   */
  readonly remember: (
    run: Run,
    ended: ReadonlyArray<TaskRun.Encoded>,
    isKnown?: (id: TaskRun.RunId) => boolean
  ) => Effect.Effect<void, SqlError>

  /** Removes ended runs and their log lines; gives how many there were. */
  readonly remove: (run: Run, ids: ReadonlyArray<string>) => Effect.Effect<number, SqlError>

  /** Adds log lines; one that is there stays as it is. */
  readonly appendLogs: Insert.Insert<LogLine>

  /** Log lines of a run, in order. */
  readonly logs: (
    run: Run,
    id: TaskRun.RunId,
    options: { readonly fromSeq: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<LogLine>, SqlError>
}

const insertLogs = (table: string): Insert.Insert<LogLine> =>
  Insert.make({
    into: table,
    columns: logColumnNames.join(", "),
    values: logValues,
    onConflict: "ON CONFLICT (run_id, seq) DO NOTHING"
  })

/** Makes the part of a transaction that frees or keeps the keys of ended runs. */
const makeEndKeys = (t: Tables) => {
  // :keys holds [task, key, run id, held until] of each
  const heldKeys = `FROM (
  SELECT value ->> 0 AS task, value ->> 1 AS key, value ->> 2 AS run_id, value ->> 3 AS until FROM json_each(:keys)
) AS held`
  const isHeld = `${t.key}.task = held.task AND ${t.key}.key = held.key AND ${t.key}.run_id = held.run_id`
  const keepKeys = `UPDATE ${t.key} SET held_until = held.until ${heldKeys} WHERE ${isHeld}`
  const freeKeys = `DELETE FROM ${t.key} WHERE rowid IN (
  SELECT ${t.key}.rowid ${heldKeys} CROSS JOIN ${t.key} WHERE ${isHeld}
)`

  return Effect.fnUntraced(function* (
    run: Run,
    ended: ReadonlyArray<TaskRun.Encoded>
  ): Effect.fn.Return<void, SqlError> {
    const free: Array<unknown> = []
    const keep: Array<unknown> = []
    for (const record of ended) {
      const until = record.idempotency === null ? null : keyHeldUntil(record)
      if (until !== null) {
        const changed = until === 0 ? free : keep
        changed.push([record.task, record.idempotency?.key, record.id, until])
      }
    }
    if (free.length > 0) {
      yield* run(freeKeys, [{ keys: JSON.stringify(free) }])
    }
    if (keep.length > 0) {
      yield* run(keepKeys, [{ keys: JSON.stringify(keep) }])
    }
  })
}

/** Makes the part of a transaction that counts what enters the history. */
const makeCount = (t: Tables) => {
  const count = `INSERT INTO ${t.count} (queue, task, state, runs)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:counts) WHERE true
ON CONFLICT (queue, task, state) DO UPDATE SET runs = runs + excluded.runs`

  return (run: Run, added: ReadonlyArray<TaskRun.Encoded>): Effect.Effect<unknown, SqlError> => {
    const counts = new Map<string, [queue: string, task: string, state: string, runs: number]>()
    for (const { queue, state, task } of added) {
      const key = `${laneOf(queue, task)}\u001f${state}`
      const counted = counts.get(key)
      if (counted === undefined) {
        counts.set(key, [queue, task, state, 1])
      } else {
        counted[3]++
      }
    }
    return counts.size === 0 ? Effect.void : run(count, [{ counts: JSON.stringify(Array.from(counts.values())) }])
  }
}

export const make = (t: Tables): Records => {
  const history = insertHistory(t.history)
  const count = makeCount(t)
  const appendLogs = insertLogs(t.log)
  const endKeys = makeEndKeys(t)

  const getText = `SELECT ${runColumns} FROM ${t.queue} WHERE id IN (SELECT value FROM json_each(:ids))
UNION ALL
SELECT ${runColumns} FROM ${t.history} WHERE id IN (SELECT value FROM json_each(:ids))`

  // the trigger of the table counts them
  const removeText = `DELETE FROM ${t.history} WHERE id IN (SELECT value FROM json_each(:ids)) RETURNING id`
  const removeLogs = `DELETE FROM ${t.log} WHERE run_id IN (SELECT value FROM json_each(:ids))`

  const logsText = `SELECT ${logColumnNames.join(", ")} FROM ${t.log} WHERE run_id = :id AND seq >= :fromSeq ORDER BY seq LIMIT :limit`

  return {
    get: (run, ids) =>
      Effect.map(run.values<RunRow>(getText, [{ ids: JSON.stringify(ids) }]), (rows) => {
        const found = new Map<string, TaskRun.Encoded>()
        for (const row of rows) {
          if (!found.has(row[0])) {
            found.set(row[0], toRun(row))
          }
        }
        return found
      }),
    remember: (run, ended, isKnown = () => false) =>
      history(run, ended).pipe(
        Effect.zipRight(
          count(
            run,
            ended.filter(({ id }) => !isKnown(id))
          )
        ),
        Effect.zipRight(endKeys(run, ended))
      ),
    remove: Effect.fnUntraced(function* (run, ids) {
      const removed = yield* run<{ readonly id: string }>(removeText, [{ ids: JSON.stringify(ids) }])
      if (removed.length > 0) {
        yield* run(removeLogs, [{ ids: JSON.stringify(removed.map(({ id }) => id)) }])
      }
      return removed.length
    }),
    appendLogs,
    logs: (run, id, { fromSeq, limit }) =>
      Effect.map(run.values<LogRow>(logsText, [{ id, fromSeq, limit }]), (rows) => rows.map(toLogLine))
  }
}

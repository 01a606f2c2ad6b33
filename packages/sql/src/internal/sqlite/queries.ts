import type { CountQuery, RunQuery } from "@effect-tasks/core/Store"
import { Final, type TaskState, Unfinished } from "@effect-tasks/core/TaskState"
import { runColumns } from "../rows.js"
import type { Tables } from "./schema.js"

const conditions: { readonly [Field in keyof RunQuery]?: string } = {
  task: "task = :task",
  queue: "queue = :queue",
  tag: "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)",
  group: "group_id = :group",
  parentId: "parent_id = :parentId",
  rootId: "root_id = :rootId",
  createdFrom: "created_at >= :createdFrom",
  createdTo: "created_at < :createdTo",
  before: "id < :before"
}

/**
 * The text of a query. It is a union of branches, each in the order of an index and cut at the limit, so that the newest
 * runs are found without sorting the history: one branch per state where the index begins with it. It is empty when the
 * query leaves no state.
 */
export const runsText = (t: Tables, query: RunQuery): string => {
  const filters = Object.entries(conditions).flatMap(([field, text]) =>
    query[field as keyof RunQuery] === undefined ? [] : [text]
  )
  const byRelation = (query.group ?? query.parentId ?? query.rootId) !== undefined
  const branch = (from: string, states: ReadonlyArray<TaskState>): string => {
    const [first, ...rest] = states.map((state) => `'${state}'`)
    const state = rest.length === 0 ? `state = ${first}` : `state IN (${[first, ...rest].join(", ")})`
    // the sign keeps SQLite from an index on the state where that would mean sorting all runs in these states
    const sign = from === t.history && (byRelation || rest.length > 0) ? "+" : ""
    // SQLite takes a partial index only where its condition is written out
    const isPartial = from === t.history && !states.includes("success") ? ["state <> 'success'"] : []
    const where = [`${sign}${state}`, ...isPartial, ...filters].join(" AND ")
    return `SELECT * FROM (SELECT ${runColumns} FROM ${from} WHERE ${where} ORDER BY id DESC LIMIT :limit)`
  }
  const wanted = (states: ReadonlyArray<TaskState>) =>
    states.filter((state) => query.state === undefined || query.state.includes(state))
  const waiting = wanted(Unfinished.literals).filter((state) => state !== "running")
  const ended = wanted(Final.literals)
  const byState = !byRelation && (query.task !== undefined || query.state !== undefined)
  const branches = [
    // few runs are running, and their index knows them
    ...wanted(["running"]).map((state) => branch(`${t.queue} INDEXED BY ${t.queue}_lease`, [state])),
    ...(waiting.length > 0 ? [branch(t.queue, waiting)] : []),
    ...(byState ? ended.map((state) => branch(t.history, [state])) : ended.length > 0 ? [branch(t.history, ended)] : [])
  ]
  return branches.length === 0 ? "" : `${branches.join("\nUNION ALL\n")}\nORDER BY id DESC LIMIT :limit`
}

/**
 * The text of a count. Waiting runs are counted lane by lane, as a lane is a range of the index and its name says queue and
 * task; those of the history are counted already.
 */
export const countsText = (t: Tables, query: CountQuery): string => {
  const where = (queue: string, task: string) =>
    [...(query.queue === undefined ? [] : [queue]), ...(query.task === undefined ? [] : [task])]
      .map((filter) => ` AND ${filter}`)
      .join("")
  const lanes = where(
    "substr(name, 1, instr(name, char(31)) - 1) = :queue",
    "substr(name, instr(name, char(31)) + 1) = :task"
  )
  const waiting = (state: "queued" | "scheduled") =>
    lanes === ""
      ? `SELECT '${state}' AS state, count(*) AS runs FROM ${t.queue} WHERE state = '${state}'`
      : `SELECT '${state}' AS state, (
  WITH RECURSIVE lane (name) AS (
    SELECT min(lane) FROM ${t.queue} WHERE state = '${state}'
    UNION ALL
    SELECT (SELECT min(lane) FROM ${t.queue} WHERE state = '${state}' AND lane > name) FROM lane WHERE name IS NOT NULL
  )
  SELECT sum((SELECT count(*) FROM ${t.queue} WHERE state = '${state}' AND lane = name)) FROM lane
  WHERE name IS NOT NULL${lanes}
) AS runs`
  const plain = where("queue = :queue", "task = :task")
  return `${waiting("queued")}
UNION ALL ${waiting("scheduled")}
UNION ALL SELECT 'running', count(*) FROM ${t.queue} WHERE state = 'running'${plain}
UNION ALL SELECT state, sum(runs) FROM ${t.count} WHERE true${plain} GROUP BY state`
}

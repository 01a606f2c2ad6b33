import type { CountQuery, RunQuery } from "@effect-tasks/core/Store"
import { Final, type TaskState, Unfinished } from "@effect-tasks/core/TaskState"
import { runColumns } from "../rows.js"
import type { Names } from "./names.js"
import { isUuid } from "./values.js"

/** A statement of which no two are alike, and its values. */
export interface Query {
  readonly text: string
  readonly values: ReadonlyArray<unknown>
}

const conditions: { readonly [Field in keyof RunQuery]?: (value: string) => string } = {
  task: (value) => `task = ${value}`,
  queue: (value) => `queue = ${value}`,
  // the first is quick and lets pass too much
  tag: (value) =>
    `position(to_json(${value}::text)::text IN tags) > 0 AND ${value} IN (SELECT json_array_elements_text(tags::json))`,
  group: (value) => `group_id = ${value}`,
  parentId: (value) => `parent_id = ${value}`,
  rootId: (value) => `root_id = ${value}`,
  createdFrom: (value) => `created_at >= ${value}`,
  createdTo: (value) => `created_at < ${value}`,
  before: (value) => `id < ${value}`
}

const ids = ["parentId", "rootId", "before"] as const

/** Nobody can have such an id or such a text. */
const isUnanswerable = (query: RunQuery): boolean =>
  ids.some((field) => query[field] !== undefined && !isUuid(query[field])) ||
  Object.values(query).some((value) => typeof value === "string" && value.includes("\u0000"))

/**
 * The statement of a query, or `undefined` when it can have no answer. It is a union of branches, each in the order of an index
 * and cut at the limit, so that the newest runs are found without sorting the history: one branch per state where the index
 * begins with it.
 */
export const runsQuery = (t: Names, query: RunQuery): Query | undefined => {
  if (isUnanswerable(query)) {
    return undefined
  }
  const values: Array<unknown> = [query.limit]
  const filters = Object.entries(conditions).flatMap(([field, text]) => {
    const value = query[field as keyof RunQuery]
    return value === undefined ? [] : [text(`$${values.push(value)}`)]
  })
  const byRelation = (query.group ?? query.parentId ?? query.rootId) !== undefined
  const branch = (from: string, states: ReadonlyArray<TaskState>): string => {
    const where = [`state IN (${states.map((state) => `'${state}'`).join(", ")})`, ...filters].join(" AND ")
    return `(SELECT ${runColumns} FROM ${from} WHERE ${where} ORDER BY id DESC LIMIT $1)`
  }
  const wanted = (states: ReadonlyArray<TaskState>) =>
    states.filter((state) => query.state === undefined || query.state.includes(state))
  const waiting = wanted(Unfinished.literals).filter((state) => state !== "running")
  const ended = wanted(Final.literals)
  const byState = !byRelation && (query.task !== undefined || query.state !== undefined)
  const branches = [
    ...wanted(["running"]).map((state) => branch(t.queue, [state])),
    ...(waiting.length > 0 ? [branch(t.queue, waiting)] : []),
    ...(byState ? ended.map((state) => branch(t.history, [state])) : ended.length > 0 ? [branch(t.history, ended)] : [])
  ]
  return branches.length === 0
    ? undefined
    : { text: `SELECT * FROM (${branches.join("\nUNION ALL\n")}) AS found\nORDER BY id DESC LIMIT $1`, values }
}

/**
 * The statement of a count. Waiting runs are counted lane by lane, as a lane is a range of the index and its name says queue and
 * task; those of the history are counted already.
 */
export const countsQuery = (t: Names, query: CountQuery): Query => {
  const values: Array<unknown> = []
  const queue = query.queue === undefined ? undefined : `$${values.push(query.queue)}`
  const task = query.task === undefined ? undefined : `$${values.push(query.task)}`
  const where = (queueColumn: string, taskColumn: string) =>
    (queue === undefined ? "" : ` AND ${queueColumn} = ${queue}`) +
    (task === undefined ? "" : ` AND ${taskColumn} = ${task}`)
  const lanes = where("split_part(name, chr(31), 1)", "split_part(name, chr(31), 2)")
  const waiting = (state: "queued" | "scheduled") =>
    lanes === ""
      ? `SELECT '${state}' AS state, count(*) AS runs FROM ${t.queue} WHERE state = '${state}'`
      : `SELECT '${state}' AS state, (
  WITH RECURSIVE lane (name) AS (
    SELECT min(lane) FROM ${t.queue} WHERE state = '${state}'
    UNION ALL
    SELECT (SELECT min(lane) FROM ${t.queue} WHERE state = '${state}' AND lane > name) FROM lane WHERE name IS NOT NULL
  )
  SELECT coalesce(sum((SELECT count(*) FROM ${t.queue} WHERE state = '${state}' AND lane = name)), 0)::bigint FROM lane
  WHERE name IS NOT NULL${lanes}
) AS runs`
  const plain = where("queue", "task")
  return {
    text: `${waiting("queued")}
UNION ALL ${waiting("scheduled")}
UNION ALL SELECT 'running', count(*) FROM ${t.queue} WHERE state = 'running'${plain}
UNION ALL SELECT state, sum(runs)::bigint FROM ${t.count} WHERE true${plain} GROUP BY state`,
    values
  }
}

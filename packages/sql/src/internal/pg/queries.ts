import type { CountQuery, RunFilter, RunQuery } from "@effect-tasks/core/Store"
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
  endedBefore: (value) => `ended_at < ${value}`,
  before: (value) => `id < ${value}`
}

const ids = ["parentId", "rootId", "before"] as const

/** Nobody can have such an id or such a text. */
const isUnanswerable = (query: RunQuery): boolean =>
  ids.some((field) => query[field] !== undefined && !isUuid(query[field])) ||
  Object.values(query).some((value) => typeof value === "string" && value.includes("\u0000"))

/** A part of what a query asks: a table, and which of its rows. */
interface Branch {
  readonly from: string
  readonly where: string
}

/** The parts of a query, and their values behind those given: one per state where an index begins with the state. */
const branchesOf = (t: Names, query: RunQuery, values: Array<unknown>): ReadonlyArray<Branch> => {
  const filters = Object.entries(conditions).flatMap(([field, text]) => {
    const value = query[field as keyof RunQuery]
    return value === undefined ? [] : [text(`$${values.push(value)}`)]
  })
  const byRelation = (query.group ?? query.parentId ?? query.rootId) !== undefined
  const branch = (from: string, states: ReadonlyArray<TaskState>): Branch => ({
    from,
    where: [`state IN (${states.map((state) => `'${state}'`).join(", ")})`, ...filters].join(" AND ")
  })
  const wanted = (states: ReadonlyArray<TaskState>) =>
    states.filter((state) => query.state === undefined || query.state.includes(state))
  const waiting = wanted(Unfinished.literals).filter((state) => state !== "running")
  const ended = wanted(Final.literals)
  const byState = !byRelation && (query.task !== undefined || query.state !== undefined)
  return [
    ...wanted(["running"]).map((state) => branch(t.queue, [state])),
    ...(waiting.length > 0 ? [branch(t.queue, waiting)] : []),
    ...(byState ? ended.map((state) => branch(t.history, [state])) : ended.length > 0 ? [branch(t.history, ended)] : [])
  ]
}

/**
 * The statement of a query, or `undefined` when it can have no answer. It is a union of branches, each in the order of an index
 * and cut at the limit, so that the newest runs are found without sorting the history.
 */
export const runsQuery = (t: Names, query: RunQuery): Query | undefined => {
  const values: Array<unknown> = [query.limit]
  const branches = isUnanswerable(query) ? [] : branchesOf(t, query, values)
  const texts = branches.map(
    ({ from, where }) => `(SELECT ${runColumns} FROM ${from} WHERE ${where} ORDER BY id DESC LIMIT $1)`
  )
  return texts.length === 0
    ? undefined
    : { text: `SELECT * FROM (${texts.join("\nUNION ALL\n")}) AS found\nORDER BY id DESC LIMIT $1`, values }
}

/** The statement that counts the runs of a filter, or `undefined` when there can be none. */
export const countQuery = (t: Names, filter: RunFilter): Query | undefined => {
  const values: Array<unknown> = []
  const query = { ...filter, limit: 0 }
  const branches = isUnanswerable(query) ? [] : branchesOf(t, query, values)
  const texts = branches.map(({ from, where }) => `(SELECT count(*) FROM ${from} WHERE ${where})`)
  return texts.length === 0 ? undefined : { text: `SELECT ${texts.join("\n+ ")}`, values }
}

/** How many runs of all lanes behind these first letters are queued. */
const queuedBehind = (t: Names, letters: string, end: string): string =>
  `SELECT count(*) FROM ${t.queue} WHERE state = 'queued' AND lane >= ${letters} AND lane < ${end}`

/** The names of the queues that have queued runs: each is found behind the one before. */
const queuesOf = (t: Names): string => `WITH RECURSIVE place (queue) AS (
    SELECT split_part(min(lane), chr(31), 1) FROM ${t.queue} WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT split_part(min(lane), chr(31), 1) FROM ${t.queue} WHERE state = 'queued' AND lane >= place.queue || ' ')
    FROM place WHERE queue IS NOT NULL
  )`

/** The names of the tasks that have scheduled runs. */
const tasksOf = (t: Names): string => `WITH RECURSIVE place (task) AS (
    SELECT min(task) FROM ${t.queue} WHERE state = 'scheduled'
    UNION ALL
    SELECT (SELECT min(task) FROM ${t.queue} WHERE state = 'scheduled' AND task > place.task) FROM place WHERE task IS NOT NULL
  )`

/**
 * The statement of a count. Waiting runs are counted in ranges of their indexes: the lanes of a queue, or of a task in one, are
 * a range, and so are the scheduled runs of a task. Those of the history are counted already.
 */
export const countsQuery = (t: Names, query: CountQuery): Query => {
  const values: Array<unknown> = []
  const queue = query.queue === undefined ? undefined : `$${values.push(query.queue)}::text`
  const task = query.task === undefined ? undefined : `$${values.push(query.task)}::text`
  const where = (queue === undefined ? "" : ` AND queue = ${queue}`) + (task === undefined ? "" : ` AND task = ${task}`)
  const queued = (): string => {
    if (queue !== undefined) {
      const lane = task === undefined ? queue : `${queue} || chr(31) || ${task}`
      return queuedBehind(t, `${lane} || ${task === undefined ? "chr(31)" : "''"}`, `${lane} || ' '`)
    }
    const lane = `place.queue || chr(31) || ${task}`
    return task === undefined
      ? `SELECT count(*) FROM ${t.queue} WHERE state = 'queued'`
      : `${queuesOf(t)} SELECT coalesce(sum((${queuedBehind(t, lane, `${lane} || ' '`)})), 0)::bigint
  FROM place WHERE queue IS NOT NULL`
  }
  const scheduled =
    queue !== undefined && task === undefined
      ? `${tasksOf(t)} SELECT coalesce(sum((
    SELECT count(*) FROM ${t.queue} AS run WHERE run.state = 'scheduled' AND run.task = place.task AND run.queue = ${queue}
  )), 0)::bigint FROM place WHERE task IS NOT NULL`
      : `SELECT count(*) FROM ${t.queue} WHERE state = 'scheduled'${where}`
  return {
    text: `SELECT 'queued' AS state, (${queued()}) AS runs
UNION ALL SELECT 'scheduled', (${scheduled})
UNION ALL SELECT 'running', count(*) FROM ${t.queue} WHERE state = 'running'${where}
UNION ALL SELECT state, sum(runs)::bigint FROM ${t.count} WHERE true${where} GROUP BY state`,
    values
  }
}

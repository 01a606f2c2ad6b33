import type { CountQuery, RunFilter, RunQuery } from "@effect-tasks/core/Store"
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
  endedBefore: "ended_at < :endedBefore",
  before: "id < :before"
}

/** The runs of one table in some states. */
interface Branch {
  readonly from: string
  readonly where: string
}

/**
 * The branches of a query, each in the order of an index, so that the newest runs are found without sorting the history: one
 * per state where the index begins with it. There is none when the query leaves no state.
 */
const branchesOf = (t: Tables, query: RunFilter): ReadonlyArray<Branch> => {
  const filters = Object.entries(conditions).flatMap(([field, text]) =>
    query[field as keyof RunFilter] === undefined ? [] : [text]
  )
  const byRelation = (query.group ?? query.parentId ?? query.rootId) !== undefined
  const branch = (from: string, states: ReadonlyArray<TaskState>): Branch => {
    const [first, ...rest] = states.map((state) => `'${state}'`)
    const state = rest.length === 0 ? `state = ${first}` : `state IN (${[first, ...rest].join(", ")})`
    // the sign keeps SQLite from an index on the state where that would mean sorting all runs in these states
    const isSorted = from === t.queue || (from === t.history && (byRelation || rest.length > 0))
    // SQLite takes a partial index only where its condition is written out
    const isPartial = from === t.history && !states.includes("success") ? ["state <> 'success'"] : []
    return { from, where: [`${isSorted ? "+" : ""}${state}`, ...isPartial, ...filters].join(" AND ") }
  }
  const wanted = (states: ReadonlyArray<TaskState>) =>
    states.filter((state) => query.state === undefined || query.state.includes(state))
  const waiting = wanted(Unfinished.literals).filter((state) => state !== "running")
  const ended = wanted(Final.literals)
  const byState = !byRelation && (query.task !== undefined || query.state !== undefined)
  return [
    // few runs are running, and their index knows them
    ...wanted(["running"]).map((state) => branch(`${t.queue} INDEXED BY ${t.queue}_lease`, [state])),
    ...(waiting.length > 0 ? [branch(t.queue, waiting)] : []),
    ...(byState ? ended.map((state) => branch(t.history, [state])) : ended.length > 0 ? [branch(t.history, ended)] : [])
  ]
}

/** The text of a query, each branch cut at the limit; it is empty when the query leaves no state. */
export const runsText = (t: Tables, query: RunQuery): string => {
  const branches = branchesOf(t, query).map(
    ({ from, where }) =>
      `SELECT * FROM (SELECT ${runColumns} FROM ${from} WHERE ${where} ORDER BY id DESC LIMIT :limit)`
  )
  return branches.length === 0 ? "" : `${branches.join("\nUNION ALL\n")}\nORDER BY id DESC LIMIT :limit`
}

/** Filters by which the runs are counted already, or by the ranges of an index. */
const counted: ReadonlySet<string> = new Set(["task", "queue", "state"])

/** The text that counts what a filter describes, in one or more rows of `runs`; it is empty when the filter leaves no state. */
export const countText = (t: Tables, filter: RunFilter): string => {
  const fields = Object.entries(filter).flatMap(([field, value]) => (value === undefined ? [] : [field]))
  const states = (filter.state ?? []).map((state) => `'${state}'`).join(", ")
  if (fields.every((field) => counted.has(field))) {
    return `SELECT runs FROM (${countsText(t, filter)})${filter.state === undefined ? "" : ` WHERE state IN (${states})`}`
  }
  return branchesOf(t, filter)
    .map(({ from, where }) => `SELECT count(*) AS runs FROM ${from} WHERE ${where}`)
    .join("\nUNION ALL\n")
}

/** The names of queues that have runs with a state, one after the other, by the first lane of each. */
const queuesWith = (t: Tables, state: string): string => `WITH RECURSIVE source (name) AS (
    SELECT substr(min(lane), 1, instr(min(lane), char(31)) - 1) FROM ${t.queue} WHERE state = '${state}'
    UNION ALL
    SELECT (
      SELECT substr(min(lane), 1, instr(min(lane), char(31)) - 1) FROM ${t.queue}
      WHERE state = '${state}' AND lane >= source.name || ' '
    ) FROM source WHERE name IS NOT NULL
  )`

/** How many runs are due. Those of a queue, or of a task in one, are a range of lanes; those of a task are one in each queue. */
const queuedText = (t: Tables, { queue, task }: CountQuery): string => {
  const count = `SELECT count(*) FROM ${t.queue} WHERE state = 'queued'`
  const within = (lanes: string) => `${count} AND lane >= ${lanes} AND lane < ${lanes} || ' '`
  if (queue !== undefined) {
    return within(task === undefined ? ":queue" : ":queue || char(31) || :task")
  }
  return task === undefined
    ? count
    : `${queuesWith(t, "queued")}
  SELECT sum((${within("source.name || char(31) || :task")})) FROM source WHERE name IS NOT NULL`
}

/** How many runs are not due yet. Those of a task are a range of an index, those of a queue one in each task. */
const scheduledText = (t: Tables, { queue, task }: CountQuery): string => {
  const count = `SELECT count(*) FROM ${t.queue} AS run WHERE run.state = 'scheduled'`
  if (queue === undefined || task !== undefined) {
    const ofTask = task === undefined ? "" : " AND run.task = :task"
    return `${count}${ofTask}${queue === undefined ? "" : " AND run.queue = :queue"}`
  }
  return `WITH RECURSIVE served (name) AS (
    SELECT min(task) FROM ${t.queue} WHERE state = 'scheduled'
    UNION ALL
    SELECT (SELECT min(task) FROM ${t.queue} WHERE state = 'scheduled' AND task > served.name)
    FROM served WHERE name IS NOT NULL
  )
  SELECT sum((${count} AND run.task = served.name AND run.queue = :queue)) FROM served WHERE name IS NOT NULL`
}

/** The text of a count of runs in each state. Those of the history are counted already. */
export const countsText = (t: Tables, query: CountQuery): string => {
  const plain = [
    ...(query.queue === undefined ? [] : [" AND queue = :queue"]),
    ...(query.task === undefined ? [] : [" AND task = :task"])
  ].join("")
  return `SELECT 'queued' AS state, (${queuedText(t, query)}) AS runs
UNION ALL SELECT 'scheduled', (${scheduledText(t, query)})
UNION ALL SELECT 'running', count(*) FROM ${t.queue} WHERE state = 'running'${plain}
UNION ALL SELECT state, sum(runs) FROM ${t.count} WHERE true${plain} GROUP BY state`
}

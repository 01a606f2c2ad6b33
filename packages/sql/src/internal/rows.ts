import type { Kind } from "@effect-tasks/core/Admission"
import { rank } from "@effect-tasks/core/TaskPriority"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import type { TaskState } from "@effect-tasks/core/TaskState"

/** The columns of a run, in the order of `runValues`. */
export const runColumnNames = [
  "id",
  "task",
  "queue",
  "state",
  "priority",
  "payload_version",
  "created_at",
  "due_at",
  "started_at",
  "ended_at",
  "attempt",
  "crashes",
  "fence",
  "consumer",
  "lease_until",
  "logged",
  "group_id",
  "limit_keys",
  "expires_at",
  "snoozes",
  "key",
  "key_hold",
  "key_until",
  "key_conflict",
  "key_latest",
  "parent_id",
  "root_id",
  "retry_of",
  "traceparent",
  "tags",
  "progress",
  "outcome",
  "ledger",
  "payload"
] as const

export const runColumns = runColumnNames.join(", ")

/** A run as the driver gives it: the values of `runColumns`, in that order. */
export type RunRow = readonly [
  id: TaskRun.RunId,
  task: string,
  queue: string,
  state: TaskState,
  priority: number,
  payloadVersion: number,
  createdAt: number,
  dueAt: number,
  startedAt: number | null,
  endedAt: number | null,
  attempt: number,
  crashes: number,
  fence: number,
  consumer: string | null,
  leaseUntil: number | null,
  logged: number,
  group: string | null,
  limitKeys: string | null,
  expiresAt: number | null,
  snoozes: number,
  key: string | null,
  keyHold: number | null,
  keyUntil: number | null,
  keyConflict: TaskRun.EncodedIdempotency["onConflict"] | null,
  keyLatest: number | null,
  parentId: TaskRun.RunId | null,
  rootId: TaskRun.RunId | null,
  retryOf: TaskRun.RunId | null,
  traceparent: string | null,
  tags: string,
  progress: string | null,
  outcome: string | null,
  ledger: string,
  payload: string
]

const noTags: ReadonlyArray<string> = []

/** The run of a row, which may hold further values behind those of the run. */
export const toRun = ([
  id,
  task,
  queue,
  state,
  priority,
  payloadVersion,
  createdAt,
  dueAt,
  startedAt,
  endedAt,
  attempt,
  crashes,
  fence,
  consumer,
  leaseUntil,
  logged,
  group,
  limitKeys,
  expiresAt,
  snoozes,
  key,
  keyHold,
  keyUntil,
  keyConflict,
  keyLatest,
  parentId,
  rootId,
  retryOf,
  traceparent,
  tags,
  progress,
  outcome,
  ledger,
  payload
]: readonly [...RunRow, ...ReadonlyArray<unknown>]): TaskRun.Encoded => ({
  id,
  task,
  queue,
  state,
  priority,
  payload,
  payloadVersion,
  createdAt,
  dueAt,
  startedAt,
  endedAt,
  attempt,
  crashes,
  fence,
  consumer,
  leaseUntil,
  ledger,
  outcome,
  progress,
  logged,
  tags: tags === "[]" ? noTags : JSON.parse(tags),
  group,
  limitKeys,
  expiresAt,
  snoozes,
  idempotency:
    key === null
      ? null
      : {
          key,
          holdMillis: keyHold,
          holdUntil: keyUntil,
          onConflict: keyConflict ?? "return",
          latestDueAt: keyLatest
        },
  parentId,
  rootId,
  retryOf,
  traceparent
})

export const runValues = (run: TaskRun.Encoded): ReadonlyArray<unknown> => [
  run.id,
  run.task,
  run.queue,
  run.state,
  run.priority,
  run.payloadVersion,
  run.createdAt,
  run.dueAt,
  run.startedAt,
  run.endedAt,
  run.attempt,
  run.crashes,
  run.fence,
  run.consumer,
  run.leaseUntil,
  run.logged,
  run.group,
  run.limitKeys,
  run.expiresAt,
  run.snoozes,
  run.idempotency === null ? null : run.idempotency.key,
  run.idempotency === null ? null : run.idempotency.holdMillis,
  run.idempotency === null ? null : run.idempotency.holdUntil,
  run.idempotency === null ? null : run.idempotency.onConflict,
  run.idempotency === null ? null : run.idempotency.latestDueAt,
  run.parentId,
  run.rootId,
  run.retryOf,
  run.traceparent,
  run.tags.length === 0 ? "[]" : JSON.stringify(run.tags),
  run.progress,
  run.outcome,
  run.ledger,
  run.payload
]

/** The name of a plain lane: the queue of a task. The separator is a control character, which no name contains. */
export const laneOf = (queue: string, task: string): string => `${queue}\u001f${task}`

/**
 * The lane of a run: those with a group, or with keys of a limit, have one of their own. Its name begins with that of the plain
 * one and a separator, so all lanes of a task in a queue are a range.
 */
export const laneOfRun = ({ group, limitKeys, queue, task }: TaskRun.Encoded): string =>
  group === null && limitKeys === null
    ? laneOf(queue, task)
    : `${laneOf(queue, task)}\u001f${JSON.stringify([group, limitKeys])}`

/** What the runs of a lane have in common, by its name. */
export const kindOf = (lane: string): Kind => {
  const [queue = "", task = "", special] = lane.split("\u001f")
  const [group, limitKeys] = special === undefined ? [null, null] : JSON.parse(special)
  return { queue, task, group, limitKeys }
}

/** The columns of `queueValues`: those that order and choose, then those of the run. */
export const queueColumnNames = ["lane", "rank", "was_scheduled", ...runColumnNames]

export const queueValues = (run: TaskRun.Encoded): ReadonlyArray<unknown> => [
  laneOfRun(run),
  rank(run.dueAt, run.priority),
  run.state === "scheduled" ? 1 : 0,
  ...runValues(run)
]

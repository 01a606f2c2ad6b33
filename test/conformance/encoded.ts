/** Encoded runs, and what a consumer does with them at the level of broker and store. */

import { Broker, type Limit, Store, type TaskRun, type TaskState } from "@effect-tasks/core"
import { Effect, Option } from "effect"
import { Storage } from "./harness.js"

/** The lease of the claims here, in milliseconds. */
export const lease = 30_000

/** A run as a manager hands it to the broker: of the task `T` in the queue `default`, made and due at 0. */
export const encodedAs = (id: TaskRun.RunId, fields: Partial<TaskRun.Encoded> = {}): TaskRun.Encoded => {
  const createdAt = fields.createdAt ?? 0
  const dueAt = fields.dueAt ?? createdAt
  return {
    id,
    task: "T",
    queue: "default",
    state: dueAt > createdAt ? "scheduled" : "queued",
    priority: 0,
    payload: "{}",
    payloadVersion: 1,
    createdAt,
    dueAt,
    startedAt: null,
    endedAt: null,
    attempt: 0,
    crashes: 0,
    fence: 0,
    consumer: null,
    leaseUntil: null,
    ledger: "[]",
    outcome: null,
    progress: null,
    logged: 0,
    tags: [],
    group: null,
    limitKeys: null,
    expiresAt: null,
    snoozes: 0,
    idempotency: null,
    parentId: null,
    rootId: null,
    retryOf: null,
    traceparent: null,
    ...fields
  }
}

/** The same, with an id of the test's storage. */
export const encoded = (fields: Partial<TaskRun.Encoded> = {}): Effect.Effect<TaskRun.Encoded, never, Storage> =>
  Effect.map(Storage, ({ nextId }) => encodedAs(nextId(), fields))

export const keyed = (
  key: string,
  fields: Partial<TaskRun.EncodedIdempotency> = {}
): { readonly idempotency: TaskRun.EncodedIdempotency } => ({
  idempotency: { key, holdMillis: 0, holdUntil: null, onConflict: "return", latestDueAt: null, ...fields }
})

/** Enqueues one run for each of these, and gives them back. */
export const enqueue = (...each: ReadonlyArray<Partial<TaskRun.Encoded>>) =>
  Effect.gen(function* () {
    const broker = yield* Broker.Broker
    const runs = yield* Effect.forEach(each, encoded)
    yield* broker.enqueue(runs)
    return runs
  })

/** Enqueues one run. */
export const enqueueOne = (fields: Partial<TaskRun.Encoded> = {}) => Effect.map(enqueue(fields), ([run]) => run!)

/** Claims as consumer `A` of the task `T`, one run at time 0, unless it is told otherwise. */
export const claim = ({ now = 0, ...fields }: Partial<Broker.ClaimRequest> = {}) =>
  Effect.flatMap(Broker.Broker, (broker) =>
    Broker.claim(broker, {
      consumer: "A",
      queues: ["default"],
      queueLimits: [],
      tasks: [servedTask("T")],
      limit: 1,
      now,
      leaseUntil: now + lease,
      ...fields
    })
  )

export const servedTask = (
  name: string,
  maxConcurrency: number | null = null,
  limits: ReadonlyArray<Limit.Encoded> = []
): Broker.ServedTask => ({ name, maxConcurrency, limits, room: null })

/** Enqueues a run and claims it. */
export const enqueueAndClaim = (
  fields: Partial<TaskRun.Encoded> = {},
  request: Partial<Broker.ClaimRequest> = {}
): Effect.Effect<TaskRun.Encoded, unknown, Broker.Broker | Storage> =>
  Effect.gen(function* () {
    const run = yield* enqueueOne(fields)
    const { runs } = yield* claim({
      now: run.dueAt,
      queues: [run.queue],
      tasks: [servedTask(run.task)],
      ...request
    })
    return yield* Effect.fromNullable(runs.find(({ run: { id } }) => id === run.id)?.run)
  })

/** The record of a claimed run that ends. */
export const ended = (run: TaskRun.Encoded, state: TaskState.Final, at: number): TaskRun.Encoded => ({
  ...run,
  state,
  endedAt: at,
  leaseUntil: null,
  outcome: JSON.stringify({ _tag: "Success", value: at })
})

/** The record of a claimed run that is to be performed again. */
export const waiting = (run: TaskRun.Encoded, dueAt: number, at: number): TaskRun.Encoded => ({
  ...run,
  state: dueAt > at ? "scheduled" : "queued",
  dueAt,
  consumer: null,
  leaseUntil: null
})

/** Settles claims; the kinds of the answers in order. */
export const settleAll = (settlements: ReadonlyArray<Broker.Settlement>) =>
  Effect.flatMap(Broker.Broker, (broker) =>
    Effect.map(Broker.settle(broker, settlements), (answers) => answers.map(({ _tag }) => _tag))
  )

const nowOf = (run: TaskRun.Encoded): number => run.endedAt ?? run.dueAt

/** Settles claims; the kinds of the answers in order. */
export const settle = (...runs: ReadonlyArray<TaskRun.Encoded>) =>
  settleAll(runs.map((run) => ({ run, logs: [], now: nowOf(run), hold: null })))

/** Settles a claim that holds the whole task back until a moment. */
export const settleAndHold = (run: TaskRun.Encoded, hold: number) =>
  settleAll([{ run, logs: [], now: nowOf(run), hold: { until: hold, limitKeys: null } }])

/** The record of a run that must be there. */
export const stored = (id: TaskRun.RunId) =>
  Effect.flatMap(Store.Store, (store) =>
    Effect.flatMap(store.get([id]), ([run]) => Option.flatten(Option.fromNullable(run)))
  )

/** What the broker answers when a second run asks for a key. */
export const askFor = (key: string, createdAt = 0) =>
  Effect.gen(function* () {
    const broker = yield* Broker.Broker
    const [result] = yield* broker.enqueue([yield* encoded({ ...keyed(key), createdAt })])
    return result!
  })

export const line = (runId: TaskRun.RunId, seq: number, message = `line ${seq}`): Store.LogLine =>
  new Store.LogLine({ runId, seq, attempt: 1, at: seq, level: "INFO", message, annotations: {}, spans: [] })

/** The log of a run, whole. */
export const logOf = (id: TaskRun.RunId, options: { readonly fromSeq?: number; readonly limit?: number } = {}) =>
  Effect.flatMap(Store.Store, (store) => store.logs(id, { fromSeq: 0, limit: 10_000, ...options }))

export const idsOf = (claimed: Broker.Claimed): ReadonlyArray<TaskRun.RunId> => claimed.runs.map(({ run }) => run.id)

/** The ids of runs. */
export const ids = (runs: ReadonlyArray<TaskRun.Encoded>): ReadonlyArray<TaskRun.RunId> => runs.map(({ id }) => id)

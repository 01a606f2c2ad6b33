import type { SqlError } from "@effect/sql/SqlError"
import type { EnqueueOptions } from "@effect-tasks/core/Broker"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, Either } from "effect"
import {
  type Accepted,
  added,
  answer,
  asksToReplace,
  changed,
  type Decision,
  type Group,
  type HeldKey,
  holdersAsked,
  Reservations
} from "../reservations.js"
import type { Run } from "./database.js"
import * as Insert from "./insert.js"
import type { Records } from "./records.js"
import { insertQueue } from "./rows.js"
import type { Tables } from "./schema.js"
import { makeChange, makeFull } from "./waiting.js"

const keyOf = (task: string, key: string): string => `${task}\u0000${key}`

/** Makes the part of a transaction that decides who gets which key. */
const makeReservations = (t: Tables, records: Records) => {
  const heldKeys = `SELECT held.task AS task, held.key AS key, held.run_id AS run_id, held.held_until AS held_until
FROM json_each(:keys) AS wanted CROSS JOIN ${t.key} AS held
WHERE held.task = wanted.value ->> 0 AND held.key = wanted.value ->> 1`

  return Effect.fnUntraced(function* (
    run: Run,
    groups: ReadonlyArray<Group>
  ): Effect.fn.Return<Reservations, SqlError> {
    const wanted: Array<readonly [task: string, key: string]> = []
    const toReplace = new Set<string>()
    for (const group of groups) {
      for (const item of group) {
        if (item.idempotency !== null) {
          wanted.push([item.task, item.idempotency.key])
          if (asksToReplace(item)) {
            toReplace.add(keyOf(item.task, item.idempotency.key))
          }
        }
      }
    }
    if (wanted.length === 0) {
      return new Reservations([])
    }
    const held = yield* run<HeldKey>(heldKeys, [{ keys: JSON.stringify(wanted) }])
    const ids = held.flatMap(({ key, run_id, task }) => (toReplace.has(keyOf(task, key)) ? [run_id] : []))
    return new Reservations(held, ids.length === 0 ? undefined : yield* records.get(run, ids))
  })
}

/** Makes the part of a transaction that accepts the runs of several callers, each caller's all or none. */
export const make = (t: Tables, records: Records) => {
  const queue = insertQueue(t.queue)
  const reservations = makeReservations(t, records)
  const change = makeChange(t)
  const full = makeFull(t)
  const keys = Insert.make<TaskRun.Encoded>({
    into: t.key,
    columns: "task, key, run_id",
    values: (run) => [run.task, run.idempotency?.key, run.id],
    onConflict: "ON CONFLICT (task, key) DO UPDATE SET run_id = excluded.run_id, held_until = NULL"
  })

  const write = Effect.fnUntraced(function* (
    run: Run,
    runs: ReadonlyArray<TaskRun.Encoded>,
    decisions: ReadonlyArray<Decision>
  ): Effect.fn.Return<ReadonlyMap<string, TaskRun.Encoded>, SqlError> {
    yield* queue(run, runs)
    const keyed = runs.filter((item) => item.idempotency !== null)
    if (keyed.length === 0 && runs.length === decisions.length) {
      return new Map()
    }
    yield* keys(run, keyed)
    yield* change(run, changed(decisions))
    const holders = holdersAsked(decisions)
    return holders.length === 0 ? new Map() : yield* records.get(run, Array.from(new Set(holders)))
  })

  return Effect.fnUntraced(function* (
    run: Run,
    groups: ReadonlyArray<Group>,
    options: EnqueueOptions | undefined
  ): Effect.fn.Return<ReadonlyArray<Accepted>, SqlError> {
    const reserved = yield* reservations(run, groups)
    const decided = groups.map((group) => reserved.reserve(group))
    const decisions = decided.flatMap(Either.getOrElse((): ReadonlyArray<Decision> => []))
    const runs = added(decisions)
    const maxQueued = options?.maxQueued ?? null
    const refusal = maxQueued === null ? undefined : yield* full(run, runs, maxQueued)
    if (refusal !== undefined) {
      return [Either.left(refusal)]
    }
    const stored = yield* write(run, runs, decisions)
    return decided.map(Either.map((items) => items.map(answer(stored))))
  })
}

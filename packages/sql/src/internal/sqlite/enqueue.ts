import type { SqlError } from "@effect/sql/SqlError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, Either } from "effect"
import { type Accepted, answer, type Decision, type Group, type HeldKey, Reservations } from "../reservations.js"
import type { Run } from "./database.js"
import * as Insert from "./insert.js"
import type { Records } from "./records.js"
import { insertQueue } from "./rows.js"
import type { Tables } from "./schema.js"

/** Makes the part of a transaction that accepts the runs of several callers, each caller's all or none. */
export const make = (t: Tables, records: Records) => {
  const queue = insertQueue(t.queue)
  const keys = Insert.make<TaskRun.Encoded>({
    into: t.key,
    columns: "task, key, run_id",
    values: (run) => [run.task, run.idempotency?.key, run.id],
    onConflict: "ON CONFLICT (task, key) DO UPDATE SET run_id = excluded.run_id, held_until = NULL"
  })
  const heldKeys = `SELECT held.task AS task, held.key AS key, held.run_id AS run_id, held.held_until AS held_until
FROM json_each(:keys) AS wanted CROSS JOIN ${t.key} AS held
WHERE held.task = wanted.value ->> 0 AND held.key = wanted.value ->> 1`

  const reservations = (run: Run, groups: ReadonlyArray<Group>): Effect.Effect<Reservations, SqlError> => {
    const wanted = groups.flatMap((group) =>
      group.flatMap(({ idempotency, task }) => (idempotency === null ? [] : [[task, idempotency.key]]))
    )
    return wanted.length === 0
      ? Effect.succeed(new Reservations([]))
      : Effect.map(run<HeldKey>(heldKeys, [{ keys: JSON.stringify(wanted) }]), (held) => new Reservations(held))
  }

  return Effect.fnUntraced(function* (
    run: Run,
    groups: ReadonlyArray<Group>
  ): Effect.fn.Return<ReadonlyArray<Accepted>, SqlError> {
    const reserved = yield* reservations(run, groups)
    const decided = groups.map((group) => reserved.reserve(group))
    const decisions = decided.flatMap(Either.getOrElse((): ReadonlyArray<Decision> => []))
    const added = decisions.flatMap(([item, holder]) => (holder === undefined ? [item] : []))
    yield* queue(run, added)
    yield* keys(
      run,
      added.filter((item) => item.idempotency !== null)
    )
    const holders = new Set(decisions.flatMap(([, holder]) => (holder !== undefined ? [holder.id] : [])))
    const stored = holders.size === 0 ? new Map() : yield* records.get(run, Array.from(holders))
    return decided.map(Either.map((items) => items.map(answer(stored))))
  })
}

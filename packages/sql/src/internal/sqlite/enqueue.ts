import type { SqlError } from "@effect/sql/SqlError"
import type { Enqueued } from "@effect-tasks/core/Broker"
import { IdempotencyConflict } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, Either } from "effect"
import type { Run } from "./database.js"
import * as Insert from "./insert.js"
import type { Records } from "./records.js"
import { insertQueue } from "./rows.js"
import type { Tables } from "./schema.js"

/** The runs of one caller. */
export type Group = ReadonlyArray<TaskRun.Encoded>

/** What one caller gets. */
export type Accepted = Either.Either<ReadonlyArray<Enqueued>, IdempotencyConflict>

/** Who holds an idempotency key. `run` is there when it is a run of this very flush. */
interface Holder {
  readonly id: TaskRun.RunId
  readonly until: number | null
  readonly run?: TaskRun.Encoded
}

/** A run, and who holds its key already. */
type Decision = readonly [run: TaskRun.Encoded, holder: Holder | undefined]

interface HeldKey {
  readonly task: string
  readonly key: string
  readonly run_id: TaskRun.RunId
  readonly held_until: number | null
}

const keyOf = (task: string, key: string): string => `${task}\u0000${key}`

/** Decides who gets which key, one group after the other, each as if it were alone. */
class Reservations {
  private readonly holders = new Map<string, Holder>()

  constructor(held: ReadonlyArray<HeldKey>) {
    for (const { held_until, key, run_id, task } of held) {
      this.holders.set(keyOf(task, key), { id: run_id, until: held_until })
    }
  }

  reserve(group: Group): Either.Either<ReadonlyArray<Decision>, IdempotencyConflict> {
    const own = new Map<string, Holder>()
    const decisions: Array<Decision> = []
    for (const run of group) {
      if (run.idempotency === null) {
        decisions.push([run, undefined])
        continue
      }
      const { key, onConflict } = run.idempotency
      const known = own.get(keyOf(run.task, key)) ?? this.holders.get(keyOf(run.task, key))
      const holder = known === undefined || (known.until !== null && known.until <= run.createdAt) ? undefined : known
      if (holder !== undefined && onConflict === "reject") {
        return Either.left(new IdempotencyConflict({ task: run.task, key, heldBy: holder.id }))
      }
      if (holder === undefined) {
        own.set(keyOf(run.task, key), { id: run.id, until: null, run })
      }
      decisions.push([run, holder])
    }
    own.forEach((holder, key) => this.holders.set(key, holder))
    return Either.right(decisions)
  }
}

const answer =
  (stored: Map<string, TaskRun.Encoded>) =>
  ([run, holder]: Decision): Enqueued =>
    holder === undefined
      ? { _tag: "Queued", run }
      : {
          _tag: "Existing",
          // Only a success holds its key after the end: that much is known of a holder whose record has been pruned.
          run: holder.run ?? stored.get(holder.id) ?? { ...run, id: holder.id, state: "success" }
        }

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

import type { BackendError } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, Either } from "effect"
import { type Accepted, answer, type Decision, type Group, type HeldKey, Reservations } from "../reservations.js"
import type { Database, Run } from "./database.js"
import type { DriverError } from "./errors.js"
import type { Names } from "./names.js"
import type { Records } from "./records.js"
import { queueRows } from "./values.js"

/** A key that a call asks for, and the first run that does. */
interface Wish {
  readonly task: string
  readonly key: string
  readonly run_id: TaskRun.RunId
}

const nameOf = ({ key, task }: Pick<Wish, "task" | "key">): string => `${task}\u0000${key}`

const wishesOf = (groups: ReadonlyArray<Group>): ReadonlyArray<Wish> => {
  const wishes = new Map<string, Wish>()
  for (const { id, idempotency, task } of groups.flat()) {
    if (idempotency !== null) {
      const wish = { task, key: idempotency.key, run_id: id }
      const name = nameOf(wish)
      if (!wishes.has(name)) {
        wishes.set(name, wish)
      }
    }
  }
  return Array.from(wishes.values())
}

const makeTexts = (t: Names) => ({
  enqueue: { name: `${t.prefix}enqueue`, text: `SELECT ${t.enqueue}($1)` },

  // Makes each key, or finds it, and locks it until the end of the transaction; in one order, so that nobody waits in a circle.
  reserve: {
    name: `${t.prefix}reserve`,
    text: `INSERT INTO ${t.key} AS held (task, key, run_id)
SELECT task, key, run_id FROM json_to_recordset($1) AS wish (task text, key text, run_id uuid)
ORDER BY task COLLATE "C", key COLLATE "C"
ON CONFLICT (task, key) DO UPDATE SET run_id = held.run_id
RETURNING task, key, run_id, held_until, xmax = 0`
  },

  // A key goes to another run than at first: a call that came before was refused, or the hold of the one before has ended.
  pass: {
    name: `${t.prefix}pass`,
    text: `UPDATE ${t.key} AS held SET run_id = wish.run_id, held_until = NULL
FROM json_to_recordset($1) AS wish (task text, key text, run_id uuid)
WHERE held.task = wish.task AND held.key = wish.key`
  },

  // Nobody got it.
  free: {
    name: `${t.prefix}free`,
    text: `DELETE FROM ${t.key} AS held USING json_to_recordset($1) AS wish (task text, key text)
WHERE held.task = wish.task AND held.key = wish.key`
  }
})

type ReservedRow = readonly [task: string, key: string, runId: TaskRun.RunId, heldUntil: number | null, isNew: boolean]

/** Makes the acceptance of the runs of several callers, each caller's all or none. */
export const make = (database: Database, t: Names, records: Records) => {
  const texts = makeTexts(t)

  /** Brings the keys to what was decided. */
  const assign = Effect.fnUntraced(function* (
    run: Run,
    reserved: ReadonlyArray<ReservedRow>,
    added: ReadonlyArray<TaskRun.Encoded>
  ): Effect.fn.Return<void, DriverError> {
    const owners = new Map(wishesOf([added]).map((wish) => [nameOf(wish), wish]))
    const passed: Array<Wish> = []
    const freed: Array<Pick<Wish, "task" | "key">> = []
    for (const [task, key, runId, heldUntil, isNew] of reserved) {
      const owner = owners.get(nameOf({ task, key }))
      if (owner === undefined && isNew) {
        freed.push({ task, key })
      } else if (owner !== undefined && (owner.run_id !== runId || heldUntil !== null)) {
        passed.push(owner)
      }
    }
    if (passed.length > 0) {
      yield* run(texts.pass, [JSON.stringify(passed)])
    }
    if (freed.length > 0) {
      yield* run(texts.free, [JSON.stringify(freed)])
    }
  })

  const keyed = (groups: ReadonlyArray<Group>, wishes: ReadonlyArray<Wish>) =>
    Effect.fnUntraced(function* (run: Run): Effect.fn.Return<ReadonlyArray<Accepted>, DriverError> {
      const reserved = yield* run<ReservedRow>(texts.reserve, [JSON.stringify(wishes)])
      const held = reserved.flatMap(
        ([task, key, run_id, held_until, isNew]): ReadonlyArray<HeldKey> =>
          isNew ? [] : [{ task, key, run_id, held_until }]
      )
      const reservations = new Reservations(held)
      const decided = groups.map((group) => reservations.reserve(group))
      const decisions = decided.flatMap(Either.getOrElse((): ReadonlyArray<Decision> => []))
      const added = decisions.flatMap(([item, holder]) => (holder === undefined ? [item] : []))
      yield* assign(run, reserved, added)
      if (added.length > 0) {
        yield* run(texts.enqueue, [queueRows(added)])
      }
      const holders = new Set(decisions.flatMap(([, holder]) => (holder !== undefined ? [holder.id] : [])))
      const stored = holders.size === 0 ? new Map() : yield* records.get(run, Array.from(holders))
      return decided.map(Either.map((items) => items.map(answer(stored))))
    })

  return (groups: ReadonlyArray<Group>): Effect.Effect<ReadonlyArray<Accepted>, BackendError> =>
    Effect.suspend(() => {
      const wishes = wishesOf(groups)
      return wishes.length > 0
        ? database.write("enqueue", keyed(groups, wishes))
        : Effect.as(
            database.call("enqueue", texts.enqueue, [queueRows(groups.flat())]),
            groups.map((group) => Either.right(group.map((run) => ({ _tag: "Queued" as const, run }))))
          )
    })
}

import type { SqlError } from "@effect/sql/SqlError"
import type { LockRef, LockRenewal, LockRequest, LockResult } from "@effect-tasks/core/Locking"
import { Effect } from "effect"
import type { Run } from "./database.js"
import type { Tables } from "./schema.js"

interface Row {
  readonly fence: number
  readonly owner: string
  readonly held_until: number
}

/** Makes the operations on locks. */
export const make = (t: Tables) => {
  const holder = `SELECT fence, owner, held_until FROM ${t.lock} WHERE name = :name`
  // the locks of those who died are forgotten by whoever takes one
  const forget = `DELETE FROM ${t.lock} WHERE held_until <= :now`
  const insert = `INSERT INTO ${t.lock} (name, owner, held_until) VALUES (:name, :owner, :leaseUntil)
ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until WHERE owner = excluded.owner RETURNING fence`
  const renew = `UPDATE ${t.lock} SET held_until = given.value ->> 2 FROM json_each(:locks) AS given
WHERE name = given.value ->> 0 AND fence = given.value ->> 1 RETURNING fence`
  const release = `DELETE FROM ${t.lock}
WHERE (name, fence) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:locks))`

  return {
    /** When the lock will be free, if somebody else holds it: reading that takes no lock of the database. */
    look: (run: Run, { name, now, owner }: LockRequest): Effect.Effect<LockResult | undefined, SqlError> =>
      Effect.map(run<Row>(holder, [{ name }]), ([row]) =>
        row === undefined || row.held_until <= now || row.owner === owner
          ? undefined
          : { _tag: "Held", until: row.held_until }
      ),
    acquire: (run: Run, { leaseUntil, name, now, owner }: LockRequest): Effect.Effect<LockResult, SqlError> =>
      Effect.gen(function* () {
        yield* run(forget, [{ now }])
        const [taken] = yield* run<{ readonly fence: number }>(insert, [{ name, owner, leaseUntil }])
        if (taken !== undefined) {
          return { _tag: "Acquired", fence: taken.fence }
        }
        const [row] = yield* run<Row>(holder, [{ name }])
        return { _tag: "Held", until: row?.held_until ?? now }
      }),
    renew: (run: Run, { locks }: LockRenewal): Effect.Effect<ReadonlyArray<LockRef>, SqlError> => {
      const given = JSON.stringify(locks.map(({ fence, leaseUntil, name }) => [name, fence, leaseUntil]))
      return Effect.map(run<{ readonly fence: number }>(renew, [{ locks: given }]), (rows) => {
        const renewed = new Set(rows.map(({ fence }) => fence))
        return locks.flatMap(({ fence, name }) => (renewed.has(fence) ? [] : [{ name, fence }]))
      })
    },
    release: (run: Run, locks: ReadonlyArray<LockRef>): Effect.Effect<void, SqlError> =>
      Effect.asVoid(run(release, [{ locks: JSON.stringify(locks.map(({ fence, name }) => [name, fence])) }]))
  }
}

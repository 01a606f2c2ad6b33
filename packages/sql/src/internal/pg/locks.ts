import type { Broker, Signal } from "@effect-tasks/core/Broker"
import type { LockResult } from "@effect-tasks/core/Locking"
import { Effect } from "effect"
import type { Database } from "./database.js"
import { literal, type Names } from "./names.js"
import { settings } from "./texts.js"
import { whole } from "./values.js"

/*
 * Locks. Who asks for one is alone with its name until the end of the call, so that numbers are drawn in the order in which
 * the lock is given. The locks of those who died are forgotten by whoever takes one.
 */

export const acquireLock = (
  t: Names
): string => `CREATE FUNCTION ${t.acquireLock}(p_name text, p_owner text, p_now bigint, p_until bigint)
RETURNS TABLE (fence_ bigint, until_ bigint) LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext(${literal(`${t.lock} lock`)}), hashtext(p_name));
  RETURN QUERY UPDATE ${t.locks} AS held SET held_until = p_until WHERE held.name = p_name AND held.owner = p_owner
  RETURNING held.fence, NULL::bigint;
  IF FOUND THEN
    RETURN;
  END IF;
  DELETE FROM ${t.locks} AS held USING (
    SELECT name FROM ${t.locks} WHERE held_until <= p_now AND name <> p_name LIMIT 100 FOR UPDATE SKIP LOCKED
  ) AS dead WHERE held.name = dead.name;
  DELETE FROM ${t.locks} AS held WHERE held.name = p_name AND held.held_until <= p_now;
  RETURN QUERY INSERT INTO ${t.locks} AS held (name, owner, held_until) VALUES (p_name, p_owner, p_until)
  ON CONFLICT (name) DO NOTHING RETURNING held.fence, NULL::bigint;
  IF FOUND THEN
    RETURN;
  END IF;
  RETURN QUERY SELECT NULL::bigint, held.held_until FROM ${t.locks} AS held WHERE held.name = p_name;
END $body$;`

interface Parts {
  readonly database: Database
  readonly names: Names
}

/** Makes the operations on locks. Rows are locked in the order of their names. */
export const make = (
  { database, names: t }: Parts,
  tell: (signals: ReadonlyArray<Signal>) => Effect.Effect<void>
): Pick<typeof Broker.Service, "acquireLock" | "renewLocks" | "releaseLocks"> => {
  const acquire = {
    name: `${t.prefix}acquire_lock`,
    text: `SELECT fence_, until_ FROM ${t.acquireLock}($1, $2, $3, $4)`
  }
  const given = (types: string) => `WITH given AS MATERIALIZED (
  SELECT held.name, held.fence${types.includes("until") ? ", given.until" : ""}
  FROM json_to_recordset($1) AS given (${types}) JOIN ${t.locks} AS held USING (name, fence)
  ORDER BY held.name FOR UPDATE OF held
)`
  const renew = {
    name: `${t.prefix}renew_locks`,
    text: `${given("name text, fence bigint, until bigint")}
UPDATE ${t.locks} AS held SET held_until = given.until FROM given WHERE held.name = given.name RETURNING held.fence`
  }
  const release = {
    name: `${t.prefix}release_locks`,
    text: `${given("name text, fence bigint")} DELETE FROM ${t.locks} AS held USING given WHERE held.name = given.name`
  }
  return {
    acquireLock: ({ leaseUntil, name, now, owner }) =>
      Effect.map(
        database.call<readonly [fence: number | null, until: number | null]>("acquireLock", acquire, [
          name,
          owner,
          whole(now),
          whole(leaseUntil)
        ]),
        ([row]): LockResult => {
          const [fence, until] = row ?? [null, null]
          return fence === null
            ? { _tag: "Held", until: Number(until ?? now) }
            : { _tag: "Acquired", fence: Number(fence) }
        }
      ),
    renewLocks: ({ locks }) =>
      Effect.map(
        database.call<readonly [fence: number]>("renewLocks", renew, [
          JSON.stringify(locks.map(({ fence, leaseUntil, name }) => ({ name, fence, until: whole(leaseUntil) })))
        ]),
        (rows) => {
          const renewed = new Set(rows.map(([fence]) => Number(fence)))
          return locks.flatMap(({ fence, name }) => (renewed.has(fence) ? [] : [{ name, fence }]))
        }
      ),
    releaseLocks: (locks) =>
      Effect.zipRight(
        database.call("releaseLocks", release, [JSON.stringify(locks.map(({ fence, name }) => ({ name, fence })))]),
        tell([{ _tag: "Unlocked", names: locks.map(({ name }) => name) }])
      )
  }
}

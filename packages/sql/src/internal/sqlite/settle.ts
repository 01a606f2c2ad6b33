import type { SqlError } from "@effect/sql/SqlError"
import type { Extended, Extension, Settled, Settlement } from "@effect-tasks/core/Broker"
import type { CancelResult } from "@effect-tasks/core/Operating"
import { cancelled, settleUnder, written } from "@effect-tasks/core/RunRecord"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { isFinal } from "@effect-tasks/core/TaskState"
import { Effect } from "effect"
import { type RunRow, runColumns, toRun } from "../rows.js"
import { makeHold } from "./controls.js"
import type { Run } from "./database.js"
import type { Records } from "./records.js"
import { insertQueue } from "./rows.js"
import type { Tables } from "./schema.js"

interface Claim {
  readonly id: string
  readonly fence: number
  readonly cancel_reason: string | null
}

/** Makes the part of a transaction that ends claims; the answers stand in the order of the settlements. */
export const makeSettle = (t: Tables, records: Records) => {
  const queue = insertQueue(t.queue)
  // Whatever comes next, the row of the claim goes: into the history, or back into the queue as a new one.
  const endClaims = `DELETE FROM ${t.queue} WHERE rowid IN (
  SELECT run.rowid FROM json_each(:claims) AS claim CROSS JOIN ${t.queue} AS run
  WHERE run.id = claim.value ->> 0 AND run.fence = claim.value ->> 1 AND run.state = 'running'
) RETURNING id, fence, cancel_reason`
  const hold = makeHold(t)

  return Effect.fnUntraced(function* (
    run: Run,
    settlements: ReadonlyArray<Settlement>
  ): Effect.fn.Return<ReadonlyArray<Settled>, SqlError> {
    const claims = JSON.stringify(settlements.map(({ run }) => [run.id, run.fence]))
    const held = new Map<string, Claim>()
    for (const claim of yield* run<Claim>(endClaims, [{ claims }])) {
      held.set(claim.id, claim)
    }
    const results = settlements.map((settlement) => {
      const claim = held.get(settlement.run.id)
      const isHeld = claim?.fence === settlement.run.fence
      // of two settlements of one claim the first counts
      const isFirst = isHeld && held.delete(settlement.run.id)
      return settleUnder(settlement, isFirst ? { cancelReason: claim.cancel_reason } : null)
    })
    const outcome = settlements.flatMap((settlement, i) => written(settlement, results[i]) ?? [])
    const ended = outcome.filter(({ state }) => isFinal(state))
    if (ended.length > 0) {
      yield* records.remember(run, ended)
    }
    if (ended.length < outcome.length) {
      yield* queue(
        run,
        outcome.filter(({ state }) => !isFinal(state))
      )
    }
    const settledOnes = settlements.filter((_, i) => results[i]?._tag !== "Lost")
    const logs = settledOnes.flatMap(({ logs }) => logs)
    if (logs.length > 0) {
      yield* records.appendLogs(run, logs)
    }
    yield* hold(run, settledOnes)
    return results
  })
}

/** Makes the part of a transaction that extends claims. */
export const makeExtend = (t: Tables) => {
  const extend = `UPDATE ${t.queue} SET lease_until = :leaseUntil, progress = coalesce(claim.progress, ${t.queue}.progress)
FROM (
  SELECT value ->> 0 AS id, value ->> 1 AS fence, value ->> 2 AS progress FROM json_each(:claims)
) AS claim
WHERE ${t.queue}.id = claim.id AND ${t.queue}.fence = claim.fence AND state = 'running'
RETURNING id, ${t.queue}.fence AS fence, cancel_reason`

  return (run: Run, { claims, leaseUntil }: Extension): Effect.Effect<Extended, SqlError> =>
    Effect.map(
      run<{ readonly id: TaskRun.RunId; readonly fence: number; readonly cancel_reason: string | null }>(extend, [
        { leaseUntil, claims: JSON.stringify(claims.map(({ fence, id, progress }) => [id, fence, progress])) }
      ]),
      (rows) => {
        const held = new Map(rows.map((row) => [row.id, row.fence]))
        return {
          lost: claims.flatMap(({ fence, id }) => (held.get(id) === fence ? [] : [id])),
          cancelled: rows.flatMap(({ cancel_reason, id }) =>
            cancel_reason === null ? [] : [{ id, reason: cancel_reason }]
          )
        }
      }
    )
}

/** Makes the part of a transaction that cancels runs; the answers stand in the order of the ids. */
export const makeCancel = (t: Tables, records: Records) => {
  const endWaiting = `DELETE FROM ${t.queue}
WHERE id IN (SELECT value FROM json_each(:ids)) AND state IN ('queued', 'scheduled')
RETURNING ${runColumns}`
  const askRunning = `UPDATE ${t.queue} SET cancel_reason = :reason
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'running'
RETURNING id`
  const findEnded = `SELECT id FROM ${t.history} WHERE id IN (SELECT value FROM json_each(:ids))`

  return Effect.fnUntraced(function* (
    run: Run,
    request: { readonly ids: ReadonlyArray<TaskRun.RunId>; readonly reason: string; readonly now: number }
  ): Effect.fn.Return<ReadonlyArray<CancelResult>, SqlError> {
    const { now, reason } = request
    const ids = JSON.stringify(request.ids)
    const results = new Map<string, CancelResult>()
    const ended: Array<TaskRun.Encoded> = []
    for (const row of yield* run<{ readonly id: string }>(findEnded, [{ ids }])) {
      results.set(row.id, { _tag: "Ended" })
    }
    for (const waiting of (yield* run.values<RunRow>(endWaiting, [{ ids }])).map(toRun)) {
      const record = cancelled(waiting, reason, now)
      const previous = waiting.state === "scheduled" ? "scheduled" : "queued"
      ended.push(record)
      results.set(waiting.id, { _tag: "Cancelled", run: record, previous })
    }
    for (const row of yield* run<{ readonly id: string }>(askRunning, [{ ids, reason }])) {
      results.set(row.id, { _tag: "Requested" })
    }
    yield* records.remember(run, ended)
    return request.ids.map((id) => {
      const result = results.get(id) ?? { _tag: "Unknown" }
      if (result._tag === "Cancelled") {
        results.set(id, { _tag: "Ended" })
      }
      return result
    })
  })
}

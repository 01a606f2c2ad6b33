/**
 * The records of runs as they change: what every backend does alike, for those who write one. All here is pure.
 *
 * @since 0.1.0
 */
import type { Settled, Settlement, Signal } from "./Broker.js"
import type { Attempt, RunId } from "./internal/run.js"
import type { Edit } from "./Operating.js"
import type { Encoded as EncodedRun } from "./TaskRun.js"
import { isFinal } from "./TaskState.js"

/**
 * The record of a run that is cancelled while no consumer performs it.
 *
 * @since 0.1.0
 * @category records
 */
export const cancelled = (run: EncodedRun, reason: string, now: number): EncodedRun => ({
  ...run,
  state: "cancelled",
  endedAt: now,
  consumer: null,
  leaseUntil: null,
  outcome: JSON.stringify({ _tag: "Cancelled", reason })
})

/**
 * The record of a run that waits, after a request with its idempotency key that replaces: it has the request's payload,
 * priority and limit keys. A `debounce` moves its due time too, though not beyond the latest moment that its own request set.
 *
 * @since 0.1.0
 * @category records
 */
export const replaced = (run: EncodedRun, request: EncodedRun): EncodedRun => {
  const { idempotency } = run
  const dueAt =
    request.idempotency?.onConflict === "debounce"
      ? Math.min(request.dueAt, idempotency?.latestDueAt ?? request.dueAt)
      : run.dueAt
  return {
    ...run,
    payload: request.payload,
    payloadVersion: request.payloadVersion,
    priority: request.priority,
    limitKeys: request.limitKeys,
    dueAt,
    state: dueAt > request.createdAt ? "scheduled" : "queued"
  }
}

/**
 * The record of a run that waits, after an edit.
 *
 * @since 0.1.0
 * @category records
 */
export const edited = (run: EncodedRun, { dueAt, now, priority }: Edit): EncodedRun => ({
  ...run,
  priority: priority ?? run.priority,
  dueAt: dueAt ?? run.dueAt,
  state: (dueAt ?? run.dueAt) > now ? "scheduled" : "queued"
})

/**
 * Until when the key of an ended run is held: `0` not at all, `null` for ever.
 *
 * @since 0.1.0
 * @category records
 */
export const keyHeldUntil = ({ endedAt, idempotency, state }: EncodedRun): number | null => {
  if (idempotency === null || state !== "success") {
    return 0
  }
  const { holdMillis, holdUntil } = idempotency
  const until = holdMillis === null ? null : Math.max((endedAt ?? 0) + holdMillis, holdUntil ?? 0)
  return until !== null && until <= (endedAt ?? 0) ? 0 : until
}

/**
 * The ledger of a run whose lease has ended, with the attempt that its consumer did not survive. `run` is the record as it
 * was before it is claimed again, at `now`.
 *
 * @since 0.1.0
 * @category records
 */
export const crashed = (run: EncodedRun, now: number): string => {
  const attempt: Attempt = {
    number: run.attempt + 1,
    consumer: run.consumer ?? "",
    startedAt: run.startedAt ?? now,
    endedAt: now,
    outcome: { _tag: "Crashed" }
  }
  // the ledger is a JSON array
  return `${run.ledger.slice(0, -1)}${run.ledger === "[]" ? "" : ","}${JSON.stringify(attempt)}]`
}

/**
 * What a settlement answers under the claim that is in force, if any: `null` when its fence is not the run's newest.
 * `cancelReason` is why somebody has asked to cancel the run.
 *
 * @since 0.1.0
 * @category records
 */
export const settleUnder = (
  { now, run }: Settlement,
  claim: { readonly cancelReason: string | null } | null
): Settled => {
  if (claim === null) {
    return lost
  }
  return claim.cancelReason === null || isFinal(run.state)
    ? settled
    : { _tag: "Cancelled", run: cancelled(run, claim.cancelReason, now) }
}

const settled: Settled = { _tag: "Settled" }
const lost: Settled = { _tag: "Lost" }

/**
 * The record that a settlement has led to, if any.
 *
 * @since 0.1.0
 * @category records
 */
export const written = ({ run }: Settlement, answer: Settled | undefined): EncodedRun | null =>
  answer === undefined || answer._tag === "Lost" ? null : answer._tag === "Cancelled" ? answer.run : run

/**
 * The signals that follow from settlements: `Work` when a run waits again, or when the end of one may let another of its
 * task or queue begin (`isLimited`), and the runs that have ended.
 *
 * @since 0.1.0
 * @category records
 */
export const signalsAfter = (
  settlements: ReadonlyArray<Settlement>,
  answers: ReadonlyArray<Settled>,
  isLimited: (run: EncodedRun) => boolean
): ReadonlyArray<Signal> => {
  const ids: Array<RunId> = []
  let isWork = false
  for (let i = 0; i < settlements.length; i++) {
    const run = written(settlements[i]!, answers[i])
    if (run !== null) {
      isWork ||= !isFinal(run.state) || isLimited(run)
      if (isFinal(run.state)) {
        ids.push(run.id)
      }
    }
  }
  return [...(isWork ? [work] : []), ...(ids.length > 0 ? [{ _tag: "Ended" as const, ids }] : [])]
}

const work: Signal = { _tag: "Work" }

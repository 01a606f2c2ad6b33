import type { Settled, Settlement } from "@effect-tasks/core/Broker"
import type { CancelResult, EditResult } from "@effect-tasks/core/Operating"
import { cancelled, settleUnder } from "@effect-tasks/core/RunRecord"
import type { RunId } from "@effect-tasks/core/TaskRun"
import { isFinal } from "@effect-tasks/core/TaskState"
import { type RunRow, toRun } from "../rows.js"
import { logRow } from "./records.js"
import { isUuid, settledRow, whole } from "./values.js"

/** The name of a hold. The separator is a control character, which no name of a task contains. */
const heldName = (task: string, limitKeys: string | null): string =>
  limitKeys === null ? task : `${task}\u001f${limitKeys}`

/** Settlements as the parameters of the statement: their rows in the order of the ids, lines and holds with their places. */
export const settleParams = (settlements: ReadonlyArray<Settlement>): ReadonlyArray<unknown> => {
  if (settlements.length === 0) {
    return [null, false, null, null]
  }
  const given: Array<
    ReturnType<typeof settledRow> & { readonly place: number; readonly final: boolean; readonly now: number }
  > = []
  const claims = new Set<string>()
  const lines: Array<unknown> = []
  const holds: Array<unknown> = []
  let again = false
  settlements.forEach(({ hold, logs, now, run }, place) => {
    const claim = `${run.id} ${run.fence}`
    // of two settlements of one claim the first counts
    if (claims.has(claim) || !isUuid(run.id)) {
      return
    }
    claims.add(claim)
    const final = isFinal(run.state)
    again ||= !final
    given.push({ ...settledRow(run), place, final, now: whole(now) })
    logs.forEach((line) => lines.push({ ...logRow(line), place }))
    if (hold !== null) {
      holds.push({ place, name: heldName(run.task, hold.limitKeys), until: whole(hold.until) })
    }
  })
  given.sort((a, b) => (a.id < b.id ? -1 : 1))
  return [
    JSON.stringify(given),
    again,
    lines.length === 0 ? null : JSON.stringify(lines),
    holds.length === 0 ? null : JSON.stringify(holds)
  ]
}

/** The answers, in the order of the settlements; `written` has those that were written, and why one ended as cancelled. */
export const settleAnswers = (
  settlements: ReadonlyArray<Settlement>,
  written: ReadonlyMap<number, string | null>
): ReadonlyArray<Settled> =>
  settlements.map((settlement, place) => {
    const reason = written.get(place)
    return settleUnder(settlement, reason === undefined ? null : { cancelReason: reason })
  })

/** A row of the statement that cancels: what became of the run, the state it waited in, and its record. */
export type CancelRow = readonly [
  answer: "cancelled" | "requested" | "ended",
  previous: "queued" | "scheduled" | null,
  ...RunRow
]

/** The answers, in the order of the ids. */
export const cancelAnswers = (
  ids: ReadonlyArray<RunId>,
  rows: ReadonlyArray<CancelRow>,
  reason: string,
  now: number
): ReadonlyArray<CancelResult> => {
  const results = new Map<string, CancelResult>()
  for (const [answer, previous, ...row] of rows) {
    const id = row[0]
    if (answer === "cancelled" && previous !== null) {
      results.set(id, { _tag: "Cancelled", run: cancelled({ ...toRun(row), state: previous }, reason, now), previous })
    } else if (!results.has(id)) {
      results.set(id, answer === "requested" ? { _tag: "Requested" } : { _tag: "Ended" })
    }
  }
  return ids.map((id) => {
    const result = results.get(id) ?? { _tag: "Unknown" }
    if (result._tag === "Cancelled") {
      results.set(id, { _tag: "Ended" })
    }
    return result
  })
}

/** A row of the statement that edits: what became of the run, the state it waited in, and its record. */
export type EditRow = readonly [
  answer: "edited" | "running" | "ended",
  previous: "queued" | "scheduled" | null,
  ...RunRow
]

/** The answers, in the order of the ids. */
export const editAnswers = (ids: ReadonlyArray<RunId>, rows: ReadonlyArray<EditRow>): ReadonlyArray<EditResult> => {
  const results = new Map<string, EditResult>()
  for (const [answer, previous, ...row] of rows) {
    if (answer === "edited" && previous !== null) {
      results.set(row[0], { _tag: "Edited", run: toRun(row), previous })
    } else if (!results.has(row[0])) {
      results.set(row[0], { _tag: answer === "running" ? "Running" : "Ended" })
    }
  }
  return ids.map((id) => results.get(id) ?? { _tag: "Unknown" })
}

import * as Admission from "@effect-tasks/core/Admission"
import type { Claimed, ClaimedRun, ClaimRequest } from "@effect-tasks/core/Broker"
import { laneOf, type RunRow, runColumnNames, toRun } from "../rows.js"
import type { Statement } from "./driver.js"
import type { Names } from "./names.js"
import { numbers, texts, whole } from "./values.js"

/** What a consumer serves: it mostly says the same each time. */
export interface Served {
  readonly queues: ClaimRequest["queues"]
  readonly queueLimits: ClaimRequest["queueLimits"]
  /** The plain lanes, one per task and queue. */
  readonly lanes: ReadonlyArray<string>
  /** Whether no more than one number per task limits its claims. */
  readonly isPlain: boolean
  readonly params: ReadonlyArray<unknown>
}

const serve = ({ queueLimits, queues, tasks }: ClaimRequest): Served => {
  const lanes = tasks.flatMap(({ maxConcurrency, name }) =>
    queues.map((queue) => ({ lane: laneOf(queue, name), name, queue, maxConcurrency }))
  )
  return {
    queues,
    queueLimits,
    lanes: lanes.map(({ lane }) => lane),
    isPlain: queueLimits.length === 0 && tasks.every(Admission.isPlain),
    params: [
      texts(queues),
      texts(tasks.map(({ name }) => name)),
      texts(lanes.map(({ lane }) => lane)),
      texts(lanes.map(({ name }) => name)),
      texts(lanes.map(({ queue }) => queue)),
      numbers(lanes.map(({ maxConcurrency }) => maxConcurrency))
    ]
  }
}

/** What is known of those who claim, by what they say that they serve. */
export const makeServed = (): ((request: ClaimRequest) => Served) => {
  const known = new WeakMap<ClaimRequest["tasks"], Served>()
  return (request) => {
    let served = known.get(request.tasks)
    if (served?.queues !== request.queues || served.queueLimits !== request.queueLimits) {
      served = serve(request)
      known.set(request.tasks, served)
    }
    return served
  }
}

/** The parameters of the statement when nothing is claimed. */
export const noClaim: ReadonlyArray<unknown> = Array(11).fill(null)

/** A wish for runs as the parameters of the statement. */
export const claimParams = (
  { consumer, leaseUntil, limit, now }: ClaimRequest,
  params: ReadonlyArray<unknown>,
  isPlain: boolean
): ReadonlyArray<unknown> => [consumer, ...params, isPlain, limit, whole(now), whole(leaseUntil)]

/** A row of the statements that claim. */
export type ExchangeRow = readonly [
  answer: "settled" | "disabled" | "special" | "next" | "queued" | "scheduled" | "running",
  said: string | null,
  moment: number | null,
  ...RunRow
]

const columns = `answer_, settled_, moment_, ${runColumnNames.map((column) => `${column}_`).join(", ")}`

export const exchangeStatement = (t: Names): Statement => ({
  name: `${t.prefix}exchange`,
  text: `SELECT ${columns}
FROM ${t.exchange}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`
})

export const startStatement = (t: Names): Statement => ({
  name: `${t.prefix}start`,
  text: `SELECT ${columns} FROM ${t.start}($1, $2, $3, $4, $5)`
})

/** The places of the settlements that were written, and the reason of each that ended as cancelled. */
type SettledPlaces = readonly [places: ReadonlyArray<number> | null, reasons: ReadonlyArray<string | null> | null]

/** The places of the lanes that have due runs, or finer lanes with due runs, and which of them have finer ones. */
export type OpenPlaces = readonly [places: ReadonlyArray<number>, areSpecial: ReadonlyArray<boolean>]

/** What an exchange has answered. `open` is there when the claim has to look further. */
export interface Answer {
  readonly written: ReadonlyMap<number, string | null>
  readonly claimed: Claimed
  readonly open: OpenPlaces | undefined
}

/** What the rows say: the settlements that were written, by place, with the reason of a cancellation, and the claims. */
export const readExchange = (rows: ReadonlyArray<ExchangeRow>, request: ClaimRequest | null): Answer => {
  const written = new Map<number, string | null>()
  const runs: Array<ClaimedRun> = []
  let nextAt: number | null = null
  let disabled: ReadonlyArray<string> = none
  let open: OpenPlaces | undefined
  for (const [answer, said, moment, ...run] of rows) {
    if (answer === "settled") {
      const [places, reasons]: SettledPlaces = JSON.parse(said ?? "[null,null]")
      places?.forEach((place, i) => written.set(place, reasons?.[i] ?? null))
    } else if (answer === "next") {
      nextAt = moment
    } else if (answer === "disabled") {
      const names: ReadonlyArray<string> = JSON.parse(said ?? "[]")
      disabled = names.filter((name) => request?.tasks.some((task) => task.name === name))
    } else if (answer === "special") {
      open = JSON.parse(said ?? "[[],[]]")
    } else {
      runs.push({ run: toRun(run), previous: answer, refusedFor: null })
    }
  }
  return { written, claimed: { runs, nextAt, disabled }, open }
}

const none: ReadonlyArray<string> = []

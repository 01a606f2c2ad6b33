import type { Claimed, ClaimedRun, ClaimRequest } from "@effect-tasks/core/Broker"
import { laneOf, type RunRow, runColumnNames, toRun } from "../rows.js"
import type { Statement } from "./driver.js"
import type { Names } from "./names.js"
import { numbers, texts, whole } from "./values.js"

/** What a consumer serves: it says the same each time. */
interface Served {
  readonly queues: string
  readonly tasks: string
  readonly lanes: string
  readonly laneTasks: string
  readonly laneLimits: string
}

const serve = ({ queues, tasks }: ClaimRequest): Served => {
  const lanes = tasks.flatMap(({ maxConcurrency, name }) =>
    queues.map((queue) => ({ lane: laneOf(queue, name), name, maxConcurrency }))
  )
  return {
    queues: texts(queues),
    tasks: texts(tasks.map(({ name }) => name)),
    lanes: texts(lanes.map(({ lane }) => lane)),
    laneTasks: texts(lanes.map(({ name }) => name)),
    laneLimits: numbers(lanes.map(({ maxConcurrency }) => maxConcurrency))
  }
}

/** A wish for runs as the parameters of the statement. */
export const makeClaimParams = () => {
  const known = new WeakMap<
    ClaimRequest["tasks"],
    { readonly queues: ClaimRequest["queues"]; readonly served: Served }
  >()
  return (request: ClaimRequest | null): ReadonlyArray<unknown> => {
    if (request === null) {
      return Array(9).fill(null)
    }
    let entry = known.get(request.tasks)
    if (entry?.queues !== request.queues) {
      entry = { queues: request.queues, served: serve(request) }
      known.set(request.tasks, entry)
    }
    const { consumer, leaseUntil, limit, now } = request
    const { laneLimits, laneTasks, lanes, queues, tasks } = entry.served
    return [consumer, queues, tasks, lanes, laneTasks, laneLimits, limit, whole(now), whole(leaseUntil)]
  }
}

/** A row of the statement that exchanges. */
export type ExchangeRow = readonly [
  answer: "settled" | "next" | "queued" | "scheduled" | "running",
  settled: string | null,
  moment: number | null,
  ...RunRow
]

export const exchangeStatement = (t: Names): Statement => ({
  name: `${t.prefix}exchange`,
  text: `SELECT answer_, settled_, moment_, ${runColumnNames.map((column) => `${column}_`).join(", ")}
FROM ${t.exchange}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
})

/** The places of the settlements that were written, and the reason of each that ended as cancelled. */
type SettledPlaces = readonly [places: ReadonlyArray<number> | null, reasons: ReadonlyArray<string | null> | null]

/** What the rows say: the settlements that were written, by place, with the reason of a cancellation, and the claims. */
export const readExchange = (
  rows: ReadonlyArray<ExchangeRow>
): { readonly written: ReadonlyMap<number, string | null>; readonly claimed: Claimed } => {
  const written = new Map<number, string | null>()
  const runs: Array<ClaimedRun> = []
  let nextAt: number | null = null
  for (const [answer, settled, moment, ...run] of rows) {
    if (answer === "settled") {
      const [places, reasons]: SettledPlaces = JSON.parse(settled ?? "[null,null]")
      places?.forEach((place, i) => written.set(place, reasons?.[i] ?? null))
    } else if (answer === "next") {
      nextAt = moment
    } else {
      runs.push({ run: toRun(run), previous: answer })
    }
  }
  return { written, claimed: { runs, nextAt } }
}

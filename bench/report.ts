import type { Backend } from "./protocol.js"
import { ours } from "./subjects/index.js"

/** One line of a benchmark's result. Higher is better for units per second, lower for all others. */
export interface Result {
  readonly backend: Backend
  readonly measure: string
  readonly subject: string
  readonly unit: string
  readonly median: number
  readonly rounds: ReadonlyArray<number>
}

/** A subject that could not be measured. */
export interface Failure {
  readonly backend: Backend
  readonly measure: string
  readonly subject: string
  readonly message: string
}

const units: ReadonlyArray<readonly [prefix: string, unit: string]> = [
  ["enqueue-", "runs/s"],
  ["drain-", "runs/s"],
  ["latency-", "ms"],
  ["memory-", "MB"],
  ["cpu-", "% of a core"],
  ["executor-", "ms"],
  ["claim-", "µs"]
]

export const unitOf = (measure: string): string => units.find(([prefix]) => measure.startsWith(prefix))?.[1] ?? ""

/** The middle value; of an even number of values the mean of the two in the middle. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return sorted.length === 0 ? Number.NaN : (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2
}

const significant = (value: number): string => Number(value.toPrecision(4)).toLocaleString("en")

type Row = readonly [backend: string, measure: string, subject: string, median: string, unit: string, ratio: string]

const header: Row = ["backend", "measure", "subject", "median", "unit", "ours ÷ it"]

const smallest: ReadonlyArray<readonly [prefix: string, measure: string]> = [
  ["claim-history-", "claim-history-0"],
  ["claim-beside-", "claim-beside-none"]
]

/** A claim is measured of ours only; there the ratio is to the smallest scale of the same kind. */
const ratioOf = (results: ReadonlyArray<Result>, { backend, measure, median, subject }: Result): string => {
  const kind = smallest.find(([prefix]) => measure.startsWith(prefix))?.[1] ?? "claim-1k"
  const sought = measure.startsWith("claim-") ? kind : measure
  const found = results.find((other) => other.backend === backend && other.measure === sought && other.subject === ours)
  if (found === undefined || (subject === ours && sought === measure)) {
    return ""
  }
  return subject === ours ? `${(median / found.median).toFixed(2)} × ${kind}` : (found.median / median).toFixed(2)
}

/** A table for people: a row per subject, with the ratio of ours to it. */
export const table = (results: ReadonlyArray<Result>, failures: ReadonlyArray<Failure>): string => {
  const rows: ReadonlyArray<Row> = [
    ...results.map((result): Row => {
      const { backend, measure, median, subject, unit } = result
      return [backend, measure, subject, significant(median), unit, ratioOf(results, result)]
    }),
    ...failures.map(({ backend, measure, subject }): Row => [backend, measure, subject, "failed", "", ""])
  ]
  const all = [header, ...rows]
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const line = (row: Row) =>
    row
      .map((cell, column) => (column === 3 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join("  ")
      .trimEnd()
  const isNewMeasure = (row: Row, i: number) => i > 0 && !(row[0] === all[i - 1]![0] && row[1] === all[i - 1]![1])
  return all.flatMap((row, i) => (isNewMeasure(row, i) ? ["", line(row)] : [line(row)])).join("\n")
}

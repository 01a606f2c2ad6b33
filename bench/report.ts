/** One line of a benchmark's result. Higher is better for units per second. */
export interface Result {
  readonly backend: "memory" | "sqlite"
  readonly measure: string
  readonly subject: string
  readonly unit: string
  readonly median: number
  readonly rounds: ReadonlyArray<number>
}

/** The middle value; of an even number of values the mean of the two in the middle. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return sorted.length === 0 ? Number.NaN : (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2
}

const significant = (value: number): string => Number(value.toPrecision(4)).toLocaleString("en")

/** A table for people: a row per result, each as a ratio to the first of its measure. */
export const table = (results: ReadonlyArray<Result>): string => {
  const rows = results.map((result) => {
    const first = results.find(({ backend, measure }) => backend === result.backend && measure === result.measure)!
    const ratio = first === result ? "" : (result.median / first.median).toFixed(3)
    return [result.backend, result.measure, result.subject, significant(result.median), result.unit, ratio]
  })
  const all = [["backend", "measure", "subject", "median", "unit", "ratio"], ...rows]
  const widths = all[0]!.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const isNumber = (column: number) => column === 3 || column === 5
  return all
    .map((row) =>
      row
        .map((cell, column) => (isNumber(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

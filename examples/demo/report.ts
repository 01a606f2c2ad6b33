/** The report, as lines for people. */
import type { Checked } from "./check.js"
import type { Answers } from "./service.js"
import type { Statistics } from "./statistics.js"
import { GzipFile, HashFile } from "./tasks.js"

type Task = Statistics["tasks"][number]

const number = (value: number) => Math.round(value).toLocaleString("en")

export const plural = (count: number, noun: string) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`

const millis = (value: number) => (value < 10_000 ? `${number(value)} ms` : `${(value / 1_000).toFixed(1)} s`)

const megabytes = (bytes: number) => `${(bytes / 1_000_000).toFixed(1)} MB`

const row = (label: string, text: string) => `  ${label.padEnd(22)}${text}`

const states = ({ counts, name }: Task) =>
  row(
    name,
    Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([state, count]) => `${number(count)} ${state}`)
      .join(", ")
  )

const waits = ({ name, waits: { p50, p99 } }: Task) =>
  row(`${name} started`, `p50 ${millis(p50)}, p99 ${millis(p99)} after it was due${notes[name] ?? ""}`)

const notes: Record<string, string> = {
  [HashFile.name]: " (all were queued at once)",
  [GzipFile.name]: " (its priority is high)"
}

const mostFaults = 10

export const render = (
  statistics: Statistics,
  answers: Readonly<Answers>,
  files: number,
  { bytes, faults, gzipped }: Checked
): ReadonlyArray<string> => [
  "",
  "Runs by state",
  ...statistics.tasks.map(states),
  "",
  "What happened to them",
  row("attempts", number(statistics.attempts)),
  row("retries", `${number(statistics.retries)}, of which ${number(statistics.timeouts)} after a timeout`),
  row("put off", `${plural(statistics.rests, "time")}, because the service asked for a rest (429)`),
  row("taken over", `${plural(statistics.takenOver, "run")}, after the crash`),
  "",
  "How quickly",
  row(
    "throughput",
    `${number((1_000 * statistics.runs) / statistics.workedFor)} runs/s (${number(statistics.runs)} in ${millis(statistics.workedFor)}, crash and rests included)`
  ),
  ...statistics.tasks.map(waits),
  "",
  "What the service answered",
  row("taken (204)", `${number(answers.accepted)}, and ${number(answers.repeated)} that it had already`),
  row("busy (503)", number(answers.unavailable)),
  row("take a rest (429)", number(answers.tooManyRequests)),
  row("too slow", number(answers.slow)),
  "",
  ...(faults.length === 0
    ? [
        `OK: ${files === 1 ? "the file" : `each of the ${number(files)} files`} has exactly one result at the service, one success in the store, and one of its child.`,
        `    ${megabytes(bytes)} were hashed, and would be ${megabytes(gzipped)} with gzip.`
      ]
    : [
        `FAILED: not as it should be is ${number(faults.length)} of ${plural(files, "file")}.`,
        ...faults.slice(0, mostFaults).map((fault) => `  ${fault}`)
      ])
]

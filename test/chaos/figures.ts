import type { TaskRun } from "@effect-tasks/core"
import { type Journal, saidOf } from "./journal.js"
import type { Produced } from "./producing.js"
import { takeovers } from "./records.js"

/** The moments of a trial: the load begins, then the fault, which ends, and the load stops. */
export interface Moments {
  readonly loaded: number
  readonly began: number
  readonly ended: number
  readonly unloaded: number
}

/** When each of these workers first settled something after the fault, in milliseconds after its end. */
export const recoveries = (journal: Journal, workers: ReadonlyArray<string>, ended: number) =>
  workers.map((name) => {
    const first = saidOf(journal, "settled").find(({ at, worker }) => worker === name && at > ended)
    return first === undefined ? null : first.at - ended
  })

const rate = (journal: Journal, from: number, to: number): number =>
  Math.round((saidOf(journal, "settled").filter(({ at }) => at > from && at <= to).length * 1_000) / (to - from))

const seconds = (millis: number): string => `${(millis / 1_000).toFixed(2)} s`

/** The figures of a trial in one line. */
export const line = (
  name: string,
  journal: Journal,
  produced: Produced,
  runs: ReadonlyArray<TaskRun.TaskRun>,
  workers: ReadonlyArray<string>,
  { began, ended, loaded, unloaded }: Moments
): string => {
  const taken = takeovers(runs)
  const slowest = Math.max(0, ...taken.map(({ startedAt, takenAt }) => takenAt - startedAt))
  const again = recoveries(journal, workers, ended).map((millis) => millis ?? Number.POSITIVE_INFINITY)
  return [
    `${name} for ${seconds(ended - began)}: ${runs.length} runs`,
    `first settled ${seconds(Math.min(...again))} after it, by all workers ${seconds(Math.max(...again))}`,
    taken.length === 0 ? "no takeovers" : `${taken.length} takeovers, the slowest ${seconds(slowest)} after its claim`,
    `${rate(journal, loaded, began)} / ${rate(journal, began, ended)} / ${rate(journal, ended, unloaded)} runs per second` +
      " before, during and after",
    `${produced.failures} queueings tried again, the longest for ${seconds(produced.longestOutage)}`
  ].join("; ")
}

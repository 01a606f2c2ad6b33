import { TaskManager, type TaskRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { Work } from "./tasks.js"

/** The records of all runs of a task. */
export const runsOf = Effect.fnUntraced(function* (task: string) {
  const manager = yield* TaskManager.TaskManager
  const found: Array<TaskRun.TaskRun> = []
  let before: TaskRun.RunId | undefined
  do {
    const page = yield* manager.runs({ task, limit: 500, before })
    found.push(...page.items)
    before = page.next ?? undefined
  } while (before !== undefined)
  return found
})

export const allRuns = runsOf(Work.name)

/** An attempt that its consumer did not survive, or did not tell of in time. */
export interface Takeover {
  readonly worker: string
  readonly startedAt: number
  readonly takenAt: number
}

/** All takeovers, from the ledgers. */
export const takeovers = (found: ReadonlyArray<TaskRun.TaskRun>): ReadonlyArray<Takeover> =>
  found.flatMap((run) =>
    run.attempts
      .filter(({ outcome }) => outcome._tag === "Crashed")
      .map(({ consumer, endedAt, startedAt }) => ({ worker: consumer.split("-")[0]!, startedAt, takenAt: endedAt }))
  )

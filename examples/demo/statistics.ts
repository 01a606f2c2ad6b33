/** What the store tells when all is done: the figures of the report. */
import { TaskManager, type TaskRun, type TaskState } from "@effect-tasks/core"
import { Effect } from "effect"
import { FileTasks } from "./tasks.js"

export interface Percentiles {
  readonly p50: number
  readonly p99: number
}

export interface Statistics {
  readonly tasks: ReadonlyArray<{
    readonly name: string
    readonly counts: { readonly [State in TaskState.TaskState]: number }
    /** From due to started for the first time, in milliseconds. */
    readonly waits: Percentiles
  }>
  readonly runs: number
  /** Tries at runs: those that a crash cut off among them, those that only put the run off not. */
  readonly attempts: number
  readonly retries: number
  readonly timeouts: number
  readonly rests: number
  readonly takenOver: number
  /** From the first start of a run to the last end, in milliseconds. */
  readonly workedFor: number
}

/** Every run in the store, page by page. */
export const allRuns = Effect.gen(function* () {
  const manager = yield* TaskManager.TaskManager
  const runs: Array<TaskRun.TaskRun> = []
  let before: TaskRun.RunId | undefined
  do {
    const page = yield* manager.runs({ limit: 500, before })
    runs.push(...page.items)
    before = page.next ?? undefined
  } while (before !== undefined)
  return runs
})

/** How often runs were put off because the service asked for a rest: the handler has logged each time. */
const countRests = Effect.fnUntraced(function* (runs: ReadonlyArray<TaskRun.TaskRun>) {
  const manager = yield* TaskManager.TaskManager
  const logs = yield* Effect.forEach(runs, (run) => manager.logs(run.id))
  return logs.flat().filter((line) => "retryAfter" in line.annotations).length
})

const sum = <A>(items: ReadonlyArray<A>, value: (item: A) => number): number =>
  items.reduce((total, item) => total + value(item), 0)

const percentiles = (values: ReadonlyArray<number>): Percentiles => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}

const firstWait = (run: TaskRun.TaskRun): number => (run.attempts[0]?.startedAt ?? run.createdAt) - run.createdAt

export const collect = Effect.fnUntraced(function* (runs: ReadonlyArray<TaskRun.TaskRun>) {
  const manager = yield* TaskManager.TaskManager
  const tasks = yield* Effect.forEach(FileTasks.tasks, ({ name }) =>
    Effect.map(manager.counts({ task: name }), (counts) => ({
      name,
      counts,
      waits: percentiles(runs.filter((run) => run.task === name).map(firstWait))
    }))
  )
  const attempts = runs.flatMap((run) => run.attempts)
  const statistics: Statistics = {
    tasks,
    runs: runs.length,
    attempts: attempts.length,
    retries: sum(runs, (run) => (run.state === "failure" ? run.attempt - 1 : run.attempt)),
    timeouts: attempts.filter(({ outcome }) => outcome._tag === "Timeout").length,
    rests: yield* countRests(runs),
    takenOver: runs.filter((run) => run.crashes > 0).length,
    workedFor:
      Math.max(...attempts.map(({ endedAt }) => endedAt)) - Math.min(...attempts.map(({ startedAt }) => startedAt))
  }
  return statistics
})

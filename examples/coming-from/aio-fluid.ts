/*
 * For people who know aio-fluid: two schedules, handlers of events with tags, a task that fails and is retried, and one that is
 * disabled. It works for some seconds, prints the history, and checks what it claims.
 */
import {
  Backend,
  CurrentRun,
  RetryPolicy,
  Task,
  TaskConsumer,
  TaskEvents,
  TaskGroup,
  TaskManager,
  type TaskRun,
  TaskSchedule,
  TaskScheduler
} from "@effect-tasks/core"
import { Console, Effect, Layer, Schema } from "effect"
import { conclude, run, table, until, warningsOnly } from "./report.js"

class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", { feed: Schema.String }) {}

/** By a cron expression: six fields begin with the second. */
const Report = Task.make("Report", { success: Schema.Number, schedule: TaskSchedule.cron("* * * * * *") })

/** At an interval. */
const Sweep = Task.make("Sweep", { schedule: TaskSchedule.every("400 millis") })

const Import = Task.make("Import", {
  payload: { feed: Schema.String },
  success: Schema.String,
  error: Unreachable,
  retry: RetryPolicy.make({ retries: 3, delay: "100 millis", backoff: 2 })
})

const Rebuild = Task.make("Rebuild")

const Chores = TaskGroup.make(Report, Sweep, Import, Rebuild)

const Handlers = Chores.toLayer({
  // the time of the tick, however late it is performed
  Report: () => Effect.map(CurrentRun.CurrentRun, ({ scheduledFor }) => scheduledFor ?? 0),
  Sweep: () => Effect.void,
  Import: ({ feed }) =>
    Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
      attempt < 3 ? new Unreachable({ feed }) : Effect.succeed(`${feed} in attempt ${attempt}`)
    ),
  Rebuild: () => Effect.dieMessage("it is disabled")
})

const Workers = TaskConsumer.layer(Chores, { maxConcurrentTasks: 5 }).pipe(Layer.provide(Handlers))

// the scheduler stands on the consumer, so that it stops first
const Main = TaskScheduler.layer(Chores).pipe(
  Layer.provideMerge(Workers),
  Layer.provideMerge(TaskManager.layer),
  Layer.provide(Backend.layerMemory)
)

/** Counts the ends of runs by handlers of events, one of which is replaced and one taken away. */
const countEnds = Effect.gen(function* () {
  const seen = { replaced: 0, success: 0, retries: 0, aborted: 0 }
  const count = (what: keyof typeof seen) => () => {
    seen[what]++
  }
  yield* TaskEvents.on("success", count("replaced"), { tag: "count" })
  yield* TaskEvents.on("success", count("success"), { tag: "count" }) // of one state and tag there is one
  yield* TaskEvents.on("scheduled", count("retries"), { tag: "retries" })
  yield* TaskEvents.on("aborted", count("aborted"), { tag: "gone" })
  yield* TaskEvents.off("aborted", "gone")
  return seen
})

const successes = (task: Task.Any) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) =>
    Effect.map(manager.runs({ task: task.name, state: ["success"], limit: 1_000 }), ({ items }) => items)
  )

const seconds = (millis: number | null) => (millis === null ? "" : new Date(millis).toISOString().slice(17, 23))

const historyOf = (runs: ReadonlyArray<TaskRun.TaskRun>) =>
  table(
    ["task", "state", "attempts", "queued at", "ended at"],
    runs.map((run) => [run.task, run.state, run.attempts.length, seconds(run.createdAt), seconds(run.endedAt)])
  )

/** Lets everything happen, and gives what there is to see when nothing is under way any more. */
const work = Effect.gen(function* () {
  const manager = yield* TaskManager.TaskManager
  const scheduler = yield* TaskScheduler.TaskScheduler
  const seen = yield* countEnds
  yield* manager.disable("Rebuild")
  const rebuild = yield* Rebuild.queue()
  const imported = yield* Import.queueAndWait({ feed: "prices" }, { timeout: "20 seconds" })
  const refused = yield* Effect.flip(rebuild.await)
  const reports = yield* until(successes(Report), ({ length }) => length >= 2)
  yield* until(successes(Sweep), ({ length }) => length >= 4)
  yield* Effect.forEach([Report, Sweep], ({ name }) => scheduler.pause(name))
  yield* until(manager.counts(), ({ queued, running, scheduled }) => queued + running + scheduled === 0)
  const { items } = yield* manager.runs({ limit: 1_000 })
  // handlers of events have fibers of their own, so they may be a moment behind
  const ended = items.filter(({ state }) => state === "success").length
  yield* until(
    Effect.sync(() => seen.success),
    (count) => count === ended
  )
  return { seen, imported, refused, reports, items, ended, schedules: yield* scheduler.list }
})

const program = Effect.gen(function* () {
  const { ended, imported, items, refused, reports, schedules, seen } = yield* work
  yield* Console.log(historyOf(items.toReversed()))
  yield* Console.log(
    `\n${schedules.map(({ name, schedule }) => `${name}: ${TaskSchedule.describe(schedule)}`).join("\n")}\n`
  )
  const ticks = reports.map(({ outcome }) => (outcome?._tag === "Success" ? Number(outcome.value) : -1))
  yield* conclude(
    Object.entries({
      "the cron schedule was fired at whole seconds, each of them once":
        ticks.every((tick) => tick % 1_000 === 0) && new Set(ticks).size === ticks.length,
      "the import failed twice, and was done in its third attempt": imported === "prices in attempt 3",
      "each of its retries was told": seen.retries === 2,
      "the disabled task was not performed": refused._tag === "TaskAborted",
      "the second handler of a tag took the place of the first": seen.replaced === 0 && seen.success === ended,
      "a handler that was taken away hears nothing": seen.aborted === 0
    })
  )
})

run(program.pipe(Effect.scoped, Effect.provide([Main, warningsOnly])))

/*
 * Mirrors twenty branches, four at a time, and ends when there are none: a source that is polled, and a consumer with a limit.
 * The list of branches is out of order now and then, some branches fail, and one takes too long.
 */
import { TaskSource } from "@effect-tasks/core"
import { Cause, Data, Effect, Logger, Option, Schedule } from "effect"
import { conclude, heading, line, run } from "./report.js"

class ListIsDown extends Data.TaggedError("ListIsDown")<{ readonly message: string }> {}

class Diverged extends Data.TaggedError("Diverged")<{ readonly branch: string }> {
  override get message() {
    return `${this.branch} has diverged`
  }
}

const names = Array.from({ length: 20 }, (_, i) => `branch-${i + 1}`)
const diverged = new Set(["branch-7", "branch-13"])
const endless = "branch-10"

/** What the report tells beside what the consumer knows. */
const counts = { polls: 0, outages: 0, running: 0, most: 0, mirrored: new Map<string, number>() }

const waiting = [...names]

/** Takes the next branch from the list. Each fourth time the list does not answer, and nothing is taken. */
const nextBranch = Effect.suspend(() => {
  counts.polls++
  if (counts.polls % 4 === 0) {
    counts.outages++
    return new ListIsDown({ message: "the list does not answer" })
  }
  return Effect.succeed(Option.fromNullable(waiting.shift()))
})

/** Mirrors a branch, and counts how many are mirrored at one time, however it ends. */
const mirror = (branch: string) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      counts.most = Math.max(counts.most, ++counts.running)
    }),
    () => transfer(branch),
    () => Effect.sync(() => counts.running--)
  )

const transfer = (branch: string) =>
  Effect.gen(function* () {
    if (branch === endless) {
      return yield* Effect.never
    }
    yield* Effect.sleep(`${30 + (names.indexOf(branch) % 5) * 15} millis`)
    if (diverged.has(branch)) {
      return yield* new Diverged({ branch })
    }
    counts.mirrored.set(branch, (counts.mirrored.get(branch) ?? 0) + 1)
  })

const branches = TaskSource.polling({
  interval: "1 second",
  produce: Effect.map(nextBranch, Option.map(mirror)),
  // a list that is out of order for a moment is nobody's business; one that stays so ends the consumption
  backoff: Schedule.exponential("10 millis").pipe(Schedule.intersect(Schedule.recurs(3)))
})

const broken = TaskSource.polling({ interval: "1 second", produce: new ListIsDown({ message: "the list is gone" }) })

const describeFailure = (cause: Cause.Cause<Error>) => {
  const error = Cause.squash(cause)
  return Cause.isTimeoutException(error) ? "took too long" : error instanceof Error ? error.message : String(error)
}

const program = Effect.gen(function* () {
  const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 4, timeout: "500 millis" })

  const report = yield* consumer.consume(branches)
  yield* heading("Twenty branches, four at a time")
  yield* line("mirrored", `${counts.mirrored.size} of ${names.length}`)
  yield* line("in vain", report.failures.map(describeFailure).sort().join("; "))
  yield* line("at one time", `${counts.most} at the most`)
  yield* line("polls", `${counts.polls}, of which the list did not answer ${counts.outages}`)

  // the same consumer again: it has ended, and is free
  const second = yield* consumer.consume(broken)
  yield* heading("A list that is gone")
  yield* line("what was told", second.productionFailures.map(describeFailure).join("; "))

  const times = [...counts.mirrored.values()]
  yield* conclude([
    ["every branch was taken once, and mirrored unless it failed", times.length === 17 && times.every((n) => n === 1)],
    ["the report has the three failures", report.started === 20 && report.failed === 3 && report.succeeded === 17],
    ["four ran at one time, and never more", counts.most === 4],
    ["outages of the list were waited out", counts.outages > 4 && report.productionsFailed === 0],
    ["nothing was left running", counts.running === 0],
    ["a list that is gone ended the second consumption", second.started === 0 && second.productionsFailed === 1]
  ])
})

// the report says it all; the log would say it twice
run(Effect.provide(program, Logger.remove(Logger.defaultLogger)))

/* Performs a plan: warm-ups, then rounds that take turns. */
import { Clock, Console, Duration, Effect } from "effect"
import type { Arguments } from "./arguments.js"
import type { Group, Lane } from "./plan.js"
import * as plan from "./plan.js"
import * as processes from "./processes.js"
import type { Backend } from "./protocol.js"
import { type Failure, median, type Result, unitOf } from "./report.js"

interface Measured {
  readonly results: ReadonlyArray<Result>
  readonly failures: ReadonlyArray<Failure>
}

/** What the rounds of a group have given so far. */
interface Progress {
  readonly rounds: Map<Lane, Map<string, Array<number>>>
  readonly failed: Map<Lane, string>
}

const note = ({ rounds }: Progress, lane: Lane, values: Readonly<Record<string, number>>): void => {
  const ofLane = rounds.get(lane) ?? new Map<string, Array<number>>()
  rounds.set(lane, ofLane)
  for (const [measure, value] of Object.entries(values)) {
    ofLane.set(measure, [...(ofLane.get(measure) ?? []), value])
  }
}

/** What a warm-up measures is not counted, so it need not be alone. */
const warmUpsAtOnce = 2

const runGroup = Effect.fnUntraced(function* (children: processes.Processes, group: Group, deadline: number) {
  const progress: Progress = { rounds: new Map(), failed: new Map() }
  const round = (size: Group["size"], isCounted: boolean, concurrency: number) =>
    Effect.forEach(
      group.lanes.filter((lane) => !progress.failed.has(lane)),
      (lane) =>
        children.ask(lane, { job: lane.job, size: plan.sizeOf(size, lane) }, group.patience).pipe(
          Effect.match({
            onFailure: ({ message }) => void progress.failed.set(lane, message),
            onSuccess: (values) => isCounted && note(progress, lane, values)
          })
        ),
      { concurrency, discard: true }
    )
  for (let i = 0; i < group.warmUps; i++) {
    yield* round(group.warmUpSize, false, warmUpsAtOnce)
  }
  for (let i = 0; i < group.rounds; i++) {
    if (i === 0 || (yield* Clock.currentTimeMillis) < deadline) {
      yield* round(group.size, true, group.together ? group.lanes.length : 1)
    }
  }
  // processes of one lane only would keep their million runs
  yield* Effect.forEach(group.lanes, (lane) => (lane.process === lane.subject ? Effect.void : children.end(lane)), {
    discard: true
  })
  return progress
})

const resultsOf = (backend: Backend, { lanes }: Group, { failed, rounds }: Progress): Measured => {
  const measured = lanes.filter((lane) => !failed.has(lane))
  const measures = new Set(measured.flatMap((lane) => Array.from(rounds.get(lane)?.keys() ?? [])))
  const results = Array.from(measures).flatMap((measure) =>
    measured.flatMap((lane): ReadonlyArray<Result> => {
      const values = rounds.get(lane)?.get(measure)
      return values === undefined
        ? []
        : [{ backend, measure, subject: lane.subject, unit: unitOf(measure), median: median(values), rounds: values }]
    })
  )
  const failures = Array.from(failed, ([{ job, subject }, message]) => ({ backend, measure: job, subject, message }))
  return { results, failures }
}

/** Measures one backend. After the deadline (epoch milliseconds) a measure gets one round only. */
export const run = (backend: Backend, asked: Arguments, deadline: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const children = yield* processes.make(backend)
      const measured = yield* Effect.forEach(plan.make(backend, asked), (group) =>
        Effect.gen(function* () {
          const [took, progress] = yield* Effect.timed(runGroup(children, group, deadline))
          const jobs = Array.from(new Set(group.lanes.map(({ job }) => job))).join(", ")
          yield* Console.error(`${backend} ${jobs}: ${Duration.toSeconds(took).toFixed(1)} s`)
          return resultsOf(backend, group, progress)
        })
      )
      return {
        results: measured.flatMap(({ results }) => results),
        failures: measured.flatMap(({ failures }) => failures)
      }
    })
  )

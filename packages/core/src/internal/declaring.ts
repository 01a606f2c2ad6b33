import { Effect, Either, type ParseResult } from "effect"
import type { InvalidSchedule } from "../ScheduleError.js"
import type { ScheduleChange } from "../Scheduling.js"
import type { EncodedSchedule } from "../Store.js"
import type { BackendError, InvalidOption, PayloadTooLarge } from "../TaskError.js"
import type { Definition } from "./definition.js"
import { isEnvelope } from "./envelope.js"
import type { QueueOptions } from "./managerTag.js"
import * as newRuns from "./newRuns.js"
import type { TaskSchedule } from "./scheduleModel.js"
import { checkName, encodeSpec, type Known, read, templateOf } from "./scheduleRecords.js"
import type { Parts } from "./schedulerParts.js"
import * as ticking from "./ticking.js"
import { compile, type Ticks } from "./ticks.js"

/*
 * Schedules on their way to the backend: those that the code declares, and those that are made at runtime.
 */

/** Documented in `TaskScheduler`. */
export type MakeError = InvalidSchedule | InvalidOption | ParseResult.ParseError | PayloadTooLarge

/** A schedule as the code says it. */
export interface Declared {
  readonly name: string
  readonly task: string
  readonly spec: string
  readonly run: string
  readonly ticks: Ticks
}

/** What the runs of a schedule are queued as. A payload that is not given is nothing, or an empty record. */
export const template = (
  parts: Parts,
  task: Definition,
  payload: unknown,
  options: QueueOptions
): Effect.Effect<string, Exclude<MakeError, InvalidSchedule>> => {
  const make = (payload: unknown) =>
    Effect.flatMap(parts.broker.now, (now) => newRuns.make(parts, task, [payload], options, now))
  const made = payload === undefined ? Effect.catchTag(make(undefined), "ParseError", () => make({})) : make(payload)
  return Effect.map(made, ([run]) => templateOf(run!))
}

export const make = (
  parts: Parts,
  name: string,
  task: Definition,
  schedule: TaskSchedule,
  payload: unknown,
  options: QueueOptions = {}
): Effect.Effect<Declared, MakeError> =>
  Effect.gen(function* () {
    yield* checkName("the name of a schedule", name)
    const ticks = yield* compile(schedule)
    const run = yield* template(parts, task, payload, options)
    return { name, task: task.name, spec: encodeSpec(schedule), run, ticks }
  })

/** The record of a new schedule. */
export const added = (
  { name, run, spec, task, ticks }: Declared,
  now: number,
  more: Partial<EncodedSchedule> = {}
): ScheduleChange => ({
  expected: null,
  runs: [],
  schedule: {
    name,
    task,
    spec,
    run,
    scope: null,
    declared: null,
    paused: false,
    nextTick: ticks.first(now),
    waitingTick: null,
    lastTick: null,
    lastRunId: null,
    unfinished: [],
    createdAt: now,
    // one that is added again under the name of an older one does not repeat its revisions
    revision: now,
    ...more
  }
})

/** The record of a schedule with other texts. Its ticks begin anew when it ticks otherwise. */
export const changed = (
  stored: EncodedSchedule,
  fields: Partial<Pick<EncodedSchedule, "task" | "spec" | "run" | "scope" | "declared">>,
  now: number
): Either.Either<ScheduleChange, InvalidSchedule> => {
  const next: EncodedSchedule = { ...stored, ...fields, revision: stored.revision + 1 }
  const change = (schedule: EncodedSchedule) => ({ schedule, expected: stored.revision, runs: [] })
  return next.spec === stored.spec
    ? Either.right(change(next))
    : Either.map(read(next), (known: Known) => change(ticking.restarted(known, now)))
}

/** What the code says of a schedule, to tell whether it says something else than before. */
const declarationOf = ({ run, spec, task }: Declared): string => JSON.stringify([task, spec, run])

/** What has to be written so that the schedules of a scope are those that the code declares. */
const difference = (
  stored: ReadonlyMap<string, EncodedSchedule>,
  declared: ReadonlyArray<Declared>,
  scope: string,
  now: number
): Either.Either<ReadonlyArray<ScheduleChange>, InvalidSchedule> =>
  Either.all(
    declared.flatMap((one) => {
      const found = stored.get(one.name)
      const declaration = declarationOf(one)
      if (found === undefined) {
        return [Either.right(added(one, now, { scope, declared: declaration }))]
      }
      // what was edited at runtime stays, until the code says something new; nobody knows that without the key of what it said
      const { run, spec, task } = one
      return found.scope === scope && (found.declared === declaration || isEnvelope(found.declared ?? ""))
        ? []
        : [changed(found, { task, spec, run, scope, declared: declaration }, now)]
    })
  )

/**
 * Makes the schedules of a scope those that the code declares: new ones are added, those that the code changes are changed,
 * and those that it no longer has are removed. Whoever does the same at this moment comes to the same end.
 */
export const reconcile = (
  { broker, store }: Parts,
  declared: ReadonlyArray<Declared>,
  scope: string
): Effect.Effect<void, BackendError> =>
  Effect.gen(function* () {
    const names = new Set(declared.map(({ name }) => name))
    while (true) {
      const stored = yield* store.schedules
      const now = yield* broker.now
      // what is declared was checked before
      const changes = yield* Effect.orDie(
        difference(new Map(stored.map((one) => [one.name, one])), declared, scope, now)
      )
      const gone = stored.filter((one) => one.scope === scope && !names.has(one.name)).map(({ name }) => name)
      if (gone.length > 0) {
        yield* broker.removeSchedules(gone)
        yield* Effect.logInfo(`schedules that are no longer declared were removed: ${gone.join(", ")}`)
      }
      const written = changes.length === 0 ? [] : yield* broker.putSchedules(changes)
      if (written.every(Boolean)) {
        return
      }
    }
  })

import { Effect, Either } from "effect"
import { type InvalidSchedule, ScheduleExists, ScheduleNotFound } from "../ScheduleError.js"
import type { ScheduleChange } from "../Scheduling.js"
import type { EncodedSchedule } from "../Store.js"
import { type BackendError, InvalidOption } from "../TaskError.js"
import * as accepting from "./accepting.js"
import * as declaring from "./declaring.js"
import type { Definition } from "./definition.js"
import type { QueueOptions } from "./managerTag.js"
import * as newRuns from "./newRuns.js"
import type { RunId } from "./run.js"
import type { TaskSchedule } from "./scheduleModel.js"
import { encodeSpec, type Known, read, type ScheduleRecord, toFire, toRecord } from "./scheduleRecords.js"
import type { Parts } from "./schedulerParts.js"
import { tagsOf } from "./scheduleTags.js"
import * as ticking from "./ticking.js"
import { compile, preview } from "./ticks.js"

/*
 * What people and programs do to schedules. Each is a change of one record, tried again when somebody else was quicker.
 */

/** Documented in `TaskScheduler`. */
export type RunOptions = Pick<QueueOptions, "queue" | "priority" | "tags" | "group">

/** What a schedule is to do. */
export interface Wish extends RunOptions {
  readonly task: Definition
  readonly payload?: unknown
  readonly schedule: TaskSchedule
  readonly paused?: boolean | undefined
}

/** What is to be otherwise. */
export interface Edit extends RunOptions {
  readonly task?: Definition | undefined
  readonly payload?: unknown
  readonly schedule?: TaskSchedule | undefined
}

export const list = ({ store }: Parts): Effect.Effect<ReadonlyArray<ScheduleRecord>, BackendError> =>
  Effect.map(store.schedules, (all) =>
    all.flatMap((stored) => Either.match(read(stored), { onLeft: () => [], onRight: (known) => [toRecord(known)] }))
  )

const find = (
  { store }: Parts,
  name: string
): Effect.Effect<Known, ScheduleNotFound | InvalidSchedule | BackendError> =>
  Effect.flatMap(store.schedules, (all): Effect.Effect<Known, ScheduleNotFound | InvalidSchedule> => {
    const stored = all.find((one) => one.name === name)
    return stored === undefined ? new ScheduleNotFound({ name }) : read(stored)
  })

export const get = (parts: Parts, name: string) => Effect.map(find(parts, name), toRecord)

export const add = (
  parts: Parts,
  name: string,
  { paused, payload, schedule, task, ...options }: Wish
): Effect.Effect<void, declaring.MakeError | ScheduleExists | BackendError> =>
  Effect.gen(function* () {
    const declared = yield* declaring.make(parts, name, task, schedule, payload, options)
    const now = yield* parts.broker.now
    const [written] = yield* parts.broker.putSchedules([declaring.added(declared, now, { paused: paused ?? false })])
    if (!written) {
      return yield* new ScheduleExists({ name })
    }
  })

/** Changes a record, however often others change it meanwhile. */
const change = <E>(
  parts: Parts,
  name: string,
  f: (known: Known, now: number) => Either.Either<ScheduleChange, E>
): Effect.Effect<void, E | ScheduleNotFound | InvalidSchedule | BackendError> =>
  Effect.gen(function* () {
    while (true) {
      const known = yield* find(parts, name)
      const [written] = yield* accepting.fire(parts, [yield* f(known, yield* parts.broker.now)], true)
      if (written) {
        return
      }
    }
  })

const changed = (
  { stored }: Known,
  fields: Partial<EncodedSchedule>,
  runs: ScheduleChange["runs"] = []
): Either.Either<ScheduleChange> =>
  Either.right({
    schedule: { ...stored, ...fields, revision: stored.revision + 1 },
    expected: stored.revision,
    runs
  })

export const edit = (
  parts: Parts,
  name: string,
  { payload, schedule, task, ...options }: Edit
): Effect.Effect<void, declaring.MakeError | ScheduleNotFound | BackendError> =>
  Effect.gen(function* () {
    const more =
      task === undefined ? {} : { task: task.name, run: yield* declaring.template(parts, task, payload, options) }
    if (schedule !== undefined) {
      yield* compile(schedule)
    }
    const spec = schedule === undefined ? {} : { spec: encodeSpec(schedule) }
    yield* change(parts, name, ({ stored }, now) => declaring.changed(stored, { ...more, ...spec }, now))
  })

export const remove = ({ broker }: Parts, name: string): Effect.Effect<void, ScheduleNotFound | BackendError> =>
  Effect.flatMap(broker.removeSchedules([name]), (removed) =>
    removed === 0 ? new ScheduleNotFound({ name }) : Effect.void
  )

export const pause = (parts: Parts, name: string) =>
  change(parts, name, (known) => changed(known, { paused: true, waitingTick: null }))

export const resume = (parts: Parts, name: string) =>
  change(parts, name, (known, now) =>
    known.stored.paused ? changed(known, { ...ticking.restarted(known, now), paused: false }) : changed(known, {})
  )

/** So many unfinished runs are remembered of a schedule that is triggered again and again. */
const mostRemembered = 100

/** Queues a run besides those of the ticks; gives its id. */
export const trigger = (parts: Parts, name: string) =>
  Effect.suspend(() => {
    let id: RunId | undefined
    return Effect.map(
      change(parts, name, (known, now) =>
        Either.flatMap(toFire(known), ({ stored: { name, unfinished }, template }) => {
          const run = newRuns.templated(template, parts.ids.at(now, 1)[0]!, now, tagsOf(name, null))
          id = run.id
          return changed(known, { lastRunId: id, unfinished: [...unfinished, id].slice(-mostRemembered) }, [run])
        })
      ),
      () => id!
    )
  })

const mostPreviewed = 1_000

export const upcoming = (parts: Parts, name: string, count: number) =>
  Effect.gen(function* () {
    if (!(Number.isSafeInteger(count) && count >= 1 && count <= mostPreviewed)) {
      return yield* new InvalidOption({
        option: "count",
        value: count,
        expected: `an integer from 1 to ${mostPreviewed}`
      })
    }
    const { stored, ticks } = yield* find(parts, name)
    const from = stored.nextTick
    return from === null ? preview(ticks, yield* parts.broker.now, count) : [from, ...preview(ticks, from, count - 1)]
  })

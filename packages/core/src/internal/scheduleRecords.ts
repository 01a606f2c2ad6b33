import { Either, Schema } from "effect"
import { InvalidSchedule } from "../ScheduleError.js"
import type { EncodedSchedule } from "../Store.js"
import { InvalidOption } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isName } from "./checking.js"
import * as codec from "./codec.js"
import { isEnvelope, keyIdOf } from "./envelope.js"
import type { Template } from "./newRuns.js"
import { RunId } from "./run.js"
import { TaskSchedule } from "./scheduleModel.js"
import * as ticking from "./ticking.js"
import { compile } from "./ticks.js"

/*
 * Schedules as they are stored, and as others see them.
 */

const TemplateText = Schema.parseJson(
  Schema.Struct({
    payload: Schema.String,
    payloadVersion: Schema.Number,
    queue: Schema.String,
    priority: Schema.Number,
    tags: Schema.Array(Schema.String),
    group: Schema.NullOr(Schema.String),
    limitKeys: Schema.NullOr(Schema.String)
  })
)

const SpecText = Schema.parseJson(TaskSchedule)

export const encodeSpec = Schema.encodeSync(SpecText)

const decodeSpec = Schema.decodeEither(SpecText)

const decodeTemplate = Schema.decodeEither(TemplateText)

/** The template of a run that was made to be queued. */
export const templateOf = (run: EncodedRun): string =>
  Schema.encodeSync(TemplateText)({
    payload: run.payload,
    payloadVersion: run.payloadVersion,
    queue: run.queue,
    priority: run.priority,
    tags: run.tags,
    group: run.group,
    limitKeys: run.limitKeys
  })

/** A schedule whose texts have been read, and what its runs are queued as. */
export interface Known extends ticking.Scheduled {
  readonly template: Template
}

/** Reads the texts of a schedule. Those of another version of this program may not fit. */
export const read = (stored: EncodedSchedule): Either.Either<Known, InvalidSchedule> =>
  Either.gen(function* () {
    const unreadable = ({ message }: { readonly message: string }) =>
      new InvalidSchedule({ schedule: `"${stored.name}"`, reason: `its stored form is of another version: ${message}` })
    const spec = yield* Either.mapLeft(decodeSpec(stored.spec), unreadable)
    const template = yield* Either.mapLeft(decodeTemplate(stored.run), unreadable)
    return { stored, spec, ticks: yield* compile(spec), template: { task: stored.task, ...template } }
  })

/** A schedule whose runs can be queued: one with a payload that could not be decrypted stays as it is until its key is there. */
export const toFire = (known: Known): Either.Either<Known, InvalidSchedule> => {
  const { stored, template } = known
  return isEnvelope(template.payload)
    ? Either.left(
        new InvalidSchedule({
          schedule: `"${stored.name}"`,
          reason: `its payload is encrypted with the key "${keyIdOf(template.payload)}" and cannot be decrypted: give PayloadCipher that key, or edit the schedule; if it has the key, the record was changed`
        })
      )
    : Either.right(known)
}

/** The public record of a schedule. Documented in `TaskScheduler`. */
export class ScheduleRecord extends Schema.Class<ScheduleRecord>("@effect-tasks/core/TaskScheduler/ScheduleRecord")({
  name: Schema.String,
  task: Schema.String,
  schedule: TaskSchedule,
  payload: Schema.Unknown,
  payloadVersion: Schema.Number,
  source: Schema.Literal("code", "runtime"),
  scope: Schema.NullOr(Schema.String),
  paused: Schema.Boolean,
  nextTick: Schema.NullOr(Schema.Number),
  nextAt: Schema.NullOr(Schema.Number),
  waitingTick: Schema.NullOr(Schema.Number),
  lastTick: Schema.NullOr(Schema.Number),
  lastRunId: Schema.NullOr(RunId),
  createdAt: Schema.Number
}) {}

export const toRecord = (known: Known): ScheduleRecord => {
  const { createdAt, lastRunId, lastTick, name, nextTick, paused, scope, task, waitingTick } = known.stored
  return new ScheduleRecord(
    {
      name,
      task,
      schedule: known.spec,
      payload: codec.payloadOf(known.template.payload),
      payloadVersion: known.template.payloadVersion,
      source: scope === null ? "runtime" : "code",
      scope,
      paused,
      nextTick,
      nextAt: ticking.dueAt(known),
      waitingTick,
      lastTick,
      lastRunId,
      createdAt
    },
    { disableValidation: true }
  )
}

const mostCharacters = 180

/** A name becomes a tag of the runs. */
export const checkName = (option: string, name: string): Either.Either<string, InvalidOption> =>
  isName(name) && name.length <= mostCharacters
    ? Either.right(name)
    : Either.left(
        new InvalidOption({
          option,
          value: name,
          expected: `1 to ${mostCharacters} characters, none of them a control character`
        })
      )

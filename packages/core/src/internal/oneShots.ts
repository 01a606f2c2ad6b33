import { Effect, Schema } from "effect"
import { type BackendError, InvalidOption } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import * as codec from "./codec.js"
import type { Definition } from "./definition.js"
import type { QueueError, TaskManager } from "./managerTag.js"
import * as operating from "./operating.js"
import { RunId } from "./run.js"
import { checkName } from "./scheduleRecords.js"
import type { Parts } from "./schedulerParts.js"
import { onceKeyOf, onceKeyTag, onceTag } from "./scheduleTags.js"

/*
 * One-shots: runs that wait for a moment, under a key by which they can be replaced and cancelled. They are ordinary runs, held
 * by an idempotency key of their task.
 */

/** Documented in `TaskScheduler`. */
export class OneShot extends Schema.Class<OneShot>("@effect-tasks/core/TaskScheduler/OneShot")({
  key: Schema.String,
  task: Schema.String,
  at: Schema.Number,
  payload: Schema.Unknown,
  runId: RunId
}) {}

export interface Wish {
  readonly task: Definition
  readonly payload?: unknown
  readonly at: Date | number
}

export const once = (
  manager: typeof TaskManager.Service,
  key: string,
  { at, payload, task }: Wish
): Effect.Effect<RunId, QueueError> =>
  Effect.gen(function* () {
    yield* checkName("the key of a one-shot", key)
    if (!Number.isFinite(Number(at))) {
      return yield* new InvalidOption({ option: "at", value: at, expected: "a valid date" })
    }
    const queue = (payload: unknown) =>
      manager.queue(task, [payload], {
        at,
        tags: [onceTag, onceKeyTag(key)],
        // the newest request says what, and when
        idempotencyKey: { key: onceKeyTag(key), debounce: 0 }
      })
    const [run] = yield* payload === undefined
      ? Effect.catchTag(queue(undefined), "ParseError", () => queue({}))
      : queue(payload)
    return run!.id
  })

const waiting = ({ store }: Parts, tag: string): Effect.Effect<ReadonlyArray<EncodedRun>, BackendError> =>
  store.runs({ tag, state: ["queued", "scheduled"], limit: 1_000 })

export const cancel = (parts: Parts, key: string): Effect.Effect<boolean, BackendError> =>
  Effect.flatMap(waiting(parts, onceKeyTag(key)), (runs) =>
    runs.length === 0
      ? Effect.succeed(false)
      : Effect.map(
          operating.cancel(
            parts,
            runs.map(({ id }) => id),
            `the one-shot ${key} was cancelled`
          ),
          (results) => results.some(({ _tag }) => _tag === "Cancelled")
        )
  )

export const list = (parts: Parts): Effect.Effect<ReadonlyArray<OneShot>, BackendError> =>
  Effect.map(waiting(parts, onceTag), (runs) =>
    runs
      .map(
        ({ dueAt, id, payload, tags, task }) =>
          new OneShot(
            { key: onceKeyOf(tags) ?? "", task, at: dueAt, payload: codec.payloadOf(payload), runId: id },
            { disableValidation: true }
          )
      )
      .sort((a, b) => a.at - b.at)
  )

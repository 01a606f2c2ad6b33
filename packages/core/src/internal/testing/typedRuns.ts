import { Effect, Either, type Exit, type Schema } from "effect"
import type { Encoded as EncodedRun, Failure } from "../../TaskRun.js"
import { isFinal, type TaskState } from "../../TaskState.js"
import * as codec from "../codec.js"
import type { Definition } from "../definition.js"
import * as outcome from "../outcome.js"
import type { RunId } from "../run.js"
import type { Recorded } from "./recording.js"

/** Documented in `TaskTest`. */
export interface QueuedRun<T extends Definition> {
  readonly id: RunId
  readonly task: T["name"]
  readonly payload: Schema.Schema.Type<T["payloadSchema"]>
  readonly state: TaskState
  readonly queue: string
  readonly priority: number
  readonly tags: ReadonlyArray<string>
  readonly group: string | null
  readonly idempotencyKey: string | null
  readonly createdAt: number
  readonly dueAt: number
  readonly attempt: number
  readonly crashes: number
  readonly parentId: RunId | null
  readonly retryOf: RunId | null
}

/** Documented in `TaskTest`. */
export interface EndedRun<T extends Definition> extends QueuedRun<T> {
  readonly endedAt: number
  readonly exit: Exit.Exit<Schema.Schema.Type<T["successSchema"]>, Failure<T>>
}

const toQueued = <T extends Definition>(task: T, run: EncodedRun): Effect.Effect<QueuedRun<T>> => {
  const decoded = codec.decodePayload(task, run)
  const payload = Either.isEither(decoded) ? Effect.suspend(() => decoded) : decoded
  return payload.pipe(
    Effect.orDieWith(
      (issue) => new Error(`the payload of ${run.task} (run ${run.id}) does not fit its schema: ${issue}`)
    ),
    Effect.map((payload) => ({
      id: run.id,
      task: task.name,
      payload: payload as Schema.Schema.Type<T["payloadSchema"]>,
      state: run.state,
      queue: run.queue,
      priority: run.priority,
      tags: run.tags,
      group: run.group,
      idempotencyKey: run.idempotency?.key ?? null,
      createdAt: run.createdAt,
      dueAt: run.dueAt,
      attempt: run.attempt,
      crashes: run.crashes,
      parentId: run.parentId,
      retryOf: run.retryOf
    }))
  )
}

const recordsOf = ({ queued }: typeof Recorded.Service, task: Definition): Effect.Effect<ReadonlyArray<EncodedRun>> =>
  Effect.map(queued, (runs) => runs.filter((run) => run.task === task.name))

export const queued = <T extends Definition>(
  recorded: typeof Recorded.Service,
  task: T
): Effect.Effect<ReadonlyArray<QueuedRun<T>>> =>
  Effect.flatMap(
    recordsOf(recorded, task),
    Effect.forEach((run) => toQueued(task, run))
  )

export const ended = <T extends Definition>(
  recorded: typeof Recorded.Service,
  task: T
): Effect.Effect<ReadonlyArray<EndedRun<T>>> =>
  Effect.flatMap(recordsOf(recorded, task), (runs) =>
    Effect.forEach(
      runs.filter(({ state }) => isFinal(state)),
      (run) =>
        Effect.zipWith(toQueued(task, run), Effect.exit(outcome.toEffect(task, run)), (queued, exit) => ({
          ...queued,
          endedAt: run.endedAt ?? run.createdAt,
          exit
        }))
    )
  )

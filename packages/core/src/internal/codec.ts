import { Effect, Either, ParseResult, Schema } from "effect"
import { PayloadInvalid, PayloadTooLarge } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Definition } from "./definition.js"
import { type Attempt, type Outcome, type Progress, TaskRun } from "./run.js"

/*
 * The one place where users' values become texts, and texts become users' values. `undefined`, the payload of a task
 * without one, is the empty text.
 */

/** The UTF-8 length of a text, in bytes. */
const byteLength = (text: string): number => {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // a surrogate pair is two units and four bytes
    bytes += unit < 0x80 ? 0 : unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}

const toText = (schema: Schema.Schema.All, value: unknown): Either.Either<string, ParseResult.ParseError> =>
  Either.try({
    try: () => (value === undefined ? "" : JSON.stringify(value)),
    catch: (cause) =>
      ParseResult.parseError(new ParseResult.Type(schema.ast, value, `its encoded form is not JSON: ${String(cause)}`))
  })

const fromText = (text: string): unknown => (text === "" ? undefined : JSON.parse(text))

const fromTextOr = <A>(text: string | null, fallback: A): A => {
  try {
    return text === null ? fallback : ((fromText(text) ?? fallback) as A)
  } catch {
    return fallback
  }
}

/** Encodes a value with a schema that needs no services. */
export const encode = (schema: Schema.Schema.All, value: unknown): Effect.Effect<unknown, ParseResult.ParseError> =>
  Schema.encodeUnknown(schema as Schema.Schema<unknown, unknown>)(value)

/** Decodes a value with a schema that needs no services. */
export const decode = (schema: Schema.Schema.All, value: unknown): Effect.Effect<unknown, ParseResult.ParseError> =>
  Schema.decodeUnknown(schema as Schema.Schema<unknown, unknown>)(value)

export const encodePayload = (
  task: Definition,
  payload: unknown,
  maxBytes: number
): Effect.Effect<string, ParseResult.ParseError | PayloadTooLarge> =>
  Effect.flatMap(
    Effect.flatMap(encode(task.payloadSchema, payload), (encoded) => toText(task.payloadSchema, encoded)),
    (text) => {
      // a UTF-16 unit takes three bytes at the most
      const bytes = text.length * 3 <= maxBytes ? 0 : byteLength(text)
      return bytes > maxBytes ? new PayloadTooLarge({ task: task.name, bytes, maxBytes }) : Effect.succeed(text)
    }
  )

export const decodePayload = (task: Definition, run: EncodedRun): Effect.Effect<unknown, PayloadInvalid> =>
  Effect.try(() => fromText(run.payload)).pipe(
    Effect.flatMap((value) => decode(task.payloadSchema, value)),
    Effect.mapError(
      (error) => new PayloadInvalid({ runId: run.id, task: run.task, issue: error.message || String(error.cause) })
    )
  )

export const ledgerOf = (run: EncodedRun): ReadonlyArray<Attempt> => fromTextOr<ReadonlyArray<Attempt>>(run.ledger, [])

export const outcomeOf = (run: EncodedRun): Outcome | null => fromTextOr<Outcome | null>(run.outcome, null)

export const toTaskRun = (run: EncodedRun): TaskRun =>
  new TaskRun(
    {
      id: run.id,
      task: run.task,
      queue: run.queue,
      state: run.state,
      priority: run.priority,
      payload: fromTextOr<unknown>(run.payload, null),
      payloadVersion: run.payloadVersion,
      createdAt: run.createdAt,
      dueAt: run.dueAt,
      startedAt: run.startedAt,
      endedAt: run.endedAt,
      attempt: run.attempt,
      crashes: run.crashes,
      consumer: run.consumer,
      attempts: ledgerOf(run),
      outcome: outcomeOf(run),
      progress: fromTextOr<typeof Progress.Type | null>(run.progress, null),
      tags: run.tags,
      group: run.group,
      idempotencyKey: run.idempotency?.key ?? null,
      parentId: run.parentId,
      rootId: run.rootId,
      retryOf: run.retryOf,
      traceparent: run.traceparent
    },
    { disableValidation: true }
  )

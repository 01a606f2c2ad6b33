import { Effect, Either, ParseResult, type Schema } from "effect"
import { PayloadTooLarge } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Definition } from "./definition.js"
import { isEnvelope, keyIdOf } from "./envelope.js"
import { type Attempt, Encrypted, type Outcome, type Progress, TaskRun } from "./run.js"
import * as versions from "./versions.js"

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

/** What coding gives: mostly an answer at once. An `Either` is an `Effect` too; who asks first saves the detour. */
export type Coded<A, E> = Either.Either<A, E> | Effect.Effect<A, E>

type Coder = (value: unknown) => Coded<unknown, ParseResult.ParseIssue>

interface Coders {
  readonly encode: Coder
  readonly decode: Coder
}

const known = new WeakMap<Schema.Schema.All, Coders>()

/** The coders of a schema that needs no services; making them takes as long as using them. */
const codersOf = (all: Schema.Schema.All): Coders => {
  let coders = known.get(all)
  if (coders === undefined) {
    const schema = all as Schema.Schema<unknown, unknown>
    coders = { encode: ParseResult.encodeUnknown(schema), decode: ParseResult.decodeUnknown(schema) }
    known.set(all, coders)
  }
  return coders
}

const code = (coder: Coder, value: unknown): Coded<unknown, ParseResult.ParseError> => {
  const coded = coder(value)
  return Either.isEither(coded)
    ? Either.mapLeft(coded, ParseResult.parseError)
    : Effect.mapError(coded, ParseResult.parseError)
}

/** Encodes a value with a schema that needs no services. */
export const encode = (schema: Schema.Schema.All, value: unknown): Coded<unknown, ParseResult.ParseError> =>
  code(codersOf(schema).encode, value)

/** Decodes a value with a schema that needs no services. */
export const decode = (schema: Schema.Schema.All, value: unknown): Coded<unknown, ParseResult.ParseError> =>
  code(codersOf(schema).decode, value)

/** All answers, in order, or the first failure. */
export const all = <A, E>(codeds: ReadonlyArray<Coded<A, E>>): Coded<ReadonlyArray<A>, E> => {
  const values: Array<A> = []
  for (const coded of codeds) {
    if (!Either.isEither(coded)) {
      return Effect.all(codeds)
    }
    if (Either.isLeft(coded)) {
      return Either.left(coded.left)
    }
    values.push(coded.right)
  }
  return Either.right(values)
}

/** Goes on with what was coded: at once, where it is there. */
const andThen = <A, E, B, E2>(coded: Coded<A, E>, next: (value: A) => Either.Either<B, E2>): Coded<B, E | E2> =>
  Either.isEither(coded) ? Either.flatMap(coded, next) : Effect.flatMap(coded, next)

export const encodePayload = (
  task: Definition,
  payload: unknown,
  maxBytes: number
): Coded<string, ParseResult.ParseError | PayloadTooLarge> =>
  andThen(encode(task.payloadSchema, payload), (encoded) =>
    Either.flatMap(toText(task.payloadSchema, encoded), (text) => {
      // a UTF-16 unit takes three bytes at the most
      const bytes = text.length * 3 <= maxBytes ? 0 : byteLength(text)
      return bytes > maxBytes
        ? Either.left(new PayloadTooLarge({ task: task.name, bytes, maxBytes }))
        : Either.right(text)
    })
  )

/** The payload of a run, brought to the version of the task; or why it does not fit the schema. */
export const decodePayload = (
  task: Definition,
  run: Pick<EncodedRun, "payload" | "payloadVersion">
): Coded<unknown, string> => {
  let value: unknown
  try {
    value = fromText(run.payload)
  } catch (error) {
    return Either.left(String(error))
  }
  if (run.payloadVersion === task.version) {
    return fitting(task, value)
  }
  const raised = versions.raise(task, run.payloadVersion, value)
  return Either.isLeft(raised) ? raised : fitting(task, raised.right)
}

const fitting = (task: Definition, value: unknown): Coded<unknown, string> => {
  const decoded = decode(task.payloadSchema, value)
  return Either.isEither(decoded)
    ? Either.mapLeft(decoded, ({ message }) => message)
    : Effect.mapError(decoded, ({ message }) => message)
}

export const ledgerOf = (run: EncodedRun): ReadonlyArray<Attempt> => fromTextOr<ReadonlyArray<Attempt>>(run.ledger, [])

export const outcomeOf = (run: EncodedRun): Outcome | null => fromTextOr<Outcome | null>(run.outcome, null)

export const toProgress = (progress: string): typeof Progress.Type => {
  const { message, value } = fromTextOr<typeof Progress.Type>(progress, { value: 0, message: null })
  // an encrypted word is no text
  return { value, message: typeof message === "string" ? message : null }
}

const asEncrypted = (keyId: string): Encrypted => new Encrypted({ keyId }, { disableValidation: true })

/** A stored payload as people see it; or that it is encrypted, and with which key. */
export const payloadOf = (text: string): unknown =>
  isEnvelope(text) ? asEncrypted(keyIdOf(text)) : fromTextOr<unknown>(text, null)

/** An outcome without its envelope. */
const shownOutcome = (outcome: Outcome | null): Outcome | null =>
  outcome?._tag === "Encrypted" ? asEncrypted(outcome.keyId) : outcome

const shownAttempt = (attempt: Attempt): Attempt =>
  attempt.outcome._tag === "Encrypted" ? { ...attempt, outcome: asEncrypted(attempt.outcome.keyId) } : attempt

export const toTaskRun = (run: EncodedRun): TaskRun =>
  new TaskRun(
    {
      id: run.id,
      task: run.task,
      queue: run.queue,
      state: run.state,
      priority: run.priority,
      payload: payloadOf(run.payload),
      payloadVersion: run.payloadVersion,
      createdAt: run.createdAt,
      dueAt: run.dueAt,
      startedAt: run.startedAt,
      endedAt: run.endedAt,
      attempt: run.attempt,
      crashes: run.crashes,
      snoozes: run.snoozes,
      expiresAt: run.expiresAt,
      consumer: run.consumer,
      attempts: ledgerOf(run).map(shownAttempt),
      outcome: shownOutcome(outcomeOf(run)),
      progress: run.progress === null ? null : toProgress(run.progress),
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

import { Cause, Effect, Either, Option, ParseResult, type Schema } from "effect"
import { LockLost, LockReentered, LockTimeout } from "../LockError.js"
import {
  BackendError,
  ExecutorCrashed,
  IdempotencyConflict,
  InvalidOption,
  PayloadInvalid,
  PayloadTooLarge,
  QueueFull,
  ResultInvalid,
  type RunError,
  RunUndecryptable,
  TaskAborted,
  TaskCancelled,
  TaskDefect,
  TaskInterrupted,
  TaskRateLimited,
  TaskTimeout,
  TooManyCrashes
} from "../TaskError.js"
import type { Encoded as EncodedRun, Failure } from "../TaskRun.js"
import * as codec from "./codec.js"
import type { Definition } from "./definition.js"
import type { Attempt, Outcome } from "./run.js"

type OutcomeOf<Tag extends Outcome["_tag"]> = Extract<Outcome, { readonly _tag: Tag }>

/** The encoded outcome of a success; `ResultInvalid` when the value does not fit the task's schema. */
export const ofSuccess = (task: Definition, value: unknown): Effect.Effect<Outcome> => {
  const encoded = codec.encode(task.successSchema, value)
  return Either.isEither(encoded)
    ? Effect.succeed(Either.match(encoded, { onLeft: ofUnfitting, onRight: ofEncoded }))
    : Effect.match(encoded, { onFailure: ofUnfitting, onSuccess: ofEncoded })
}

const ofUnfitting = ({ message }: ParseResult.ParseError): Outcome => ({ _tag: "ResultInvalid", issue: message })

const ofEncoded = (value: unknown): Outcome => (value === undefined ? { _tag: "Success" } : { _tag: "Success", value })

/** The encoded outcome of a cause that is neither a verdict nor a requested interruption. */
export const ofCause = (task: Definition, cause: Cause.Cause<unknown>): Effect.Effect<Outcome> => {
  const failure = Cause.failureOption(cause)
  const rendered = Cause.pretty(cause, { renderErrorCause: true })
  return Option.isSome(failure)
    ? Effect.match(codec.encode(task.errorSchema, failure.value), {
        onFailure: (error): Outcome =>
          isQueueError(failure.value)
            ? ofDefect(failure.value, rendered)
            : { _tag: "ResultInvalid", issue: error.message },
        onSuccess: (error) => ({ _tag: "Failure", error, cause: rendered })
      })
    : Effect.succeed(ofDefect(defectOf(cause), rendered))
}

const defectOf = (cause: Cause.Cause<unknown>): unknown =>
  Option.getOrElse(Cause.dieOption(cause), () => new Error("the handler interrupted itself"))

/** What queueing a child, or taking a lock, may fail with; a handler need not catch it, though it is no error of its task. */
const isQueueError = (failure: unknown): boolean =>
  failure instanceof BackendError ||
  failure instanceof IdempotencyConflict ||
  failure instanceof InvalidOption ||
  failure instanceof LockLost ||
  failure instanceof LockReentered ||
  failure instanceof LockTimeout ||
  failure instanceof PayloadTooLarge ||
  failure instanceof QueueFull ||
  ParseResult.isParseError(failure)

const ofDefect = (defect: unknown, rendered: string): Outcome =>
  defect instanceof Error
    ? { _tag: "Defect", name: defect.name, message: defect.message, cause: rendered }
    : { _tag: "Defect", name: "Defect", message: String(defect), cause: rendered }

const named = (run: EncodedRun) => ({ runId: run.id, task: run.task })

/** A stored defect, as an error again. */
const toDefect = (run: EncodedRun, attempt: number, outcome: OutcomeOf<"Defect">): TaskDefect => {
  const defect = new Error(outcome.message)
  defect.name = outcome.name
  return new TaskDefect({ ...named(run), attempt, defect, cause: outcome.cause })
}

/** What a failed attempt of the ledger failed with, decoded, as the retry schedule sees it. */
export const failureOf = (
  task: Definition,
  run: EncodedRun,
  attempt: Attempt
): Option.Option<Effect.Effect<unknown>> => {
  const { number, outcome } = attempt
  switch (outcome._tag) {
    case "Failure":
      return Option.some(
        Effect.catchAll(codec.decode(task.errorSchema, outcome.error), () =>
          Effect.succeed(toDefect(run, number, { _tag: "Defect", name: "Error", message: outcome.cause, cause: "" }))
        )
      )
    case "Defect":
      return Option.some(Effect.succeed(toDefect(run, number, outcome)))
    case "Timeout":
      return Option.some(
        Effect.succeed(new TaskTimeout({ ...named(run), attempt: number, timeoutMillis: outcome.timeoutMillis }))
      )
    case "ExecutorCrashed":
      return Option.some(
        Effect.succeed(new ExecutorCrashed({ ...named(run), attempt: number, reason: outcome.reason }))
      )
    default:
      return Option.none()
  }
}

/** How an ended run ended, as the typed success or the typed failure of its task. */
export const toEffect = <D extends Definition>(
  task: D,
  run: EncodedRun
): Effect.Effect<Schema.Schema.Type<D["successSchema"]>, Failure<D>> =>
  toUntyped(task, run) as Effect.Effect<Schema.Schema.Type<D["successSchema"]>, Failure<D>>

const toUntyped = (task: Definition, run: EncodedRun): Effect.Effect<unknown, unknown> => {
  const outcome = codec.outcomeOf(run)
  const invalid = (issue: string) => new ResultInvalid({ ...named(run), issue })
  if (outcome === null) {
    return Effect.fail(invalid(`the record of a run that is ${run.state} has no outcome`))
  }
  switch (outcome._tag) {
    case "Success":
      return Effect.mapError(codec.decode(task.successSchema, outcome.value), (error) => invalid(error.message))
    case "Failure":
      return codec.decode(task.errorSchema, outcome.error).pipe(
        Effect.mapError((error) => invalid(error.message)),
        Effect.flatMap(Effect.fail)
      )
    default:
      return Effect.fail(toRunError(run, outcome))
  }
}

/** What a run ended with that is neither a success nor its task's own error. */
export const toRunError = (
  run: EncodedRun,
  outcome: Exclude<Outcome, OutcomeOf<"Success"> | OutcomeOf<"Failure">>
): RunError => {
  switch (outcome._tag) {
    case "Defect":
      return toDefect(run, run.attempt, outcome)
    case "Timeout":
      return new TaskTimeout({ ...named(run), attempt: run.attempt, timeoutMillis: outcome.timeoutMillis })
    case "ExecutorCrashed":
      return new ExecutorCrashed({ ...named(run), attempt: run.attempt, reason: outcome.reason })
    case "Aborted":
      return new TaskAborted({ ...named(run), reason: outcome.reason })
    case "Cancelled":
      return new TaskCancelled({ ...named(run), reason: outcome.reason })
    case "Interrupted":
      return new TaskInterrupted({ ...named(run), reason: outcome.reason })
    case "RateLimited":
      return new TaskRateLimited({ ...named(run), retryAfterMillis: outcome.retryAfterMillis })
    case "Crashed":
      return new TooManyCrashes({ ...named(run), crashes: run.crashes })
    case "TooManyCrashes":
      return new TooManyCrashes({ ...named(run), crashes: outcome.crashes })
    case "PayloadInvalid":
      return new PayloadInvalid({ ...named(run), issue: outcome.issue })
    case "ResultInvalid":
      return new ResultInvalid({ ...named(run), issue: outcome.issue })
    case "Undecryptable":
      return new RunUndecryptable({ ...named(run), part: "payload", keyId: outcome.keyId })
    case "Encrypted":
      return new RunUndecryptable({ ...named(run), part: "result", keyId: outcome.keyId })
  }
}

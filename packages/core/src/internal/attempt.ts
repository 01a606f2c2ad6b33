import { Cause, Context, Duration, Effect, Either, Exit, Fiber, Option, Scope, Tracer } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { AttemptEnd } from "./attemptResult.js"
import * as codec from "./codec.js"
import type { Definition, HandlerEntry } from "./definition.js"
import { isEnvelope, keyIdOf } from "./envelope.js"
import * as outcome from "./outcome.js"
import type { Outcome } from "./run.js"
import * as tracing from "./tracing.js"
import * as Verdict from "./verdict.js"

/*
 * One attempt at a run, as a pipeline: decode the payload, call the handler, trace it, close its Scope, keep it within its
 * time, and read its Exit.
 */

export type { AttemptEnd } from "./attemptResult.js"

/** Who performs an attempt, and interrupts it. */
export type Holder = tracing.Traced["holder"]

/** What an attempt is given: the entry of its handler, the run, what the handler sees of it, and its services. */
export interface Given extends tracing.Traced {
  readonly entry: HandlerEntry
  readonly services: Context.Context<never>
}

/**
 * The services of an attempt are those of the handler's Layer, its run, and its Scope, which enters when the attempt begins.
 * The one context is made by hand, as each `provide` would copy it once more; and it is given to a fiber from its beginning,
 * where that costs nothing.
 */
export const give = (
  entry: HandlerEntry,
  run: EncodedRun,
  current: typeof CurrentRun.Service,
  holder: Holder,
  how: tracing.Tracing
): Given => {
  const services = new Map(entry.context.unsafeMap).set(CurrentRun.key, current)
  if (run.traceparent !== null && how === "parent") {
    const parent = tracing.spanOf(run.traceparent)
    if (parent !== undefined) {
      services.set(Tracer.ParentSpan.key, parent)
    }
  }
  return { entry, run, current, holder, tracing: how, services: Context.unsafeMake<never>(services) }
}

/**
 * Performs one attempt, in a fiber that has its `services`. When it returns, the attempt's Scope is closed. It is for an
 * uninterruptible region: only the handler can be interrupted, and what it did in spite of that counts. `onTimeout` is called
 * when its time is over, before it is interrupted.
 */
export const perform = (given: Given, onTimeout: () => void = nothing): Effect.Effect<AttemptEnd> =>
  tracing.attempting(given, (span) => {
    if (span !== null) {
      // for what the handler leaves to be done at the end; for itself it is given apart
      given.services.unsafeMap.set(Tracer.ParentSpan.key, span)
    }
    return decodeAndHandle(given, span, onTimeout)
  })

const nothing = () => {}

const decodeAndHandle = (given: Given, span: Tracer.Span | null, onTimeout: () => void): Effect.Effect<AttemptEnd> => {
  const { definition } = given.entry
  if (given.run.payloadVersion > definition.version) {
    return putOff(given)
  }
  if (isEnvelope(given.run.payload)) {
    return Effect.succeed(asOutcome({ _tag: "Undecryptable", keyId: keyIdOf(given.run.payload) }))
  }
  const decoded = codec.decodePayload(definition, given.run)
  if (!Either.isEither(decoded)) {
    return Effect.matchEffect(Effect.interruptible(decoded), {
      onFailure: (issue) => Effect.succeed(invalid(issue)),
      onSuccess: (payload) => handle(given, payload, span, onTimeout)
    })
  }
  return Either.isRight(decoded) ? handle(given, decoded.right, span, onTimeout) : Effect.succeed(invalid(decoded.left))
}

/** How long a run waits for a consumer that knows its version. */
const putOffMillis = 10_000

/** A run that a later version of the task has queued. Consumers that know it may be on their way. */
const putOff = ({ entry: { definition }, run }: Given): Effect.Effect<AttemptEnd> =>
  Effect.logWarning("a run is of a later version than the task here; it is put off").pipe(
    Effect.annotateLogs({
      task: run.task,
      runId: run.id,
      payloadVersion: run.payloadVersion,
      taskVersion: definition.version
    }),
    // the lines that a run may log are not used up while it waits for its consumer
    Effect.mapInputContext((context: Context.Context<never>) =>
      Context.omit(CurrentRun)(context as Context.Context<CurrentRun>)
    ),
    Effect.as<AttemptEnd>({ _tag: "Snooze", millis: putOffMillis })
  )

const invalid = (issue: string): AttemptEnd => asOutcome({ _tag: "PayloadInvalid", issue })

const handle = (
  given: Given,
  payload: unknown,
  span: Tracer.Span | null,
  onTimeout: () => void
): Effect.Effect<AttemptEnd> => {
  const { definition } = given.entry
  const called = span === null ? call(given.entry, payload) : Effect.withParentSpan(call(given.entry, payload), span)
  const closed = Effect.flatMap(Scope.make(), (scope) => {
    given.services.unsafeMap.set(Scope.Scope.key, scope)
    return Effect.flatMap(Effect.exit(Effect.interruptible(called)), (exit) =>
      Effect.as(Scope.close(scope, exit), exit)
    )
  })
  return definition.timeout === undefined
    ? Effect.flatMap(closed, (exit) => read(definition, exit))
    : inTime(definition, definition.timeout, closed, onTimeout)
}

/**
 * Interrupts the attempt when its time is over. What interrupts the whole reaches both fibers at once; then the attempt's own
 * end counts, as it does without a time limit.
 */
const inTime = (
  definition: Definition,
  timeout: Duration.Duration,
  closed: Effect.Effect<Exit.Exit<unknown, unknown>>,
  onTimeout: () => void
): Effect.Effect<AttemptEnd> => {
  const ended = (exit: Exit.Exit<Exit.Exit<unknown, unknown>>) => Effect.flatMap(exit, (exit) => read(definition, exit))
  const raced = Effect.raceWith(closed, Effect.interruptible(Effect.sleep(timeout)), {
    onSelfDone: (exit, sleeping) => Effect.zipRight(Fiber.interruptFork(sleeping), ended(exit)),
    onOtherDone: (slept, performing) => {
      if (Exit.isFailure(slept)) {
        return Effect.flatMap(performing.await, ended)
      }
      onTimeout()
      return Effect.as(Fiber.interrupt(performing), timedOut(definition))
    }
  })
  // fibers that are made after the interruption do not hear of it
  return Effect.matchCauseEffect(Effect.interruptible(Effect.void), {
    onFailure: (cause) => Effect.succeed<AttemptEnd>({ _tag: "Interrupted", cause }),
    onSuccess: () => raced
  })
}

const call = (entry: HandlerEntry, payload: unknown): Effect.Effect<unknown, unknown> =>
  Effect.suspend(() => entry.handler(payload as never)) as Effect.Effect<unknown, unknown>

const timedOut = ({ timeout }: Definition): AttemptEnd =>
  asOutcome({ _tag: "Timeout", timeoutMillis: Duration.toMillis(timeout ?? Duration.zero) })

const read = (task: Definition, exit: Exit.Exit<unknown, unknown>): Effect.Effect<AttemptEnd> => {
  if (Exit.isSuccess(exit)) {
    return Effect.map(outcome.ofSuccess(task, exit.value), asOutcome)
  }
  const { cause } = exit
  const decision = Verdict.find(cause)
  if (Option.isSome(decision)) {
    return Effect.succeed(
      decision.value._tag === "Abort" ? asOutcome({ _tag: "Aborted", reason: decision.value.reason }) : decision.value
    )
  }
  return Cause.isInterrupted(cause)
    ? Effect.succeed({ _tag: "Interrupted", cause })
    : Effect.map(outcome.ofCause(task, cause), (outcome) => ({ _tag: "Outcome", outcome, cause }))
}

const asOutcome = (outcome: Outcome): AttemptEnd => ({ _tag: "Outcome", outcome })

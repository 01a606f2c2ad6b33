import { Cause, Context, Duration, Effect, Either, Exit, Fiber, Option, Scope, Tracer } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import type { LockLost } from "../LockError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { AttemptEnd } from "./attemptResult.js"
import * as codec from "./codec.js"
import { Current, type Facts } from "./currentRun.js"
import type { Definition, HandlerElsewhere, HandlerEntry, HandlerHere } from "./definition.js"
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
  const { entry, run, services } = given
  if (isEnvelope(run.payload)) {
    return Effect.succeed(asOutcome({ _tag: "Undecryptable", keyId: keyIdOf(run.payload) }))
  }
  if ("reserve" in entry) {
    return isOfLaterVersion(entry.definition, run) ? putOff(given) : performElsewhere(given, entry, span, onTimeout)
  }
  return performHere({ entry, run, services, lostLock: () => lostLockOf(given) }, span, onTimeout)
}

/** An attempt whose handler is called in this fiber, and what has to be known for that. */
export interface Here {
  readonly entry: HandlerHere
  readonly run: Facts
  readonly services: Context.Context<never>
  /** The lock whose loss has interrupted the handler. */
  readonly lostLock?: (() => LockLost | undefined) | undefined
}

/** Decodes the payload and calls the handler. */
export const performHere = (
  here: Here,
  span: Tracer.Span | null = null,
  onTimeout: () => void = nothing
): Effect.Effect<AttemptEnd> => {
  const { definition } = here.entry
  if (isOfLaterVersion(definition, here.run)) {
    return putOff(here)
  }
  const decoded = codec.decodePayload(definition, here.run)
  if (!Either.isEither(decoded)) {
    return Effect.matchEffect(Effect.interruptible(decoded), {
      onFailure: (issue) => Effect.succeed(invalid(issue)),
      onSuccess: (payload) => handle(here, payload, span, onTimeout)
    })
  }
  return Either.isRight(decoded) ? handle(here, decoded.right, span, onTimeout) : Effect.succeed(invalid(decoded.left))
}

/** Has an executor perform the attempt. What it waits for a place there does not count towards its time. */
const performElsewhere = (
  { current, run }: Given,
  { definition, reserve }: HandlerElsewhere,
  span: Tracer.Span | null,
  onTimeout: () => void
): Effect.Effect<AttemptEnd> =>
  Effect.flatMap(Scope.make(), (scope) =>
    Effect.exit(Effect.interruptible(Scope.extend(reserve, scope))).pipe(
      Effect.flatMap((place) => {
        if (Exit.isFailure(place)) {
          return read(definition, place)
        }
        const traceparent = span === null ? run.traceparent : tracing.traceparentOf(span)
        return inTime(definition, place.value({ run, current, traceparent }), onTimeout)
      }),
      Effect.ensuring(Scope.close(scope, Exit.void))
    )
  )

const isOfLaterVersion = (definition: Definition, run: Facts): boolean => run.payloadVersion > definition.version

/** How long a run waits for a consumer that knows its version. */
const putOffMillis = 10_000

/** A run that a later version of the task has queued. Consumers that know it may be on their way. */
const putOff = ({
  entry: { definition },
  run
}: Pick<Given, "entry"> & { readonly run: Facts }): Effect.Effect<AttemptEnd> =>
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
  { entry, lostLock, services }: Here,
  payload: unknown,
  span: Tracer.Span | null,
  onTimeout: () => void
): Effect.Effect<AttemptEnd> => {
  const called = span === null ? call(entry, payload) : Effect.withParentSpan(call(entry, payload), span)
  const closed = Effect.flatMap(Scope.make(), (scope) => {
    services.unsafeMap.set(Scope.Scope.key, scope)
    return Effect.flatMap(Effect.exit(Effect.interruptible(called)), (exit) =>
      Effect.zipRight(
        Scope.close(scope, exit),
        Effect.suspend(() => read(entry.definition, exit, lostLock))
      )
    )
  })
  return inTime(entry.definition, closed, onTimeout)
}

/**
 * Interrupts the attempt when its time is over. What interrupts the whole reaches both fibers at once; then the attempt's own
 * end counts, as it does without a time limit.
 */
const inTime = (
  definition: Definition,
  performed: Effect.Effect<AttemptEnd>,
  onTimeout: () => void
): Effect.Effect<AttemptEnd> => {
  const { timeout } = definition
  if (timeout === undefined) {
    return performed
  }
  const raced = Effect.raceWith(performed, Effect.interruptible(Effect.sleep(timeout)), {
    onSelfDone: (end, sleeping) => Effect.zipRight(Fiber.interruptFork(sleeping), end),
    onOtherDone: (slept, performing) => {
      if (Exit.isFailure(slept)) {
        return Effect.flatten(performing.await)
      }
      onTimeout()
      return Effect.as(Fiber.interrupt(performing), timedOut(timeout))
    }
  })
  // fibers that are made after the interruption do not hear of it
  return Effect.matchCauseEffect(Effect.interruptible(Effect.void), {
    onFailure: (cause) => Effect.succeed<AttemptEnd>({ _tag: "Interrupted", cause }),
    onSuccess: () => raced
  })
}

const call = (entry: HandlerHere, payload: unknown): Effect.Effect<unknown, unknown> =>
  Effect.suspend(() => entry.handler(payload as never)) as Effect.Effect<unknown, unknown>

const timedOut = (timeout: Duration.Duration): AttemptEnd =>
  asOutcome({ _tag: "Timeout", timeoutMillis: Duration.toMillis(timeout) })

const read = (
  task: Definition,
  exit: Exit.Exit<unknown, unknown>,
  lostLock: Here["lostLock"] = undefined
): Effect.Effect<AttemptEnd> => {
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
  const lost = Cause.isInterrupted(cause) ? lostLock?.() : undefined
  if (lost !== undefined) {
    const cause = Cause.die(lost)
    return Effect.map(outcome.ofCause(task, cause), (outcome) => ({ _tag: "Outcome", outcome, cause }))
  }
  return Cause.isInterrupted(cause)
    ? Effect.succeed({ _tag: "Interrupted", cause })
    : Effect.map(outcome.ofCause(task, cause), (outcome) => ({ _tag: "Outcome", outcome, cause }))
}

/** The lock whose loss has interrupted the handler, unless the runtime did. */
const lostLockOf = ({ current, holder }: Given): LockLost | undefined =>
  holder.stop === null || holder.isInPlace ? Current.lostLockOf(current) : undefined

const asOutcome = (outcome: Outcome): AttemptEnd => ({ _tag: "Outcome", outcome })

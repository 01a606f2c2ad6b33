import { Cause, Clock, Context, DefaultServices, Effect, Exit, FiberRef, Tracer } from "effect"
import type { CurrentRun } from "../CurrentRun.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import * as attemptResult from "./attemptResult.js"
import * as outcome from "./outcome.js"

/*
 * Spans: one where runs are queued, one for each attempt. Their attributes are those of OpenTelemetry's conventions for
 * messaging, where there are such, and `task.…` beside them.
 */

/** How the span of an attempt stands to the one that queued the run. */
export type Tracing = "parent" | "link"

/** The tracer whose spans go nowhere. */
const noTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** The span that a W3C trace context names (https://www.w3.org/TR/trace-context/). */
export const spanOf = (traceparent: string | null): Tracer.ExternalSpan | undefined => {
  if (traceparent === null) {
    return undefined
  }
  const [, traceId, spanId, flags] = traceparent.split("-")
  return traceId === undefined || spanId === undefined
    ? undefined
    : Tracer.externalSpan({ traceId, spanId, sampled: flags === "01" })
}

/** A span as a W3C trace context; nothing for one that is not to be passed on. */
export const traceparentOf = ({ context, sampled, spanId, traceId }: Tracer.AnySpan): string | null =>
  context.unsafeMap.get(Tracer.DisablePropagation.key) === true ? null : `00-${traceId}-${spanId}-0${sampled ? 1 : 0}`

const messaging = (queue: string, operation: "send" | "process") => ({
  "messaging.system": "effect-tasks",
  "messaging.destination.name": queue,
  "messaging.operation.type": operation,
  "messaging.operation.name": operation
})

/**
 * Queues within a span, where somebody takes spans; `self` is given the way to note the ids of the runs. A span that nobody
 * takes would only hide the one of the caller.
 */
export const queueing = <A, E, R>(
  task: string,
  queue: string,
  self: (note: (ids: ReadonlyArray<string>) => void) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.tracerWith((tracer) =>
    tracer === noTracer
      ? self(ignore)
      : Effect.flatMap(FiberRef.get(FiberRef.currentTracerEnabled), (isEnabled) =>
          isEnabled ? inQueueingSpan(task, queue, self) : self(ignore)
        )
  )

const ignore = (): void => {}

const inQueueingSpan = <A, E, R>(
  task: string,
  queue: string,
  self: (note: (ids: ReadonlyArray<string>) => void) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.useSpan(
    `queue ${task}`,
    {
      kind: "producer",
      attributes: { "task.name": task, "task.queue": queue, ...messaging(queue, "send") },
      captureStackTrace: false
    },
    (span) => {
      const note = (ids: ReadonlyArray<string>) => {
        span.attribute("task.count", ids.length)
        if (ids.length === 1) {
          span.attribute("task.run.id", ids[0])
          span.attribute("messaging.message.id", ids[0])
        } else {
          span.attribute("messaging.batch.message_count", ids.length)
        }
      }
      return Effect.withParentSpan(self(note), span) as Effect.Effect<A, E, R>
    }
  )

/** What the span of an attempt tells of. */
export interface Traced {
  readonly run: EncodedRun
  readonly current: typeof CurrentRun.Service
  readonly tracing: Tracing
  /** Where it is said why the attempt was interrupted, and that it needs no broker. */
  readonly holder: { readonly stop: attemptResult.StopReason | null; readonly isInPlace?: true }
}

/** An attempt within a span: with a tracer, or where the producer had a span that what the handler queues is to continue. */
export const attempting = (
  traced: Traced,
  self: (span: Tracer.Span | null) => Effect.Effect<attemptResult.AttemptEnd>
): Effect.Effect<attemptResult.AttemptEnd> =>
  Effect.tracerWith((tracer) =>
    tracer === noTracer && traced.run.traceparent === null ? self(null) : inAttemptSpan(traced, self)
  )

const inAttemptSpan = (
  traced: Traced,
  self: (span: Tracer.Span | null) => Effect.Effect<attemptResult.AttemptEnd>
): Effect.Effect<attemptResult.AttemptEnd> =>
  Effect.flatMap(Effect.makeSpan(`task ${traced.run.task}`, optionsOf(traced)), (span) =>
    Effect.onExit(self(span), (exit) =>
      Effect.map(Clock.currentTimeNanos, (now) =>
        Exit.isFailure(exit) ? span.end(now, exit) : end(traced, span, exit.value, now)
      )
    )
  )

const optionsOf = ({ current, holder, run, tracing }: Traced): Tracer.SpanOptions => {
  const producer = spanOf(run.traceparent)
  return {
    ...(producer === undefined || tracing === "link" ? { root: true } : {}),
    ...(producer !== undefined && tracing === "link"
      ? { links: [{ _tag: "SpanLink", span: producer, attributes: {} }] }
      : {}),
    kind: holder.isInPlace === true ? "internal" : "consumer",
    attributes: {
      "task.name": run.task,
      "task.run.id": run.id,
      "task.attempt": current.attempt,
      "task.queue": run.queue,
      "task.consumer": current.consumer,
      ...(holder.isInPlace === true
        ? {}
        : {
            ...messaging(run.queue, "process"),
            "messaging.message.id": run.id,
            "messaging.client.id": current.consumer
          })
    },
    captureStackTrace: false
  }
}

const end = ({ holder, run }: Traced, span: Tracer.Span, how: attemptResult.AttemptEnd, now: bigint): void => {
  const result = attemptResult.of(how, holder.stop)
  span.attribute("task.outcome", result)
  span.end(now, exitOf(run, how, result))
}

/** Only what went wrong is an error; a verdict, and an interruption that somebody asked for, are not. */
const exitOf = (
  run: EncodedRun,
  end: attemptResult.AttemptEnd,
  result: attemptResult.AttemptResult
): Exit.Exit<unknown, unknown> => {
  if (end._tag === "Interrupted") {
    return result === "defect" ? Exit.die(new Error("the handler interrupted itself")) : Exit.void
  }
  if (end._tag !== "Outcome") {
    return Exit.void
  }
  switch (end.outcome._tag) {
    case "Success":
    case "Aborted":
    case "Cancelled":
    case "Interrupted":
    case "RateLimited":
      return Exit.void
    case "Failure":
      return Exit.failCause(end.cause ?? Cause.fail(end.outcome.error))
    default:
      return end.cause === undefined ? Exit.fail(outcome.toRunError(run, end.outcome)) : Exit.failCause(end.cause)
  }
}

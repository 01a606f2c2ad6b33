import { Context, Duration, Effect, Exit, Option, Scope, Tracer } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import * as codec from "./codec.js"
import type { Definition, HandlerEntry } from "./definition.js"
import * as outcome from "./outcome.js"
import type { Outcome } from "./run.js"
import * as Verdict from "./verdict.js"

/*
 * One attempt at a run, as a pipeline: decode the payload, call the handler, give it its services and its Scope, trace it,
 * keep it within its time, and read its Exit.
 */

/** How an attempt ended by itself. An attempt that is stopped from outside gives none: its fiber is interrupted. */
export type AttemptEnd =
  | { readonly _tag: "Outcome"; readonly outcome: Outcome }
  | { readonly _tag: "Snooze"; readonly millis: number }
  | { readonly _tag: "RateLimit"; readonly millis: number }

/** Performs one attempt. When it returns, the attempt's Scope is closed. */
export const perform = (
  entry: HandlerEntry,
  run: EncodedRun,
  current: typeof CurrentRun.Service
): Effect.Effect<AttemptEnd> =>
  Effect.matchEffect(codec.decodePayload(entry.definition, run), {
    onFailure: ({ issue }) =>
      Effect.succeed<AttemptEnd>({ _tag: "Outcome", outcome: { _tag: "PayloadInvalid", issue } }),
    onSuccess: (payload) =>
      traced(entry.definition, run, current.attempt, (span) => scoped(entry, current, span, payload)).pipe(
        Effect.exit,
        within(entry.definition),
        Effect.flatMap((exit) => read(entry.definition, exit))
      )
  })

const call = (entry: HandlerEntry, payload: unknown): Effect.Effect<unknown, unknown, unknown> =>
  Effect.suspend(() => entry.handler(payload as never))

/**
 * Calls the handler with the services of its Layer, its run, its span, and a Scope that closes with it. They are put into one
 * context by hand: it is made for every run, and each `provide` would copy it once more.
 */
const scoped = (
  entry: HandlerEntry,
  current: typeof CurrentRun.Service,
  span: Tracer.Span,
  payload: unknown
): Effect.Effect<unknown, unknown> =>
  Effect.flatMap(Scope.make(), (scope) => {
    const services = new Map(entry.context.unsafeMap)
      .set(CurrentRun.key, current)
      .set(Scope.Scope.key, scope)
      .set(Tracer.ParentSpan.key, span)
    return call(entry, payload).pipe(
      Effect.mapInputContext((_: Context.Context<never>) => Context.unsafeMake<unknown>(services)),
      Effect.onExit((exit) => Scope.close(scope, exit))
    )
  })

const traced = <A, E>(
  task: Definition,
  run: EncodedRun,
  attempt: number,
  evaluate: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.useSpan(
    `task ${task.name}`,
    {
      ...parentSpan(run.traceparent),
      kind: "consumer",
      attributes: { "task.name": task.name, "task.run.id": run.id, "task.attempt": attempt, "task.queue": run.queue },
      captureStackTrace: false
    },
    evaluate
  )

/** The parent span that a W3C trace context names. */
const parentSpan = (traceparent: string | null): { readonly parent?: Tracer.ExternalSpan; readonly root?: boolean } => {
  const [, traceId, spanId, flags] = traceparent?.split("-") ?? []
  return traceId === undefined || spanId === undefined
    ? { root: true }
    : { parent: Tracer.externalSpan({ traceId, spanId, sampled: flags === "01" }) }
}

const within =
  (task: Definition) =>
  (self: Effect.Effect<Exit.Exit<unknown, unknown>>): Effect.Effect<Option.Option<Exit.Exit<unknown, unknown>>> =>
    task.timeout === undefined ? Effect.map(self, Option.some) : Effect.timeoutOption(self, task.timeout)

const read = (task: Definition, exit: Option.Option<Exit.Exit<unknown, unknown>>): Effect.Effect<AttemptEnd> => {
  if (Option.isNone(exit)) {
    const timeoutMillis = Duration.toMillis(task.timeout ?? Duration.zero)
    return Effect.succeed({ _tag: "Outcome", outcome: { _tag: "Timeout", timeoutMillis } })
  }
  if (Exit.isSuccess(exit.value)) {
    return Effect.map(outcome.ofSuccess(task, exit.value.value), asOutcome)
  }
  const { cause } = exit.value
  const decision = Verdict.find(cause)
  if (Option.isSome(decision)) {
    return Effect.succeed(
      decision.value._tag === "Abort" ? asOutcome({ _tag: "Aborted", reason: decision.value.reason }) : decision.value
    )
  }
  return Effect.map(outcome.ofCause(task, cause), asOutcome)
}

const asOutcome = (outcome: Outcome): AttemptEnd => ({ _tag: "Outcome", outcome })

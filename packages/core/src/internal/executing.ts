import {
  Cause,
  Context,
  Effect,
  FiberRef,
  HashSet,
  Inspectable,
  type Layer,
  List,
  Logger,
  LogLevel,
  LogSpan,
  Option,
  Runtime,
  Schema,
  type Scope,
  Struct,
  Tracer
} from "effect"
import { CurrentRun } from "../CurrentRun.js"
import { BackendError, type ExecutorUnavailable, InvalidOption } from "../TaskError.js"
import * as attempt from "./attempt.js"
import { Current, type Lines } from "./currentRun.js"
import type { Definition, HandlerElsewhere, HandlerEntry, PerformElsewhere } from "./definition.js"
import * as handlers from "./handlers.js"
import { whileBusy } from "./metrics.js"
import * as outcome from "./outcome.js"
import { Outcome, Progress, RunId } from "./run.js"
import { lineOf } from "./runLog.js"
import * as tracing from "./tracing.js"

/*
 * Attempts that are performed elsewhere: what goes there and what comes back, the handler that sends an attempt there, and
 * what performs it there.
 */

/** Documented in `TaskExecutor`. */
export const Request = Schema.Struct({
  run: Schema.Struct({
    id: RunId,
    task: Schema.String,
    queue: Schema.String,
    attempt: Schema.Number,
    crashes: Schema.Number,
    consumer: Schema.NullOr(Schema.String),
    createdAt: Schema.Number,
    dueAt: Schema.Number,
    startedAt: Schema.NullOr(Schema.Number),
    tags: Schema.Array(Schema.String),
    group: Schema.NullOr(Schema.String),
    parentId: Schema.NullOr(RunId),
    rootId: Schema.NullOr(RunId),
    retryOf: Schema.NullOr(RunId),
    payload: Schema.String,
    payloadVersion: Schema.Number
  }),
  traceparent: Schema.NullOr(Schema.String),
  logLevel: Schema.String
})

export type Request = typeof Request.Type

/** Documented in `TaskExecutor`. */
export const Line = Schema.Struct({
  at: Schema.Number,
  level: Schema.String,
  message: Schema.String,
  annotations: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
  spans: Schema.Array(Schema.Struct({ label: Schema.String, startTime: Schema.Number }))
})

export type Line = typeof Line.Type

/** Documented in `TaskExecutor`. */
export const Report = Schema.Union(
  Schema.TaggedStruct("Line", { line: Line }),
  Schema.TaggedStruct("Progress", { progress: Progress })
)

export type Report = typeof Report.Type

/** Documented in `TaskExecutor`. */
export const End = Schema.Union(
  Schema.TaggedStruct("Outcome", { outcome: Outcome }),
  Schema.TaggedStruct("Snooze", { millis: Schema.Number }),
  Schema.TaggedStruct("RateLimit", { millis: Schema.Number }),
  Schema.TaggedStruct("Interrupted", {})
)

export type End = typeof End.Type

/** Performs an attempt, and tells what the handler logs and how far it comes. Documented in `TaskExecutor`. */
export type Perform = (request: Request, report: (report: Report) => void) => Effect.Effect<End>

/** Documented in `TaskExecutor`. */
export interface Executor {
  readonly reserve: (task: Definition) => Effect.Effect<Perform, ExecutorUnavailable, Scope.Scope>
}

// ---- where the run is

/** Gives handlers that have their attempts performed by an executor. */
export const layer = <Tasks extends Definition, R>(
  tasks: ReadonlyArray<Tasks>,
  executor: Effect.Effect<Executor, never, R>
): Layer.Layer<handlers.Handler<Tasks["name"]>, InvalidOption, R> =>
  handlers.layerEntries(
    tasks,
    Effect.map(executor, (executor) => (definition) => {
      if (definition.executor === "inline") {
        return new InvalidOption({
          option: `executor of task ${definition.name}`,
          value: definition.executor,
          expected: '"thread" or "process"; give an inline task its handler with toLayer'
        })
      }
      return Effect.succeed<HandlerElsewhere>({
        definition,
        reserve: Effect.match(executor.reserve(definition), {
          onFailure:
            ({ message }) =>
            () =>
              Effect.succeed(crashed(message)),
          onSuccess: (perform) => through(definition.executor, perform)
        }),
        context: Context.empty()
      })
    })
  )

const crashed = (reason: string) => ({ _tag: "Outcome", outcome: { _tag: "ExecutorCrashed", reason } }) as const

const through =
  (executor: string, perform: Perform): PerformElsewhere =>
  ({ current, run, traceparent }) =>
    Effect.flatMap(Effect.zip(Effect.runtime<never>(), minimumLogLevel), ([runtime, { label }]) => {
      // a logger that throws does not harm the executor
      const report = (report: Report) => void Runtime.runSyncExit(outside(runtime), hear(current, report))
      return perform({ run: Struct.pick(run, ...factNames), traceparent, logLevel: label }, report).pipe(
        whileBusy(executor),
        Effect.map((end) => (end._tag === "Interrupted" ? { _tag: "Interrupted", cause: Cause.empty } : end))
      )
    })

/** What is told of a run: not its ledger, which may be long. */
const factNames = Struct.keys(Request.fields.run.fields)

const minimumLogLevel = FiberRef.get(FiberRef.currentMinimumLogLevel)

/** What is logged there belongs to no run by itself. */
const outside = (runtime: Runtime.Runtime<never>): Runtime.Runtime<never> =>
  Runtime.updateContext(runtime, (context) => Context.omit(CurrentRun)(context as Context.Context<CurrentRun>))

/** The lines go to the run's log as they were written, and to the application's loggers. */
const hear = (current: typeof CurrentRun.Service, report: Report): Effect.Effect<void> => {
  if (report._tag === "Progress") {
    return current.progress(report.progress.value, report.progress.message ?? undefined)
  }
  Current.logOf(current)?.push({ ...report.line, spans: report.line.spans.map(({ label }) => label) })
  return log(report.line)
}

/** Logs what was logged elsewhere. Documented in `TaskExecutor`. */
export const log = ({ annotations, level, message, spans }: Line): Effect.Effect<void> =>
  Effect.logWithLevel(LogLevel.allLevels.find(({ label }) => label === level) ?? LogLevel.Info, message).pipe(
    Effect.annotateLogs(annotations),
    Effect.locallyWith(FiberRef.currentLogSpan, (before) =>
      List.appendAll(List.fromIterable(spans.map(({ label, startTime }) => LogSpan.make(label, startTime))), before)
    )
  )

// ---- where the handler is

/** Performs attempts with the handlers that are found by the names of their tasks. Documented in `TaskExecutor`. */
export const performer =
  (entries: ReadonlyMap<string, HandlerEntry>): Perform =>
  (request, report) => {
    const entry = entries.get(request.run.task)
    return entry === undefined || "reserve" in entry
      ? Effect.succeed(crashed(`there is no handler of ${request.run.task} where it was to be performed`))
      : performAs(request, report, entry)
  }

const performAs = (
  { logLevel, run, traceparent }: Request,
  report: (report: Report) => void,
  entry: attempt.Here["entry"]
): Effect.Effect<End> => {
  const current = new Current(run, unheard, {
    report: (progress) => report({ _tag: "Progress", progress: JSON.parse(progress) as typeof Progress.Type }),
    complete: () => Effect.fail(notHere("completeWith", `a run of ${run.task} cannot be ended in a transaction`)),
    locks: { acquire: () => Effect.fail(notHere("lock", `no lock of a run of ${run.task} can be taken`)) }
  })
  const services = new Map(entry.context.unsafeMap).set(CurrentRun.key, current)
  const parent = tracing.spanOf(traceparent)
  if (parent !== undefined) {
    services.set(Tracer.ParentSpan.key, parent)
  }
  const given = Context.unsafeMake<never>(services)
  // whoever sent it here keeps the time
  const untimed = { ...entry, definition: { ...entry.definition, timeout: undefined } }
  return attempt.performHere({ entry: untimed, run, services: given }).pipe(
    Effect.flatMap((end) => (end._tag === "Interrupted" ? interrupted(entry.definition, end.cause) : toEnd(end))),
    Effect.uninterruptible,
    Effect.mapInputContext((_: Context.Context<never>) => given),
    Logger.withMinimumLogLevel(LogLevel.allLevels.find(({ label }) => label === logLevel) ?? LogLevel.Info),
    forwarding((line) => report({ _tag: "Line", line }))
  )
}

/** Lines are told by a logger of the attempt's own. */
const unheard: Lines = { push: () => {} }

const notHere = (operation: string, what: string) =>
  new BackendError({
    backend: "executor",
    operation,
    transient: false,
    cause: new Error(`${what} where its executor performs it`)
  })

const toEnd = (end: Exclude<attempt.AttemptEnd, { readonly _tag: "Interrupted" }>): Effect.Effect<End> =>
  Effect.succeed(end._tag === "Outcome" ? { _tag: "Outcome", outcome: end.outcome } : end)

/** A handler that interrupts itself is broken. */
const interrupted = (task: Definition, cause: Cause.Cause<unknown>): Effect.Effect<End> =>
  Effect.flatMap(FiberRef.get(FiberRef.interruptedCause), (asked) =>
    Cause.isEmpty(asked)
      ? Effect.map(outcome.ofCause(task, cause), (outcome): End => ({ _tag: "Outcome", outcome }))
      : Effect.succeed<End>({ _tag: "Interrupted" })
  )

/** Gives what is logged to a function, in place of the console. Documented in `TaskExecutor`. */
export const forwarding = (
  onLine: (line: Line) => void
): (<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) => {
  const logger = Logger.make<unknown, void>((logged) => {
    const { annotations, ...line } = lineOf(logged)
    onLine({
      ...line,
      annotations: Object.fromEntries(Object.entries(annotations).map(([key, value]) => [key, plain(value)])),
      spans: List.toArray(List.map(logged.spans, ({ label, startTime }) => ({ label, startTime })))
    })
  })
  forwarders.add(logger)
  return Effect.locallyWith(FiberRef.currentLoggers, (loggers) =>
    HashSet.add(
      HashSet.filter(loggers, (other) => other !== Logger.defaultLogger && !forwarders.has(other)),
      logger
    )
  )
}

/** The loggers that forward: of those around an effect, only the innermost is told. */
const forwarders = new WeakSet<Logger.Logger<never, unknown>>()

/** A value as JSON has it: it is to be sent. */
const plain = (value: unknown): unknown =>
  Option.getOrElse(
    Option.liftThrowable((value: unknown): unknown => JSON.parse(Inspectable.stringifyCircular(value)))(value),
    () => String(value)
  )

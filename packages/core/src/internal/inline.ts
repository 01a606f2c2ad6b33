import { Clock, type Context, Effect, Exit, type Schema } from "effect"
import type { Broker } from "../Broker.js"
import type { Store } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun, Failure } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as attempt from "./attempt.js"
import * as attemptResult from "./attemptResult.js"
import type { Bus } from "./bus.js"
import { type Complete, Current } from "./currentRun.js"
import type { Definition, HandlerEntry } from "./definition.js"
import type { Locks } from "./locks.js"
import type { Meter } from "./metrics.js"
import * as outcome from "./outcome.js"
import { capturing, RunLog } from "./runLog.js"
import * as settlement from "./settlement.js"

/*
 * A run that is performed in the caller's fiber: the same attempts, decisions, events and record as under a consumer, but
 * without a broker; between two attempts the fiber sleeps.
 */

export interface Options<D extends Definition> {
  readonly task: D
  readonly entry: HandlerEntry
  readonly run: EncodedRun
  readonly bus: Bus
  readonly meter: Meter
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly locks: Locks
  readonly maxLogLines: number
}

/** The consumer's name in the record of such a run. */
const consumer = "inline"

/** An attempt that was interrupted was so by its caller. */
const holder: attempt.Holder = { stop: { _tag: "Shutdown" }, isInPlace: true }

/** The run on its way, as the attempts change it. */
class Progressing {
  run: EncodedRun
  /** What the handler has recorded in a transaction of its own, once that is committed. */
  completed: EncodedRun | null = null
  readonly logs: Array<Parameters<Bus["publishLine"]>[0]> = []
  private readonly bus: Bus

  constructor(run: EncodedRun, bus: Bus) {
    this.run = run
    this.bus = bus
    bus.publish({ run, from: null, at: run.createdAt })
  }

  become(decided: EncodedRun, at: number): void {
    const from = this.run.state
    this.run = this.completed ?? decided
    this.bus.publish({ run: this.run, from, at })
  }

  endAttempt(log: RunLog): void {
    this.logs.push(...log.takeAll())
    this.run = { ...this.run, logged: log.logged }
  }
}

/** Performs the run to its end, records it, and gives the typed success or failure. */
export const perform = <D extends Definition>(
  options: Options<D>
): Effect.Effect<Schema.Schema.Type<D["successSchema"]>, Failure<D> | BackendError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { bus, store, task } = options
      const way = new Progressing(options.run, bus)
      const isOver = () => isFinal(way.run.state)
      const exit = yield* Effect.exit(restore(Effect.repeat(attemptOnce(options, way), { until: isOver })))
      if (!isOver()) {
        const now = yield* Clock.currentTimeMillis
        way.become(settlement.interrupted(way.run, "its caller was interrupted", now), now)
      }
      if (isFinal(way.run.state)) {
        options.meter.of(task.name).ended(way.run.state)
      }
      yield* store.record([{ run: way.run, logs: way.logs }])
      return yield* Exit.isFailure(exit) ? Effect.failCause(exit.cause) : outcome.toEffect(task, way.run)
    })
  )

/** One attempt, and the wait for the next one. */
const attemptOnce = (options: Options<Definition>, way: Progressing): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { bus, entry } = options
    const startedAt = yield* Clock.currentTimeMillis
    const { attempt: before } = way.run
    way.become({ ...way.run, state: "running", consumer, startedAt }, startedAt)
    const log = new RunLog(way.run, options.maxLogLines, (line) => bus.publishLine(line, entry.definition.name))
    const report = (progress: string) => {
      way.run = { ...way.run, progress }
    }
    const current = new Current(way.run, log, {
      report,
      complete: completeInPlace(options, way, log),
      locks: options.locks
    })
    const given = attempt.give(entry, way.run, current, holder, "parent")
    const end = yield* attempt.perform(given).pipe(
      Effect.uninterruptible,
      Effect.mapInputContext((_: Context.Context<never>) => given.services),
      capturing,
      Effect.ensuring(Effect.sync(() => way.endAttempt(log)))
    )
    const now = yield* Clock.currentTimeMillis
    const meter = options.meter.of(way.run.task)
    meter.attempted(attemptResult.of(end, holder.stop), now - startedAt)
    const decision = yield* settlement.afterAttempt(entry.definition, way.run, end, now)
    way.become(decision.run, now)
    if (decision.run.attempt > before && !isFinal(way.run.state)) {
      meter.retriedOnce()
    }
    yield* isFinal(way.run.state) ? Effect.void : Effect.sleep(Math.max(0, way.run.dueAt - now))
  })

/** Records the end of the run in the handler's own transaction. */
const completeInPlace =
  ({ broker, entry, store }: Options<Definition>, way: Progressing, log: RunLog): Complete =>
  (outcome) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      const end: attempt.AttemptEnd = { _tag: "Outcome", outcome }
      const decision = yield* settlement.afterAttempt(entry.definition, way.run, end, now)
      const run = { ...decision.run, logged: log.logged }
      yield* store.record([{ run, logs: [] }])
      const committed = () => {
        way.completed = run
      }
      yield* broker.atTransactionEnd({ committed, rolledBack: () => {} })
      return true
    })

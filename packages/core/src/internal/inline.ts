import { Clock, Effect, Exit, type Schema } from "effect"
import type { Store } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun, Failure } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import * as attempt from "./attempt.js"
import type { Bus } from "./bus.js"
import * as currentRun from "./currentRun.js"
import type { Definition, HandlerEntry } from "./definition.js"
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
  readonly store: typeof Store.Service
}

/** The consumer's name in the record of such a run. */
const consumer = "inline"

/** Performs the run to its end, records it, and gives the typed success or failure. */
export const perform = <D extends Definition>(
  options: Options<D>
): Effect.Effect<Schema.Schema.Type<D["successSchema"]>, Failure<D> | BackendError> =>
  Effect.suspend(() => {
    const { bus, store, task } = options
    const logs: Array<Parameters<Bus["publishLine"]>[0]> = []
    let run = options.run

    const become = (next: EncodedRun, at: number) => {
      const from = run.state
      run = next
      bus.publish({ run, from, at })
    }

    const once = Effect.gen(function* () {
      const startedAt = yield* Clock.currentTimeMillis
      become({ ...run, state: "running", consumer, startedAt }, startedAt)
      const log = new RunLog(run.id, run.attempt + 1, run.logged, (line) => bus.publishLine(line))
      const current = currentRun.make(run, log, (progress) => {
        run = { ...run, progress }
      })
      const end = yield* attempt.perform(options.entry, run, current).pipe(
        capturing,
        Effect.ensuring(
          Effect.sync(() => {
            logs.push(...log.takeAll())
            run = { ...run, logged: log.logged }
          })
        )
      )
      const now = yield* Clock.currentTimeMillis
      const decision = yield* settlement.afterAttempt(options.entry.definition, run, end, now)
      become(decision.run, now)
      yield* isFinal(run.state) ? Effect.void : Effect.sleep(Math.max(0, run.dueAt - now))
    })

    const toEnd = Effect.repeat(once, { until: () => isFinal(run.state) })

    const interrupted = Effect.map(Clock.currentTimeMillis, (now) => {
      if (!isFinal(run.state)) {
        become(settlement.interrupted(run, "its caller was interrupted", now), now)
      }
    })

    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        bus.publish({ run, from: null, at: run.createdAt })
        const exit = yield* Effect.exit(restore(toEnd))
        yield* interrupted
        yield* store.record([{ run, logs }])
        return yield* Exit.isFailure(exit) ? Effect.failCause(exit.cause) : outcome.toEffect(task, run)
      })
    )
  })

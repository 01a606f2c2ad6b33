import { Effect, type Scope } from "effect"
import * as declaring from "./declaring.js"
import { Loop, type LoopStatus, supervise } from "./loops.js"
import type { Parts } from "./schedulerParts.js"
import * as scheduling from "./scheduling.js"

/** How long the start waits for a backend that does not answer; then it goes on trying. */
const patience = "5 seconds"

/** Starts the loops of a scheduler. It declares, and listens, before it fires. */
export const start = Effect.fnUntraced(function* (
  parts: Parts,
  declared: ReadonlyArray<declaring.Declared>,
  scope: string
): Effect.fn.Return<{ readonly status: Effect.Effect<ReadonlyArray<LoopStatus>> }, never, Scope.Scope> {
  const state = scheduling.initial(parts)
  const signals = new Loop("signals", "scheduler")
  const ticks = new Loop("ticks", "scheduler")
  let isDeclared = false
  const reconcile = Effect.suspend(() =>
    isDeclared
      ? Effect.void
      : Effect.map(declaring.reconcile(parts, declared, scope), () => {
          isDeclared = true
        })
  )
  yield* Effect.forkScoped(supervise(signals, scheduling.listen(state, signals)))
  yield* Effect.forkScoped(supervise(ticks, Effect.zipRight(reconcile, scheduling.run(state, ticks))))
  yield* Effect.timeoutOption(Effect.zipRight(signals.tried.await, ticks.tried.await), patience)
  return { status: Effect.sync(() => [ticks.status, signals.status]) }
})

import type { TaskRun } from "@effect-tasks/core"
import { Clock, Effect, Predicate, Schedule } from "effect"
import { Work } from "./tasks.js"

/** What was queued, by the producers' number of it. */
export interface Produced {
  readonly ids: Map<number, TaskRun.RunId>
  /** How often an attempt to queue failed, and how long the longest row of them lasted. */
  failures: number
  longestOutage: number
  /** How many runs were waited for by their handles, and how many of these waits have ended. */
  awaited: number
  answered: number
}

export const make = (): Produced => ({ ids: new Map(), failures: 0, longestOutage: 0, awaited: 0, answered: 0 })

const producers = 4
const pause = "30 millis"

/** Every so many runs one outlasts its lease, and one is waited for. */
const longEvery = 50
const awaitEvery = 25
const millisOf = (n: number): number => (n % longEvery === 0 ? 2_500 : 50)

const isTransient = (error: unknown): boolean => Predicate.hasProperty(error, "transient") && error.transient === true

/** As an application would: what fails with the promise that it may succeed later is tried again. */
export const survive = <A, E, R>(self: Effect.Effect<A, E, R>, onFailure: () => void = () => {}) =>
  self.pipe(
    Effect.tapError(() => Effect.sync(onFailure)),
    Effect.retry({ while: isTransient, schedule: Schedule.spaced("200 millis") })
  )

/** Queues one run. The key holds for ever, so that the same is not queued again after its answer was lost. */
const queueOne = (n: number, produced: Produced) =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const handle = yield* survive(
      Work.queue({ n, millis: millisOf(n) }, { idempotencyKey: { key: `${n}`, hold: "forever" } }),
      () => produced.failures++
    )
    produced.longestOutage = Math.max(produced.longestOutage, (yield* Clock.currentTimeMillis) - startedAt)
    produced.ids.set(n, handle.id)
    return handle
  })

/** Several producers queue, and wait for some of what they have queued, until they are interrupted. */
export const produce = (produced: Produced, next: () => number) => {
  const one = Effect.gen(function* () {
    const n = next()
    const handle = yield* Effect.uninterruptible(queueOne(n, produced))
    if (n % awaitEvery === 0) {
      produced.awaited++
      yield* survive(handle.await).pipe(
        Effect.tap(() => Effect.sync(() => produced.answered++)),
        Effect.forkScoped
      )
    }
    yield* Effect.sleep(pause)
  })
  return Effect.all(
    Array.from({ length: producers }, () => Effect.forever(one)),
    { concurrency: "unbounded", discard: true }
  )
}

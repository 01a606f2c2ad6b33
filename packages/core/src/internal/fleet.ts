import { Cause, Duration, Effect } from "effect"
import { DuplicateSubscription, NotRunning, SubscriptionNotStarted } from "../SubscriptionError.js"
import type { InvalidOption } from "../TaskError.js"
import { once } from "./stopping.js"
import type { Runner, Status, Stopped, StoppedMessage } from "./subscription.js"

/*
 * Several subscriptions with one life: started together, looked at together, shut down together.
 */

/** Documented in `Subscription`. */
export interface ShutdownReport {
  readonly drained: ReadonlyArray<string>
  readonly interrupted: ReadonlyArray<StoppedMessage>
  readonly overran: ReadonlyArray<StoppedMessage>
}

interface Settings {
  readonly shutdownTimeout: Duration.Duration
  readonly cleanup: Duration.Duration
}

const fleetName = "the fleet of subscriptions"

/** A fleet that is shut down at the end of the scope, if it was not before. */
export const make = Effect.fnUntraced(function* (settings: Settings) {
  const lock = Effect.unsafeMakeSemaphore(1)
  const closing = Effect.unsafeMakeLatch(false)
  const refuse = new NotRunning({ name: fleetName })
  let runners: ReadonlyArray<Runner> = []
  let isClosed = false
  let timeout = settings.shutdownTimeout

  const create = <R>(
    prepare: Effect.Effect<Runner, InvalidOption, R>
  ): Effect.Effect<void, DuplicateSubscription | InvalidOption | NotRunning, R> =>
    Effect.flatMap(prepare, (runner): Effect.Effect<void, DuplicateSubscription | NotRunning> => {
      if (isClosed) {
        return refuse
      }
      if (runners.some(({ name }) => name === runner.name)) {
        return new DuplicateSubscription({ subscription: runner.name })
      }
      runners = [...runners, runner]
      return Effect.void
    })

  const startOne = (runner: Runner): Effect.Effect<void, SubscriptionNotStarted | NotRunning> =>
    Effect.raceFirst(runner.start, Effect.zipRight(closing.await, refuse)).pipe(
      Effect.catchAllCause(
        (cause): Effect.Effect<void, SubscriptionNotStarted | NotRunning> =>
          isClosed ? refuse : new SubscriptionNotStarted({ subscription: runner.name, cause: Cause.squash(cause) })
      )
    )

  const start = Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const begun: Array<Runner> = []
      return Effect.forEach(
        runners.filter(({ status }) => !status.alive),
        (runner) => {
          begun.push(runner)
          return restore(startOne(runner))
        },
        { discard: true }
      ).pipe(
        Effect.onError(() =>
          Effect.forEach(begun, (runner) => runner.stop(Duration.zero, settings.cleanup), { concurrency: "unbounded" })
        )
      )
    })
  )

  const shutdown = yield* once(
    Effect.suspend(() => {
      isClosed = true
      closing.unsafeOpen()
      return lock.withPermits(1)(
        Effect.suspend(() =>
          Effect.forEach(
            runners,
            (runner) =>
              Effect.map(runner.stop(timeout, settings.cleanup), (stopped) => [runner.name, stopped] as const),
            { concurrency: "unbounded" }
          )
        )
      )
    }).pipe(
      Effect.map(reportOf),
      Effect.tap(logReport),
      Effect.tap(() =>
        Effect.sync(() => {
          runners = []
        })
      )
    )
  )
  yield* Effect.addFinalizer(() => shutdown)

  const health = (of: (status: Status) => boolean) => ({
    each: Effect.sync((): { readonly [name: string]: boolean } =>
      Object.fromEntries(runners.map(({ name, status }) => [name, of(status)]))
    ),
    all: Effect.sync(() => runners.length > 0 && runners.every(({ status }) => of(status)))
  })
  const alive = health((status) => status.alive)
  const ready = health((status) => status.ready)

  return {
    create,
    start: lock.withPermits(1)(Effect.suspend(() => (isClosed ? refuse : start))),
    alive: alive.each,
    ready: ready.each,
    isAlive: alive.all,
    isReady: ready.all,
    status: Effect.sync((): ReadonlyArray<Status> => runners.map(({ status }) => status)),
    shutdown: (within: Duration.Duration | undefined) =>
      Effect.suspend(() => {
        if (!isClosed && within !== undefined) {
          timeout = within
        }
        return shutdown
      })
  }
})

const reportOf = (stopped: ReadonlyArray<readonly [name: string, stopped: Stopped]>): ShutdownReport => ({
  drained: stopped
    .filter(([, { interrupted, overran }]) => interrupted.length === 0 && overran.length === 0)
    .map(([name]) => name),
  interrupted: stopped.flatMap(([, { interrupted }]) => interrupted),
  overran: stopped.flatMap(([, { overran }]) => overran)
})

const logReport = (report: ShutdownReport): Effect.Effect<void> =>
  Effect.annotateLogs(
    report.overran.length > 0
      ? Effect.logWarning("subscriptions stopped; some did not obey their interruption")
      : Effect.logDebug("subscriptions stopped"),
    { ...report }
  )

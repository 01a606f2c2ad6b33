import type { RunId } from "@effect-tasks/core/TaskRun"
import { Effect, Queue, Schedule } from "effect"
import { liveClock } from "../liveClock.js"
import type { Signals } from "../signals.js"
import type { Database } from "./database.js"
import { type Driver, type Notification, query } from "./driver.js"
import { DriverError } from "./errors.js"
import { decode } from "./messages.js"
import type { Names } from "./names.js"

interface Options {
  readonly database: Database
  readonly names: Names
  readonly signals: Signals
  readonly self: string
}

/** How often a connection that only listens is asked whether it is alive, and how long it may take to answer. */
const keepAlive = { interval: "5 seconds", timeout: 5_000 } as const

/** From a quarter of a second to five seconds. */
const again = Schedule.exponential("250 millis", 2).pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered,
  Schedule.resetAfter("1 minute")
)

/** Nobody told our consumers of these while we did not listen, or there was too much to tell. */
const makePassOnCancellations = ({ database, names, signals }: Options) => {
  const wished = {
    name: `${names.prefix}wished`,
    text: `SELECT id, cancel_reason FROM ${names.queue} WHERE cancel_reason IS NOT NULL AND state = 'running'`
  }
  return Effect.map(database.apart<readonly [id: RunId, reason: string]>(wished, []), (rows) => {
    for (const [id, reason] of rows) {
      signals.send({ _tag: "Cancel", id, reason })
    }
  })
}

/** Listens on a connection until that ends; always fails, and never by itself when the connection only falls silent. */
const listenOn = (driver: Driver, { names, self, signals }: Options, changes: Queue.Queue<void>, onStart: () => void) =>
  Effect.gen(function* () {
    const options = { prepare: false, timeout: keepAlive.timeout }
    const onNotification = ({ channel, payload }: Notification): void => {
      if (channel !== names.channel || payload === undefined) {
        return
      }
      for (const signal of decode(self, payload)) {
        signals.send(signal)
        if (signal._tag === "Changed") {
          changes.unsafeOffer(undefined)
        }
      }
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => driver.on("notification", onNotification)),
      () =>
        Effect.zipRight(
          Effect.sync(() => driver.off("notification", onNotification)),
          Effect.ignore(query(driver, `UNLISTEN "${names.channel}"`, [], options))
        )
    )
    const ended = Effect.async<never, DriverError>((resume) => {
      const onEnd = () => resume(Effect.fail(new DriverError(new Error("the listening connection ended"))))
      driver.on("end", onEnd)
      return Effect.sync(() => driver.off("end", onEnd))
    })
    const alive = Effect.forever(Effect.delay(query(driver, "SELECT 1", [], options), keepAlive.interval))
    yield* query(driver, `LISTEN "${names.channel}"`, [], options)
    // it was not heard what was told until now
    signals.send({ _tag: "Changed" })
    changes.unsafeOffer(undefined)
    onStart()
    return yield* Effect.raceFirst(ended, alive)
  }).pipe(Effect.scoped)

/**
 * Listens to the other processes on a connection of its own, as long as the scope lasts. It listens again by itself after the
 * connection was lost.
 */
export const listen = Effect.fnUntraced(function* (options: Options) {
  const { database } = options
  const changes = yield* Queue.sliding<void>(1)
  const passOn = makePassOnCancellations(options)
  yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Queue.take(changes), Effect.ignore(passOn))))
  const started = yield* Effect.makeLatch(false)
  yield* database
    .lend((driver) => listenOn(driver, options, changes, () => started.unsafeOpen()))
    .pipe(Effect.retry(again), Effect.withClock(liveClock), Effect.forkScoped)
  yield* started.await.pipe(Effect.timeoutOption("2 seconds"), Effect.withClock(liveClock))
})

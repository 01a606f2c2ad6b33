import type { Signal } from "@effect-tasks/core/Broker"
import { Chunk, Effect, Queue } from "effect"
import type { Signals } from "../signals.js"
import type { Database } from "./database.js"
import { encode } from "./messages.js"
import type { Names } from "./names.js"

/** Tells of what was written: this process at once, the others by a notification. */
export interface Notifier {
  /** What has been committed. */
  readonly committed: (signals: ReadonlyArray<Signal>) => void

  /** What a transaction of the application is going to commit: others, and we too, are told by the commit itself. */
  readonly inTransaction: (signals: ReadonlyArray<Signal>) => Effect.Effect<void>
}

/**
 * A commit that notifies waits for every other one that does, so no commit of the backend does. What there is to tell is
 * collected while one notification is under way, and the next one tells all of it.
 */
export const make = Effect.fnUntraced(function* (options: {
  readonly database: Database
  readonly names: Names
  readonly signals: Signals
  readonly self: string
}) {
  const { database, names, self, signals } = options
  const notify = { name: `${names.prefix}notify`, text: `SELECT pg_notify('${names.channel}', $1)` }
  const pending = yield* Queue.unbounded<Signal>()
  const flush = Effect.flatMap(Queue.takeBetween(pending, 1, 10_000), (all) =>
    // a notification that is lost only delays: everyone also asks now and then
    Effect.ignore(database.apart(notify, [encode(self, Chunk.toReadonlyArray(all))]))
  )
  yield* Effect.forkScoped(Effect.forever(flush))
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(Queue.takeAll(pending), (left) =>
      Chunk.isEmpty(left)
        ? Effect.void
        : Effect.ignore(database.apart(notify, [encode(self, Chunk.toReadonlyArray(left))]))
    )
  )
  const notifier: Notifier = {
    committed: (all) => {
      for (const signal of all) {
        signals.send(signal)
        pending.unsafeOffer(signal)
      }
    },
    inTransaction: (all) => Effect.ignore(database.call("notify", notify, [encode(undefined, all)]))
  }
  return notifier
})

import type { SqlError } from "@effect/sql/SqlError"
import * as Batcher from "@effect-tasks/core/Batcher"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Duration, Effect, type Exit, type Scope } from "effect"
import { type Database, liveClock, type Run } from "./database.js"

/**
 * Keeps the scope open until the calls under way have their answers: what a program has been told to be safe, is safe, and
 * what it still waits for is written before the connection closes.
 */
const makeInFlight = Effect.gen(function* () {
  let calls = 0
  let whenNone: (() => void) | undefined
  const none = Effect.async<void>((resume) => {
    whenNone = () => resume(Effect.void)
    if (calls === 0) {
      whenNone()
    }
  })
  yield* Effect.addFinalizer(() =>
    none.pipe(Effect.interruptible, Effect.timeoutOption(Duration.seconds(10)), Effect.withClock(liveClock))
  )
  return <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      calls++
      return Effect.ensuring(
        call,
        Effect.sync(() => {
          if (--calls === 0) {
            whenNone?.()
          }
        })
      )
    })
})

/**
 * Makes an operation whose concurrent calls share one transaction. `perform` is given the items of each caller as a group
 * and answers each group; `committed` is told of every transaction when it has been committed.
 *
 * A call inside the application's own transaction is a part of that one instead. `committed` is then told at once, but who
 * acts on a signal has to wait for the connection, and so for the end of that transaction.
 */
export const make = Effect.fnUntraced(function* <A, B, E>(options: {
  readonly database: Database
  readonly operation: string
  readonly perform: (
    run: Run,
    groups: ReadonlyArray<ReadonlyArray<A>>
  ) => Effect.Effect<ReadonlyArray<Exit.Exit<B, E>>, SqlError>
  readonly committed: (groups: ReadonlyArray<ReadonlyArray<A>>, answers: ReadonlyArray<Exit.Exit<B, E>>) => void
}): Effect.fn.Return<(items: ReadonlyArray<A>) => Effect.Effect<B, E | BackendError>, never, Scope.Scope> {
  const { committed, database, operation, perform } = options

  const commit = (groups: ReadonlyArray<ReadonlyArray<A>>) =>
    Effect.tap(
      database.write(operation, (run) => perform(run, groups)),
      (answers) => committed(groups, answers)
    )

  const alone = (items: ReadonlyArray<A>): Effect.Effect<B, E | BackendError> =>
    Effect.flatMap(commit([items]), ([answer]) => answer!)

  const batcher = yield* Batcher.make<A, B, E | BackendError, never>({
    flush: (groups) =>
      commit(groups).pipe(
        // nobody pays for what another has handed in: what cannot be written together is tried one by one
        Effect.catchIf(
          (error) => groups.length > 1 && !error.transient,
          () => Effect.forEach(groups, (items) => Effect.exit(alone(items)))
        )
      )
  })
  const inFlight = yield* makeInFlight

  return (items) =>
    Effect.flatMap(database.isInTransaction, (inside) => (inside ? alone(items) : inFlight(batcher.submit(items))))
})

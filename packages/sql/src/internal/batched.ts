import * as Batcher from "@effect-tasks/core/Batcher"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Effect, type Exit, type Scope } from "effect"
import type { Transactions } from "./transactions.js"

/**
 * Makes an operation whose concurrent calls share one transaction. `perform` is given the items of each caller as a group
 * and answers each group; a call with options of its own is performed apart, with these; `committed` is told of every transaction when it has been committed.
 *
 * A call inside the application's own transaction is a part of that one instead.
 */
export const make = Effect.fnUntraced(function* <A, B, E, O>(options: {
  readonly isInTransaction: Effect.Effect<boolean>
  readonly transactions: Transactions
  readonly perform: (
    groups: ReadonlyArray<ReadonlyArray<A>>,
    options: O | undefined
  ) => Effect.Effect<ReadonlyArray<Exit.Exit<B, E>>, BackendError>
  readonly committed: (answers: ReadonlyArray<Exit.Exit<B, E>>) => void
}): Effect.fn.Return<(items: ReadonlyArray<A>, options?: O) => Effect.Effect<B, E | BackendError>, never, Scope.Scope> {
  const { committed, isInTransaction, perform, transactions } = options

  const commit = (groups: ReadonlyArray<ReadonlyArray<A>>, options: O | undefined) =>
    Effect.tap(perform(groups, options), (answers) =>
      transactions.atEnd({ committed: () => committed(answers), rolledBack: () => {} })
    )

  const alone = (items: ReadonlyArray<A>, options: O | undefined): Effect.Effect<B, E | BackendError> =>
    Effect.flatMap(commit([items], options), ([answer]) => answer!)

  const batcher = yield* Batcher.make<A, B, E | BackendError, never>({
    flush: (groups) =>
      commit(groups, undefined).pipe(
        // nobody pays for what another has handed in: what cannot be written together is tried one by one
        Effect.catchIf(
          (error) => groups.length > 1 && !error.transient,
          () => Effect.forEach(groups, (items) => Effect.exit(alone(items, undefined)))
        )
      )
  })

  return (items, options) =>
    Effect.flatMap(isInTransaction, (inside) =>
      inside || options !== undefined ? alone(items, options) : batcher.submit(items)
    )
})

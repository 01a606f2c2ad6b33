import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { TransactionEnd } from "@effect-tasks/core/Broker"
import type { BackendError } from "@effect-tasks/core/TaskError"
import type { TaskTransaction } from "@effect-tasks/core/TaskTransaction"
import { Context, Effect, Exit, Option } from "effect"

/** The transactions of a client, with something to do at their end: Effect's SQL clients have no such hook. */
export interface Transactions {
  /** The client's `withTransaction`. */
  readonly run: SqlClient["withTransaction"]

  /** Whether the calling fiber was in a transaction that `run` began and that has ended meanwhile. */
  readonly isOver: Effect.Effect<boolean>

  /** At the end of the calling fiber's outermost transaction; at once when it is in none that `run` began. */
  readonly atEnd: (end: TransactionEnd) => Effect.Effect<void>
}

/** The transaction that a fiber is in. A fiber that was forked inside it may outlive it. */
interface Open {
  readonly owner: object
  readonly ends: Array<TransactionEnd>
  isOver: boolean
}

class CurrentTransaction extends Context.Tag("@effect-tasks/sql/CurrentTransaction")<CurrentTransaction, Open>() {}

const finish = (transaction: Open, outer: Option.Option<Open>, isCommitted: boolean): void => {
  transaction.isOver = true
  if (!isCommitted) {
    transaction.ends.forEach((end) => end.rolledBack())
  } else if (Option.isSome(outer)) {
    outer.value.ends.push(...transaction.ends)
  } else {
    transaction.ends.forEach((end) => end.committed())
  }
}

export const make = (withTransaction: SqlClient["withTransaction"]): Transactions => {
  const owner = {}
  const own: Effect.Effect<Option.Option<Open>> = Effect.map(
    Effect.serviceOption(CurrentTransaction),
    Option.filter((open) => open.owner === owner)
  )
  const current = Effect.map(
    own,
    Option.filter(({ isOver }) => !isOver)
  )
  return {
    isOver: Effect.map(
      own,
      Option.exists(({ isOver }) => isOver)
    ),
    run: (self) =>
      Effect.flatMap(current, (outer) => {
        const transaction: Open = { owner, ends: [], isOver: false }
        return Effect.uninterruptibleMask((restore) =>
          Effect.onExit(
            restore(withTransaction(Effect.provideService(self, CurrentTransaction, transaction))),
            (exit) => Effect.sync(() => finish(transaction, outer, Exit.isSuccess(exit)))
          )
        )
      }),
    atEnd: (end) =>
      Effect.map(current, (open) => {
        if (Option.isSome(open)) {
          open.value.ends.push(end)
        } else {
          end.committed()
        }
      })
  }
}

/** What an effect inside a transaction failed with, kept apart from what the transaction itself fails with. */
class Failed<E> {
  readonly error: E

  constructor(error: E) {
    this.error = error
  }
}

/** The service for those who use the backend. */
export const service = (
  transactions: Transactions,
  toBackendError: (error: SqlError) => BackendError
): typeof TaskTransaction.Service => ({
  run: (self) =>
    Effect.mapError(transactions.run(Effect.mapError(self, (error) => new Failed(error))), (error) =>
      error instanceof Failed ? error.error : toBackendError(error)
    )
})

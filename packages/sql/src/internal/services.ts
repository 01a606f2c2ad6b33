import type { SqlError } from "@effect/sql/SqlError"
import { Broker } from "@effect-tasks/core/Broker"
import { Store } from "@effect-tasks/core/Store"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { TaskTransaction } from "@effect-tasks/core/TaskTransaction"
import { Context } from "effect"
import * as Transactions from "./transactions.js"

/** What an SQL backend provides, besides its client. */
export const make = (options: {
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly transactions: Transactions.Transactions
  readonly toBackendError: (error: SqlError) => BackendError
}): Context.Context<Broker | Store | TaskTransaction> =>
  Context.make(Broker, options.broker).pipe(
    Context.add(Store, options.store),
    Context.add(TaskTransaction, Transactions.service(options.transactions, options.toBackendError))
  )

import type { SqlError } from "@effect/sql/SqlError"
import {
  type Broker,
  type ClaimRequest,
  type Enqueued,
  type Exchange,
  type Exchanged,
  signalsAfter
} from "@effect-tasks/core/Broker"
import type { BackendError, IdempotencyConflict } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Clock, type Duration, Effect, Exit } from "effect"
import * as Batched from "../batched.js"
import type { Signals } from "../signals.js"
import type { Transactions } from "../transactions.js"
import * as Claim from "./claim.js"
import type { Database } from "./database.js"
import * as Enqueue from "./enqueue.js"
import { backend } from "./errors.js"
import type { Records } from "./records.js"
import type { Tables } from "./schema.js"
import * as Settle from "./settle.js"

interface Parts {
  readonly database: Database
  readonly tables: Tables
  readonly records: Records
  readonly signals: Signals
  readonly transactions: Transactions
}

const nothing = () => {}

const makeEnqueue = ({ database, records, signals, tables, transactions }: Parts) => {
  const accept = Enqueue.make(tables, records)
  return Batched.make<TaskRun.Encoded, ReadonlyArray<Enqueued>, IdempotencyConflict>({
    isInTransaction: database.isInTransaction,
    transactions,
    perform: (groups) =>
      database.write("enqueue", (run) => Effect.map(accept(run, groups), (accepted) => accepted.map(Exit.fromEither))),
    committed: (answers) => {
      if (answers.some((answer) => Exit.isSuccess(answer) && answer.value.some(({ _tag }) => _tag === "Queued"))) {
        signals.send({ _tag: "Work" })
      }
    }
  })
}

const makeExchange = ({ database, records, signals, tables, transactions }: Parts) => {
  // The end of a run of such a task may let another one begin: that is work for those who wait.
  const limited = new Set<string>()
  const settle = Settle.makeSettle(tables, records)
  const claim = Claim.make(tables)

  const nothingSettled = (request: ClaimRequest) =>
    Effect.flatMap(
      database.read("exchange", (run) => claim.look(run, request)),
      (seen) =>
        claim.isWorthIt(request, seen)
          ? Effect.map(
              database.write("exchange", (run) => claim.take(run, request, seen)),
              (runs): Exchanged => ({ settled: [], claimed: { runs, nextAt: seen.nextAt } })
            )
          : Effect.succeed<Exchanged>({ settled: [], claimed: { runs: [], nextAt: seen.nextAt } })
    )

  const both = ({ claim: request, settlements }: Exchange) =>
    database.write(
      "exchange",
      Effect.fnUntraced(function* (run): Effect.fn.Return<Exchanged, SqlError> {
        const settled = yield* settle(run, settlements)
        if (request === null) {
          return { settled, claimed: null }
        }
        const seen = yield* claim.look(run, request)
        const runs = claim.isWorthIt(request, seen) ? yield* claim.take(run, request, seen) : []
        return { settled, claimed: { runs, nextAt: seen.nextAt } }
      })
    )

  return (exchange: Exchange): Effect.Effect<Exchanged, BackendError> =>
    Effect.suspend(() => {
      const { claim: request, settlements } = exchange
      request?.tasks.forEach(({ maxConcurrency, name }) => maxConcurrency !== null && limited.add(name))
      if (settlements.length === 0) {
        return request === null ? Effect.succeed({ settled: [], claimed: null }) : nothingSettled(request)
      }
      return Effect.tap(both(exchange), ({ settled }) =>
        transactions.atEnd({
          committed: () => signalsAfter(settlements, settled, (task) => limited.has(task)).forEach(signals.send),
          rolledBack: nothing
        })
      )
    })
}

/** Makes the broker. `pollInterval` is what its listeners are told. */
export const make = Effect.fnUntraced(function* (parts: Parts & { readonly pollInterval: Duration.Duration }) {
  const { database, pollInterval, records, signals, tables } = parts
  const extend = Settle.makeExtend(tables)
  const cancel = Settle.makeCancel(tables, records)
  const enqueue = yield* makeEnqueue(parts)

  const broker: typeof Broker.Service = {
    name: backend,
    pollInterval,
    isRemote: false,
    now: Clock.currentTimeMillis,
    enqueue: (runs) => (runs.length === 0 ? Effect.succeed([]) : enqueue(runs)),
    exchange: makeExchange(parts),
    extend: (extension) =>
      extension.claims.length === 0
        ? Effect.succeed({ lost: [], cancelled: [] })
        : database.write("extend", (run) => extend(run, extension)),
    cancel: (request) =>
      Effect.tap(
        database.write("cancel", (run) => cancel(run, request)),
        (results) => {
          results.forEach((result, i) => {
            if (result._tag === "Requested") {
              signals.send({ _tag: "Cancel", id: request.ids[i]!, reason: request.reason })
            }
          })
          signals.ended(results.flatMap((result) => (result._tag === "Cancelled" ? [result.run.id] : [])))
        }
      ),
    atTransactionEnd: parts.transactions.atEnd,
    signals: signals.subscribe
  }
  return broker
})

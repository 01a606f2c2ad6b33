import {
  type Broker,
  type CancelResult,
  type Claimed,
  type Enqueued,
  type Exchange,
  type Exchanged,
  type Settlement,
  type Signal,
  signalsAfter
} from "@effect-tasks/core/Broker"
import type { BackendError, IdempotencyConflict } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Cause, type Duration, Effect, Exit, FiberRef } from "effect"
import * as Batched from "../batched.js"
import { runColumnNames } from "../rows.js"
import type { Signals } from "../signals.js"
import type { Transactions } from "../transactions.js"
import { type ExchangeRow, exchangeStatement, makeClaimParams, readExchange } from "./claims.js"
import type { Database } from "./database.js"
import * as Enqueue from "./enqueue.js"
import { backend } from "./errors.js"
import type { Names } from "./names.js"
import type { Notifier } from "./notifier.js"
import type { Records } from "./records.js"
import { type CancelRow, cancelAnswers, settleAnswers, settleParams } from "./settlements.js"
import { uuids, whole } from "./values.js"

interface Parts {
  readonly database: Database
  readonly names: Names
  readonly records: Records
  readonly signals: Signals
  readonly notifier: Notifier
  readonly transactions: Transactions
  readonly pollInterval: Duration.Duration
  readonly now: Effect.Effect<number>
}

const work: Signal = { _tag: "Work" }

/** Tells of what was written, when it is there to be seen. */
const makeTell = ({ database, notifier, signals, transactions }: Parts) => {
  const send = (all: ReadonlyArray<Signal>) => () => all.forEach(signals.send)
  return (all: ReadonlyArray<Signal>): Effect.Effect<void> =>
    all.length === 0
      ? Effect.void
      : Effect.flatMap(database.isInTransaction, (inside) =>
          inside
            ? Effect.zipRight(
                notifier.inTransaction(all),
                transactions.atEnd({ committed: send(all), rolledBack: () => {} })
              )
            : Effect.sync(() => notifier.committed(all))
        )
}

type Tell = ReturnType<typeof makeTell>

const makeEnqueue = Effect.fnUntraced(function* ({ database, names, records, transactions }: Parts, tell: Tell) {
  const accept = Enqueue.make(database, names, records)
  const isNews = (answer: Exit.Exit<ReadonlyArray<Enqueued>, unknown>): boolean =>
    Exit.isSuccess(answer) && answer.value.some(({ _tag }) => _tag === "Queued")
  return yield* Batched.make<TaskRun.Encoded, ReadonlyArray<Enqueued>, IdempotencyConflict>({
    isInTransaction: database.isInTransaction,
    transactions,
    perform: (groups) =>
      accept(groups).pipe(
        Effect.map((accepted) => accepted.map(Exit.fromEither)),
        Effect.tap((answers) => (answers.some(isNews) ? tell([work]) : Effect.void))
      ),
    committed: () => {}
  })
})

/** Claims that nobody will know of: their runs wait again. One that was taken over has crashed all the same. */
const givenBack = (claimed: Claimed, now: number): ReadonlyArray<Settlement> =>
  claimed.runs.map(({ previous, run }) => ({
    run: { ...run, state: previous === "scheduled" ? previous : "queued", consumer: null, leaseUntil: null },
    now,
    logs: [],
    holdTaskUntil: null
  }))

const isInterrupted = Effect.map(FiberRef.get(FiberRef.interruptedCause), (cause) => !Cause.isEmpty(cause))

const makeExchange = ({ database, names }: Parts, tell: Tell) => {
  // The end of a run of such a task may let another one begin: that is work for those who wait.
  const limited = new Set<string>()
  const statement = exchangeStatement(names)
  const claimParams = makeClaimParams()
  const noClaim = claimParams(null)

  /** A caller that was interrupted meanwhile gets no answer, and so never hears of its claims. */
  const unlessInterrupted = (claimed: Claimed, now: number): Effect.Effect<void> =>
    Effect.flatMap(isInterrupted, (interrupted) =>
      interrupted && claimed.runs.length > 0
        ? Effect.ignore(
            Effect.zipRight(
              database.call("exchange", statement, [...settleParams(givenBack(claimed, now)), ...noClaim]),
              tell([work])
            )
          )
        : Effect.void
    )

  const exchange = ({ claim, settlements }: Exchange) =>
    Effect.flatMap(
      database.call<ExchangeRow>("exchange", statement, [...settleParams(settlements), ...claimParams(claim)]),
      (rows) => {
        const { claimed, written } = readExchange(rows)
        const settled = settleAnswers(settlements, written)
        const signals = settled.length === 0 ? [] : signalsAfter(settlements, settled, (task) => limited.has(task))
        return Effect.zipRight(tell(signals), unlessInterrupted(claimed, claim?.now ?? 0)).pipe(
          Effect.as<Exchanged>({ settled, claimed: claim === null ? null : claimed })
        )
      }
    )

  return (request: Exchange): Effect.Effect<Exchanged, BackendError> =>
    Effect.suspend(() => {
      const { claim, settlements } = request
      claim?.tasks.forEach(({ maxConcurrency, name }) => maxConcurrency !== null && limited.add(name))
      return settlements.length === 0 && claim === null
        ? Effect.succeed<Exchanged>({ settled: [], claimed: null })
        : Effect.uninterruptible(exchange(request))
    })
}

const makeExtend = ({ database, names }: Parts): (typeof Broker.Service)["extend"] => {
  const statement = { name: `${names.prefix}extend`, text: `SELECT id_, fence_, reason_ FROM ${names.extend}($1, $2)` }
  return ({ claims, leaseUntil }) => {
    const given = claims.slice().sort((a, b) => (a.id < b.id ? -1 : 1))
    return Effect.map(
      database.call<readonly [id: TaskRun.RunId, fence: number, reason: string | null]>("extend", statement, [
        JSON.stringify(given),
        whole(leaseUntil)
      ]),
      (rows) => {
        const held = new Map(rows.map(([id, fence]) => [id, fence]))
        return {
          lost: claims.flatMap(({ fence, id }) => (held.get(id) === fence ? [] : [id])),
          cancelled: rows.flatMap(([id, , reason]) => (reason === null ? [] : [{ id, reason }]))
        }
      }
    )
  }
}

const makeCancel = ({ database, names }: Parts, tell: Tell): (typeof Broker.Service)["cancel"] => {
  const statement = {
    name: `${names.prefix}cancel`,
    text: `SELECT answer_, previous_, ${runColumnNames.map((column) => `${column}_`).join(", ")}
FROM ${names.cancel}($1, $2, $3)`
  }
  const signalsOf = (results: ReadonlyArray<CancelResult>, ids: ReadonlyArray<TaskRun.RunId>, reason: string) => {
    const ended = results.flatMap((result) => (result._tag === "Cancelled" ? [result.run.id] : []))
    return [
      ...results.flatMap(
        (result, i): ReadonlyArray<Signal> =>
          result._tag === "Requested" ? [{ _tag: "Cancel", id: ids[i]!, reason }] : []
      ),
      ...(ended.length > 0 ? [{ _tag: "Ended", ids: ended } as const] : [])
    ]
  }
  return ({ ids, now, reason }) =>
    database.call<CancelRow>("cancel", statement, [uuids(ids), reason, whole(now)]).pipe(
      Effect.map((rows) => cancelAnswers(ids, rows, reason, now)),
      Effect.tap((results) => tell(signalsOf(results, ids, reason)))
    )
}

/** Makes the broker. */
export const make = Effect.fnUntraced(function* (parts: Parts) {
  const tell = makeTell(parts)
  const enqueue = yield* makeEnqueue(parts, tell)
  const extend = makeExtend(parts)
  const broker: typeof Broker.Service = {
    name: backend,
    pollInterval: parts.pollInterval,
    isRemote: true,
    now: parts.now,
    enqueue: (runs) => (runs.length === 0 ? Effect.succeed([]) : enqueue(runs)),
    exchange: makeExchange(parts, tell),
    extend: (extension) =>
      extension.claims.length === 0 ? Effect.succeed({ lost: [], cancelled: [] }) : extend(extension),
    cancel: makeCancel(parts, tell),
    atTransactionEnd: parts.transactions.atEnd,
    signals: parts.signals.subscribe
  }
  return broker
})

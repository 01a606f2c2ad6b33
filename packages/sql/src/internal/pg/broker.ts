import type { Broker, Enqueued, EnqueueOptions, Signal } from "@effect-tasks/core/Broker"
import type { CancelResult, Control } from "@effect-tasks/core/Operating"
import type { IdempotencyConflict, QueueFull } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { type Duration, Effect, Exit } from "effect"
import * as Batched from "../batched.js"
import { runColumnNames } from "../rows.js"
import type { Signals } from "../signals.js"
import type { Transactions } from "../transactions.js"
import type { Database } from "./database.js"
import * as Enqueue from "./enqueue.js"
import { backend } from "./errors.js"
import { makeExchange } from "./exchanging.js"
import * as Locks from "./locks.js"
import type { Names } from "./names.js"
import type { Notifier } from "./notifier.js"
import type { Records } from "./records.js"
import * as Schedules from "./schedules.js"
import { type CancelRow, cancelAnswers, type EditRow, editAnswers } from "./settlements.js"
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
    Exit.isSuccess(answer) && answer.value.some(({ _tag }) => _tag !== "Existing")
  return yield* Batched.make<TaskRun.Encoded, ReadonlyArray<Enqueued>, IdempotencyConflict | QueueFull, EnqueueOptions>(
    {
      isInTransaction: database.isInTransaction,
      transactions,
      perform: (groups, options) =>
        accept(groups, options?.maxQueued ?? null).pipe(
          Effect.map((accepted) => accepted.map(Exit.fromEither)),
          Effect.tap((answers) => (answers.some(isNews) ? tell([work]) : Effect.void))
        ),
      committed: () => {}
    }
  )
})

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

const makeEdit = ({ database, names }: Parts, tell: Tell): (typeof Broker.Service)["edit"] => {
  const statement = {
    name: `${names.prefix}edit`,
    text: `SELECT answer_, previous_, ${runColumnNames.map((column) => `${column}_`).join(", ")}
FROM ${names.edit}($1, $2, $3, $4)`
  }
  return ({ dueAt, ids, now, priority }) =>
    database
      .call<EditRow>("edit", statement, [uuids(ids), priority, dueAt === null ? null : whole(dueAt), whole(now)])
      .pipe(
        Effect.map((rows) => editAnswers(ids, rows)),
        Effect.tap((results) => (results.some(({ _tag }) => _tag === "Edited") ? tell([work]) : Effect.void))
      )
}

/** The kinds of rows that controls are. */
const kinds = [
  { kind: "pausedQueue", of: "queue", state: "paused" },
  { kind: "pausedTask", of: "task", state: "paused" },
  { kind: "disabledTask", of: "task", state: "disabled" }
] as const

const controlRows = (controls: ReadonlyArray<Control>): string =>
  JSON.stringify(
    controls.map(({ name, of, state }) => ({
      name,
      kind: kinds.find((kind) => kind.of === of && kind.state === state)?.kind
    }))
  )

const makeControls = ({ database, names }: Parts, tell: Tell): Pick<typeof Broker.Service, "control" | "controls"> => {
  const set = { name: `${names.prefix}set_controls`, text: `SELECT ${names.setControls}($1, $2)` }
  const all = {
    name: `${names.prefix}controls`,
    text: `SELECT kind, name FROM ${names.control} WHERE kind <> 'hold' ORDER BY name, kind`
  }
  return {
    control: ({ add, remove }) =>
      Effect.zipRight(database.call("control", set, [controlRows(add), controlRows(remove)]), tell([work])),
    controls: Effect.map(database.call<readonly [kind: string, name: string]>("controls", all, []), (rows) =>
      rows.flatMap(
        ([found, name]): ReadonlyArray<Control> =>
          kinds.flatMap(({ kind, of, state }) => (kind === found ? [{ of, name, state } as Control] : []))
      )
    )
  }
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
    enqueue: (runs, options) =>
      runs.length === 0
        ? Effect.succeed([])
        : enqueue(runs, options === undefined || options.maxQueued === null ? undefined : options),
    exchange: makeExchange({ ...parts, tell }),
    extend: (extension) =>
      extension.claims.length === 0 ? Effect.succeed({ lost: [], cancelled: [] }) : extend(extension),
    cancel: makeCancel(parts, tell),
    edit: makeEdit(parts, tell),
    ...makeControls(parts, tell),
    ...Schedules.makeWriting({ ...parts, tell }),
    ...Locks.make(parts, tell),
    atTransactionEnd: parts.transactions.atEnd,
    signals: parts.signals.subscribe
  }
  return broker
})

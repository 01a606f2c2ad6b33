import type { SqlError } from "@effect/sql/SqlError"
import { fullQueue, Turns } from "@effect-tasks/core/Admission"
import type {
  Broker,
  Claimed,
  ClaimRequest,
  Enqueued,
  EnqueueOptions,
  Exchange,
  Exchanged,
  Signal
} from "@effect-tasks/core/Broker"
import { signalsAfter } from "@effect-tasks/core/RunRecord"
import type { ScheduleChange } from "@effect-tasks/core/Scheduling"
import type { BackendError, IdempotencyConflict, QueueFull } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Clock, type Duration, Effect, Exit } from "effect"
import * as Batched from "../batched.js"
import type { Signals } from "../signals.js"
import type { Transactions } from "../transactions.js"
import * as Claim from "./claim.js"
import * as Controls from "./controls.js"
import type { Database } from "./database.js"
import * as Enqueue from "./enqueue.js"
import { backend } from "./errors.js"
import * as Locks from "./locks.js"
import type { Records } from "./records.js"
import * as Schedules from "./schedules.js"
import type { Tables } from "./schema.js"
import * as Settle from "./settle.js"
import * as Waiting from "./waiting.js"

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
  return Batched.make<TaskRun.Encoded, ReadonlyArray<Enqueued>, IdempotencyConflict | QueueFull, EnqueueOptions>({
    isInTransaction: database.isInTransaction,
    transactions,
    perform: (groups, options) =>
      database.write("enqueue", (run) =>
        Effect.map(accept(run, groups, options), (accepted) => accepted.map(Exit.fromEither))
      ),
    committed: (answers) => {
      if (answers.some((answer) => Exit.isSuccess(answer) && answer.value.some(({ _tag }) => _tag !== "Existing"))) {
        signals.send({ _tag: "Work" })
      }
    }
  })
}

/** What this process knows to have limits: the end of a run of such a task or queue may let another one begin. */
const makeLimited = () => {
  const names = new Set<string>()
  return {
    note: ({ queueLimits, tasks }: ClaimRequest): void => {
      for (const { limits, maxConcurrency, name } of tasks) {
        if (maxConcurrency !== null || limits.some(({ _tag }) => _tag === "Concurrency")) {
          names.add(name)
        }
      }
      for (const { queue } of queueLimits) {
        names.add(fullQueue(queue))
      }
    },
    has: ({ queue, task }: TaskRun.Encoded): boolean =>
      names.size > 0 && (names.has(task) || names.has(fullQueue(queue)))
  }
}

const makeExchange = ({ database, records, signals, tables, transactions }: Parts) => {
  const limited = makeLimited()
  const settle = Settle.makeSettle(tables, records)
  const claim = Claim.make(tables, new Turns())

  const claimed = (request: ClaimRequest): Effect.Effect<Claimed, BackendError> =>
    Effect.flatMap(
      database.read("exchange", (run) => claim.look(run, request)),
      (seen) =>
        claim.isWorthIt(request, seen)
          ? database.write("exchange", (run) => claim.takeLater(run, request, seen))
          : Effect.succeed(claim.nothing(seen))
    )

  const both = ({ claim: request, settlements }: Exchange) =>
    database.write(
      "exchange",
      Effect.fnUntraced(function* (run): Effect.fn.Return<Exchanged, SqlError> {
        const settled = yield* settle(run, settlements)
        return { settled, claimed: request === null ? null : yield* claim.lookAndTake(run, request) }
      })
    )

  return (exchange: Exchange): Effect.Effect<Exchanged, BackendError> =>
    Effect.suspend(() => {
      const { claim: request, settlements } = exchange
      if (request !== null) {
        limited.note(request)
      }
      if (settlements.length === 0) {
        return request === null
          ? Effect.succeed({ settled: [], claimed: null })
          : Effect.map(claimed(request), (claimed): Exchanged => ({ settled: [], claimed }))
      }
      return Effect.tap(both(exchange), ({ settled }) =>
        transactions.atEnd({
          committed: () => signalsAfter(settlements, settled, limited.has).forEach(signals.send),
          rolledBack: nothing
        })
      )
    })
}

/** Makes the operations of programs and operators on runs that wait, and on controls. */
const makeOperations = ({
  database,
  records,
  signals,
  tables,
  transactions
}: Parts): Pick<typeof Broker.Service, "cancel" | "edit" | "control" | "controls"> => {
  const cancel = Settle.makeCancel(tables, records)
  const edit = Waiting.makeEdit(tables, records)
  const controls = Controls.make(tables)
  const work = transactions.atEnd({ committed: () => signals.send({ _tag: "Work" }), rolledBack: nothing })
  return {
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
    edit: (request) =>
      Effect.zipLeft(
        database.write("edit", (run) => edit(run, request)),
        work
      ),
    control: (changes) =>
      Effect.zipRight(
        database.write("control", (run) => controls.change(run, changes)),
        work
      ),
    controls: database.read("controls", controls.all)
  }
}

const makeSchedules = ({
  database,
  signals,
  tables,
  transactions
}: Parts): Pick<typeof Broker.Service, "fire" | "putSchedules" | "removeSchedules"> => {
  const change = Schedules.makeChange(tables)
  const remove = `DELETE FROM ${tables.schedule} WHERE name IN (SELECT value FROM json_each(?)) RETURNING 1`
  const tell = (all: ReadonlyArray<Signal>) =>
    transactions.atEnd({ committed: () => all.forEach(signals.send), rolledBack: nothing })
  const write = (operation: string, changes: ReadonlyArray<ScheduleChange>, more: ReadonlyArray<Signal>) =>
    Effect.tap(
      database.write(operation, (run) => change(run, changes)),
      (written) =>
        tell(changes.some(({ runs }, i) => written[i] && runs.length > 0) ? [...more, { _tag: "Work" }] : more)
    )
  return {
    fire: (changes) => write("fire", changes, []),
    putSchedules: (changes) => write("putSchedules", changes, [{ _tag: "Schedules" }]),
    removeSchedules: (names) =>
      database
        .write("removeSchedules", (run) => run(remove, [JSON.stringify(names)]))
        .pipe(
          Effect.map((rows) => rows.length),
          Effect.zipLeft(tell([{ _tag: "Schedules" }]))
        )
  }
}

const makeLocks = ({
  database,
  signals,
  tables
}: Parts): Pick<typeof Broker.Service, "acquireLock" | "renewLocks" | "releaseLocks"> => {
  const locks = Locks.make(tables)
  return {
    acquireLock: (request) =>
      Effect.flatMap(
        database.read("acquireLock", (run) => locks.look(run, request)),
        (held) =>
          held === undefined
            ? database.write("acquireLock", (run) => locks.acquire(run, request))
            : Effect.succeed(held)
      ),
    renewLocks: (renewal) => database.write("renewLocks", (run) => locks.renew(run, renewal)),
    releaseLocks: (refs) =>
      Effect.map(
        database.write("releaseLocks", (run) => locks.release(run, refs)),
        () => signals.send({ _tag: "Unlocked", names: refs.map(({ name }) => name) })
      )
  }
}

/** Makes the broker. `pollInterval` is what its listeners are told. */
export const make = Effect.fnUntraced(function* (parts: Parts & { readonly pollInterval: Duration.Duration }) {
  const { database, pollInterval, signals, tables } = parts
  const extend = Settle.makeExtend(tables)
  const enqueue = yield* makeEnqueue(parts)

  const broker: typeof Broker.Service = {
    name: backend,
    pollInterval,
    isRemote: false,
    now: Clock.currentTimeMillis,
    enqueue: (runs, options) =>
      runs.length === 0
        ? Effect.succeed([])
        : enqueue(runs, (options?.maxQueued ?? null) === null ? undefined : options),
    exchange: makeExchange(parts),
    extend: (extension) =>
      extension.claims.length === 0
        ? Effect.succeed({ lost: [], cancelled: [] })
        : database.write("extend", (run) => extend(run, extension)),
    ...makeOperations(parts),
    ...makeSchedules(parts),
    ...makeLocks(parts),
    atTransactionEnd: parts.transactions.atEnd,
    signals: signals.subscribe
  }
  return broker
})

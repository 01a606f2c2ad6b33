import type { Broker, Enqueued, Settled, Settlement } from "@effect-tasks/core/Broker"
import type { IdempotencyConflict } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { isFinal } from "@effect-tasks/core/TaskState"
import { Clock, type Duration, Effect, Exit } from "effect"
import * as Batched from "./batched.js"
import * as Claim from "./claim.js"
import type { Database } from "./database.js"
import * as Enqueue from "./enqueue.js"
import { backend } from "./errors.js"
import type { Records } from "./records.js"
import type { Tables } from "./schema.js"
import * as Settle from "./settle.js"
import type { Signals } from "./signals.js"

interface Parts {
  readonly database: Database
  readonly tables: Tables
  readonly records: Records
  readonly signals: Signals
}

const makeEnqueue = ({ database, records, signals, tables }: Parts) => {
  const accept = Enqueue.make(tables, records)
  return Batched.make<TaskRun.Encoded, ReadonlyArray<Enqueued>, IdempotencyConflict>({
    database,
    operation: "enqueue",
    perform: (run, groups) => Effect.map(accept(run, groups), (accepted) => accepted.map(Exit.fromEither)),
    committed: (_, answers) => {
      if (answers.some((answer) => Exit.isSuccess(answer) && answer.value.some(({ _tag }) => _tag === "Queued"))) {
        signals.send({ _tag: "Work" })
      }
    }
  })
}

const makeSettle = ({ database, records, signals, tables }: Parts, isLimited: (task: string) => boolean) => {
  const settle = Settle.makeSettle(tables, records)
  return Batched.make<Settlement, ReadonlyArray<Settled>, never>({
    database,
    operation: "settle",
    perform: (run, groups) =>
      Effect.map(settle(run, groups.flat()), (results) => {
        let end = 0
        return groups.map((group) => {
          end += group.length
          return Exit.succeed(results.slice(end - group.length, end))
        })
      }),
    committed: (groups, answers) => {
      const results = answers.flatMap((answer) => (Exit.isSuccess(answer) ? answer.value : []))
      const written = groups.flat().flatMap(({ run }, i) => Settle.writtenAs(results[i], run))
      if (written.some((run) => !isFinal(run.state) || isLimited(run.task))) {
        signals.send({ _tag: "Work" })
      }
      signals.ended(written.flatMap((run) => (isFinal(run.state) ? [run.id] : [])))
    }
  })
}

/** Makes the broker. `pollInterval` is what its listeners are told. */
export const make = Effect.fnUntraced(function* (parts: Parts & { readonly pollInterval: Duration.Duration }) {
  const { database, pollInterval, records, signals, tables } = parts
  // The end of a run of such a task may let another one begin: that is work for those who wait.
  const limited = new Set<string>()
  const claim = Claim.make(database, tables)
  const extend = Settle.makeExtend(tables)
  const cancel = Settle.makeCancel(tables, records)
  const enqueue = yield* makeEnqueue(parts)
  const settle = yield* makeSettle(parts, (task) => limited.has(task))

  const broker: typeof Broker.Service = {
    name: backend,
    pollInterval,
    now: Clock.currentTimeMillis,
    enqueue: (runs) => (runs.length === 0 ? Effect.succeed([]) : enqueue(runs)),
    claim: (request) =>
      Effect.suspend(() => {
        request.tasks.forEach(({ maxConcurrency, name }) => maxConcurrency !== null && limited.add(name))
        return claim(request)
      }),
    settle: (settlements) => (settlements.length === 0 ? Effect.succeed([]) : settle(settlements)),
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
    signals: signals.subscribe
  }
  return broker
})

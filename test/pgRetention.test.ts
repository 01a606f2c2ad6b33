/* How long the PostgreSQL backend keeps ended runs. */

import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Broker, Store, TaskRun, type TaskState } from "@effect-tasks/core"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { Clock, Effect, Layer, Schedule } from "effect"
import { encodedAs } from "./conformance/encoded.js"
import { freshSchema, isSkipped, keepAll, url } from "./postgres/database.js"

const day = 86_400_000

/** The id of a run that was made at this moment. */
const idAt = (at: number, n = 0): TaskRun.RunId => {
  const hex = Math.floor(at).toString(16).padStart(12, "0")
  return TaskRun.RunId.make(`${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${n.toString(16).padStart(12, "0")}`)
}

const endedAs = (id: TaskRun.RunId, task: string, state: TaskState.Final, endedAt: number): TaskRun.Encoded =>
  encodedAs(id, { task, state, createdAt: endedAt, endedAt, outcome: "{}" })

const line = (runId: TaskRun.RunId) =>
  new Store.LogLine({ runId, seq: 0, attempt: 1, at: 0, level: "INFO", message: "m", annotations: {}, spans: [] })

const record = (runs: ReadonlyArray<TaskRun.Encoded>) =>
  Effect.flatMap(Store.Store, (store) => store.record(runs.map((run) => ({ run, logs: [line(run.id)] }))))

const opened =
  (options: Omit<PgBackend.Options, "url">) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, Layer.fresh(PgBackend.layer({ url, maxConnections: 3, ...options })))

/** Waits until an Effect gives this. */
const until = <A, E, R>(expected: A, effect: Effect.Effect<A, E, R>) =>
  Effect.repeat(effect, {
    until: (actual) => JSON.stringify(actual) === JSON.stringify(expected),
    schedule: Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(250))
  }).pipe(
    Effect.zipRight(effect),
    Effect.map((actual) => assert.deepStrictEqual(actual, expected))
  )

describe.skipIf(isSkipped)("retention on PostgreSQL", () => {
  it.scopedLive("each end goes after its time, with its log, and the counts stay right", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const now = yield* Clock.currentTimeMillis
      const runs = [
        endedAs(idAt(now - 8 * day), "A", "success", now - 8 * day),
        endedAs(idAt(now - 8 * day, 1), "A", "success", now - 6 * day),
        endedAs(idAt(now - 8 * day, 2), "A", "failure", now - 8 * day),
        endedAs(idAt(now - 31 * day), "A", "failure", now - 31 * day),
        endedAs(idAt(now - 31 * day, 1), "A", "cancelled", now - 31 * day),
        endedAs(idAt(now - 2 * day), "B", "success", now - 2 * day),
        endedAs(idAt(now - 31 * day, 2), "C", "failure", now - 31 * day)
      ]
      yield* opened({ schema, retention: keepAll })(record(runs))
      yield* opened({
        schema,
        retention: { tasks: { B: { success: "1 day" }, C: { failure: "forever" } } }
      })(
        Effect.gen(function* () {
          const store = yield* Store.Store
          const kept = [runs[1]!, runs[2]!, runs[6]!].map(({ id }) => id)
          yield* until(
            kept.toSorted(),
            Effect.map(store.runs({ limit: 100 }), (found) => found.map(({ id }) => id).toSorted())
          )
          assert.deepStrictEqual(yield* store.counts({}), { success: 1, failure: 2 })
          for (const { id } of runs) {
            const lines = yield* store.logs(id, { fromSeq: 0, limit: 9 })
            assert.strictEqual(lines.length, kept.includes(id) ? 1 : 0)
          }
        })
      )
    })
  )

  it.scopedLive("many runs go in portions, and those that are kept among them stay", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const now = yield* Clock.currentTimeMillis
      const runs = Array.from({ length: 1_700 }, (_, n) =>
        endedAs(idAt(now - 9 * day, n), "A", n % 10 === 0 ? "failure" : "success", now - 9 * day)
      )
      yield* opened({ schema, retention: keepAll })(record(runs))
      yield* opened({ schema })(
        Effect.gen(function* () {
          const store = yield* Store.Store
          yield* until({ failure: 170 }, store.counts({}))
          assert.strictEqual(yield* store.count({}), 170)
        })
      )
    })
  )

  it.scopedLive("a whole week in which nothing is kept is dropped; one with an unfinished run stays", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const week = 7 * day
      const now = yield* Clock.currentTimeMillis
      const old = (Math.floor(now / week) - 10) * week
      const partitions = Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ name: string }>`SELECT relname AS name FROM pg_class JOIN pg_inherits ON inhrelid = oid
          WHERE inhparent IN (${`${schema}.task_history`}::regclass, ${`${schema}.task_log`}::regclass)`
      ).pipe(Effect.map((rows) => new Set(rows.map(({ name }) => name))))
      const waiting = encodedAs(idAt(old + week), { createdAt: old + week })
      const late = endedAs(idAt(old + 2 * week), "A", "failure", now - day)
      yield* opened({ schema, retention: keepAll })(
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const broker = yield* Broker.Broker
          yield* sql.unsafe(`SELECT ${schema}.task_maintain(${old})`)
          yield* record([endedAs(idAt(old), "A", "success", old), endedAs(idAt(old, 1), "A", "failure", old), late])
          yield* broker.enqueue([waiting])
          const store = yield* Store.Store
          yield* store.appendLogs([line(waiting.id)])
          assert.isTrue((yield* partitions).has(`task_history_w${old / week}`))
        })
      )
      yield* opened({ schema })(
        Effect.gen(function* () {
          const store = yield* Store.Store
          yield* until({ queued: 1, failure: 1 }, store.counts({}))
          const dropped = (n: number) =>
            Effect.map(partitions, (names) =>
              [`task_history_w${old / week + n}`, `task_log_w${old / week + n}`].map((name) => !names.has(name))
            )
          yield* until([true, true], dropped(0))
          yield* until([true, true], dropped(3))
          assert.deepStrictEqual([yield* dropped(1), yield* dropped(2)].flat(), [false, false, false, false])
          assert.strictEqual((yield* store.logs(waiting.id, { fromSeq: 0, limit: 9 })).length, 1)
          assert.deepStrictEqual(
            (yield* store.runs({ limit: 9 })).map(({ id }) => id),
            [late.id, waiting.id]
          )
        })
      )
    })
  )

  it.scopedLive("a key stays held when its run is gone, and goes when its time is over", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const now = yield* Clock.currentTimeMillis
      const held = (n: number, key: string, holdMillis: number) =>
        encodedAs(idAt(now - 8 * day, n), {
          createdAt: now - 8 * day,
          idempotency: { key, holdMillis, holdUntil: null, onConflict: "return", latestDueAt: null }
        })
      const runs = [held(1, "long", 9 * day), held(2, "short", day)]
      const keys = Effect.flatMap(SqlClient.SqlClient, (sql) =>
        sql.unsafe(`SELECT key FROM ${schema}.task_key ORDER BY key`)
      )
      yield* opened({ schema, retention: keepAll })(
        Effect.gen(function* () {
          const broker = yield* Broker.Broker
          yield* broker.enqueue(runs)
          const { runs: claimed } = yield* Broker.claim(broker, {
            consumer: "A",
            queues: ["default"],
            queueLimits: [],
            tasks: [{ name: "T", maxConcurrency: null, limits: [], room: null }],
            limit: 2,
            now: now - 8 * day,
            leaseUntil: now
          })
          const endedAt = now - 8 * day
          yield* Broker.settle(
            broker,
            claimed.map(({ run }) => ({
              run: { ...run, state: "success", endedAt, consumer: null, leaseUntil: null, outcome: "{}" },
              now: endedAt,
              logs: [],
              hold: null
            }))
          )
        })
      )
      yield* opened({ schema })(
        Effect.gen(function* () {
          const broker = yield* Broker.Broker
          const store = yield* Store.Store
          yield* until([{ key: "long" }], keys)
          yield* until({}, store.counts({}))
          const again = { ...runs[0]!, id: idAt(now), createdAt: now, dueAt: now }
          const [result] = yield* broker.enqueue([again])
          assert.deepInclude(result!, { _tag: "Existing" })
          assert.strictEqual(result!.run.id, runs[0]!.id)
        })
      )
    })
  )
})

/* How long the SQLite backend keeps what has ended. */
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Broker, type Store, TaskRun } from "@effect-tasks/core"
import type { Retention } from "@effect-tasks/sql"
import { Duration, Effect, TestClock, TestServices } from "effect"
import { rules } from "../packages/sql/src/internal/retention.js"
import * as backend from "../packages/sql/src/internal/sqlite/backend.js"
import * as Transactions from "../packages/sql/src/internal/transactions.js"
import { encodedAs, keyed, line } from "./conformance/encoded.js"

const day = 24 * 60 * 60_000

const idOf = (n: number): TaskRun.RunId =>
  TaskRun.RunId.make(`00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`)

/** A backend that prunes all the time. */
const opened = (retention?: Retention.Retention) =>
  Effect.gen(function* () {
    const client = yield* SqliteClient.SqliteClient
    return yield* backend.make({
      client,
      transactions: Transactions.make(client.withTransaction),
      prefix: "task_",
      migrate: true,
      watchInterval: Duration.seconds(1),
      rules: rules(retention),
      pruneInterval: Duration.millis(5)
    })
  })

const endedRun = (n: number, fields: Partial<TaskRun.Encoded>): TaskRun.Encoded =>
  encodedAs(idOf(n), { state: "success", endedAt: 0, fence: 1, ...fields })

const record = (store: typeof Store.Store.Service, runs: ReadonlyArray<TaskRun.Encoded>) =>
  store.record(runs.map((run) => ({ run, logs: [line(run.id, 0)] })))

const numbersOf = (store: typeof Store.Store.Service) =>
  Effect.map(store.runs({ limit: 10_000 }), (runs) =>
    runs.map(({ id }) => Number.parseInt(id.slice(-12), 16)).sort((a, b) => a - b)
  )

/** What is kept, once the background has come so far, and some rounds later. */
const kept = (store: typeof Store.Store.Service, isAwaited: (ids: ReadonlyArray<number>) => boolean) =>
  numbersOf(store).pipe(
    Effect.delay("5 millis"),
    Effect.repeat({ until: isAwaited }),
    Effect.zipRight(Effect.delay(numbersOf(store), "50 millis")),
    Effect.timeout("10 seconds"),
    TestServices.provideLive
  )

const inMemory = SqliteClient.layer({ filename: ":memory:" })

describe("SqliteBackend, retention", () => {
  it.scoped("keeps successes for 7 days and other ends for 30, with their logs and counts", () =>
    Effect.gen(function* () {
      const { broker, store } = yield* opened()
      yield* record(store, [endedRun(1, {}), endedRun(2, { state: "failure" }), endedRun(3, { endedAt: 1 })])
      yield* broker.enqueue([encodedAs(idOf(4))])
      yield* TestClock.adjust(Duration.millis(7 * day))
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 3), [2, 3, 4])
      assert.deepStrictEqual(yield* store.logs(idOf(1), { fromSeq: 0, limit: 1 }), [])
      assert.strictEqual((yield* store.logs(idOf(3), { fromSeq: 0, limit: 1 })).length, 1)
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1, failure: 1, success: 1 })
      yield* TestClock.adjust(Duration.millis(30 * day))
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 1), [4])
      assert.deepStrictEqual(yield* store.counts({}), { queued: 1 })
    }).pipe(Effect.provide(inMemory))
  )

  it.scoped("keeps by state and task what it is told to, also for ever", () =>
    Effect.gen(function* () {
      const { store } = yield* opened({
        success: "1 day",
        failure: "forever",
        tasks: { Kept: { success: "forever" }, Short: { success: 10, failure: 10 } }
      })
      yield* record(store, [
        endedRun(1, {}),
        endedRun(2, { state: "failure" }),
        endedRun(3, { task: "Kept" }),
        endedRun(4, { task: "Kept", state: "cancelled" }),
        endedRun(5, { task: "Short" }),
        endedRun(6, { task: "Short", state: "failure" })
      ])
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 4), [1, 2, 3, 4])
      yield* TestClock.adjust(Duration.millis(day))
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 3), [2, 3, 4])
      yield* TestClock.adjust(Duration.millis(400 * day))
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 2), [2, 3])
    }).pipe(Effect.provide(inMemory))
  )

  it.scoped("removes many in small steps, also those that stand behind kept ones", () =>
    Effect.gen(function* () {
      const { store } = yield* opened()
      yield* record(
        store,
        Array.from({ length: 2_500 }, (_, n) =>
          endedRun(n + 1, { endedAt: n < 1_000 ? 0 : n, state: n % 1_000 === 0 ? "failure" : "success" })
        )
      )
      yield* TestClock.adjust(Duration.millis(7 * day + 2_400))
      const left = yield* kept(store, (ids) => ids.length <= 102)
      assert.deepStrictEqual(left.slice(0, 4), [1, 1_001, 2_001, 2_402])
      assert.strictEqual(left.length, 102)
      assert.deepStrictEqual(yield* store.counts({}), { failure: 3, success: 99 })
      // the table is empty for a moment, and its numbers begin anew
      yield* TestClock.adjust(Duration.millis(30 * day))
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length === 0), [])
      yield* record(store, [endedRun(1, {}), endedRun(2, { endedAt: 60 * day })])
      assert.deepStrictEqual(yield* kept(store, (ids) => ids.length <= 1), [2])
    }).pipe(Effect.provide(inMemory))
  )

  it.scoped("a key is held for its time, though its run has gone, and forgotten then", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { broker, store } = yield* opened({ success: 10 })
      const run = encodedAs(idOf(1), keyed("k", { holdMillis: 100 }))
      yield* broker.enqueue([run])
      const { runs } = yield* Broker.claim(broker, {
        consumer: "A",
        queues: ["default"],
        queueLimits: [],
        tasks: [{ name: "T", maxConcurrency: null, limits: [], room: null }],
        limit: 1,
        now: 0,
        leaseUntil: 10
      })
      const success = { ...runs[0]!.run, state: "success" as const, endedAt: 0, leaseUntil: null }
      yield* Broker.settle(broker, [{ run: success, logs: [], now: 0, hold: { until: 50, limitKeys: '["a"]' } }])
      yield* TestClock.adjust(50)
      yield* kept(store, (ids) => ids.length === 0)
      const again = encodedAs(idOf(2), { ...keyed("k"), createdAt: 50, dueAt: 50 })
      const [existing] = yield* broker.enqueue([again])
      assert.deepStrictEqual([existing?._tag, existing?.run.id], ["Existing", run.id])
      yield* TestClock.adjust(1_000)
      const left = sql<{
        readonly n: number
      }>`SELECT (SELECT count(*) FROM task_key) + (SELECT count(*) FROM task_rate) AS n`
      yield* left.pipe(
        Effect.delay("5 millis"),
        Effect.repeat({ until: ([row]) => row?.n === 0 }),
        Effect.timeout("10 seconds"),
        TestServices.provideLive
      )
    }).pipe(Effect.provide(inMemory))
  )
})

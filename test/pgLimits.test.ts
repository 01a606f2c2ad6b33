/* Limits over several pools of connections, and what claims read under them. */

import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Broker, TaskRun, TaskTransaction } from "@effect-tasks/core"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { Context, Effect, Layer } from "effect"
import { encodedAs } from "./conformance/encoded.js"
import { freshSchema, isSkipped, keepAll, url } from "./postgres/database.js"

const backend = (schema: string) => PgBackend.layer({ url, maxConnections: 4, retention: keepAll, schema })

const brokersOf = (schema: string) =>
  Effect.replicateEffect(
    Effect.map(Layer.build(Layer.fresh(backend(schema))), (context) => Context.get(context, Broker.Broker)),
    3
  )

const encoded = (n: number, fields: Partial<TaskRun.Encoded> = {}): TaskRun.Encoded =>
  encodedAs(TaskRun.RunId.make(`01890000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`), fields)

const ended = (run: TaskRun.Encoded): Broker.Settlement => ({
  run: { ...run, state: "success", endedAt: 1, consumer: null, leaseUntil: null, outcome: "{}" },
  now: 1,
  logs: [],
  hold: null
})

type Wish = Pick<Broker.ClaimRequest, "tasks" | "queueLimits"> & Partial<Broker.ClaimRequest>

const request = (consumer: string, wish: Wish): Broker.ClaimRequest => ({
  consumer,
  queues: ["default"],
  limit: 3,
  now: 0,
  leaseUntil: 60_000,
  ...wish
})

const task = (fields: Partial<Broker.ServedTask> = {}): Broker.ServedTask => ({
  name: "T",
  maxConcurrency: null,
  limits: [],
  room: null,
  ...fields
})

/** How many runs of each name are performed now, and were at the most. */
class Seen {
  readonly running = new Map<string, number>()
  readonly most = new Map<string, number>()
  done = 0

  change(name: string, by: number): void {
    const running = (this.running.get(name) ?? 0) + by
    this.running.set(name, running)
    this.most.set(name, Math.max(running, this.most.get(name) ?? 0))
  }
}

/** Twenty-four who claim at once, over three pools, until all runs have ended. */
const race = (
  schema: string,
  runs: ReadonlyArray<TaskRun.Encoded>,
  wishOf: (name: number) => Wish,
  names: (run: TaskRun.Encoded) => ReadonlyArray<string>
) =>
  Effect.gen(function* () {
    const brokers = yield* brokersOf(schema)
    yield* brokers[0]!.enqueue(runs)
    const seen = new Seen()
    const claimant = (name: number) =>
      Effect.gen(function* () {
        const broker = brokers[name % brokers.length]!
        let settlements: ReadonlyArray<Broker.Settlement> = []
        while (seen.done < runs.length) {
          const { claimed } = yield* broker.exchange({ settlements, claim: request(`C${name}`, wishOf(name)) })
          const taken = claimed?.runs.map(({ run }) => run) ?? []
          taken.flatMap(names).forEach((key) => seen.change(key, 1))
          yield* Effect.sleep(taken.length === 0 ? 5 : 20 + name)
          taken.flatMap(names).forEach((key) => seen.change(key, -1))
          settlements = taken.map(ended)
          seen.done += taken.length
        }
        yield* Broker.settle(broker, settlements)
      })
    yield* Effect.forEach(Array(24), (_, name) => claimant(name), { concurrency: "unbounded" })
    return seen
  })

describe.skipIf(isSkipped)("limits on PostgreSQL", () => {
  it.scopedLive(
    "no key has more runs than its limit, however many claim at once",
    () =>
      Effect.gen(function* () {
        const runs = Array.from({ length: 240 }, (_, n) =>
          encoded(n + 1, { limitKeys: JSON.stringify([`k${n % 5}`]), group: n % 2 === 0 ? null : `g${n % 3}` })
        )
        const tasks = [
          task({
            maxConcurrency: 7,
            limits: [{ _tag: "Concurrency", max: 2, key: 0 }]
          })
        ]
        const seen = yield* race(
          yield* freshSchema,
          runs,
          () => ({ tasks, queueLimits: [] }),
          ({ limitKeys }) => ["all", limitKeys ?? ""]
        )
        assert.isAtMost(seen.most.get("all")!, 7)
        for (let n = 0; n < 5; n++) {
          assert.isAtMost(seen.most.get(JSON.stringify([`k${n}`]))!, 2)
        }
      }),
    60_000
  )

  it.scopedLive(
    "no queue has more runs than its limit, whichever tasks those who claim serve",
    () =>
      Effect.gen(function* () {
        const runs = Array.from({ length: 240 }, (_, n) => encoded(n + 1, { task: n % 2 === 0 ? "T" : "U" }))
        const queueLimits = [{ queue: "default", maxConcurrency: 5 }]
        const served = [[task()], [task({ name: "U" })], [task(), task({ name: "U", maxConcurrency: 3 })]]
        const seen = yield* race(
          yield* freshSchema,
          runs,
          // as many of each kind on every pool
          (name) => ({ tasks: served[Math.floor(name / 3) % 3]!, queueLimits }),
          ({ queue }) => [queue]
        )
        assert.isAtMost(seen.most.get("default")!, 5)
      }),
    60_000
  )

  it.scopedLive("no more runs begin than a token bucket holds, however many claim at once", () =>
    Effect.gen(function* () {
      const brokers = yield* brokersOf(yield* freshSchema)
      yield* brokers[0]!.enqueue(
        Array.from({ length: 600 }, (_, n) =>
          encoded(n + 1, { queue: `q${n % 3}`, limitKeys: JSON.stringify([`k${n % 2}`]) })
        )
      )
      const tasks = [
        task({ limits: [{ _tag: "TokenBucket", limit: 10, everyMillis: 1_000, burst: 20, key: 0, refuse: false }] })
      ]
      const begun = new Map<string, number>()
      // each millisecond of the claims' own time is the same for all
      for (let now = 0; now <= 1_000; now += 100) {
        yield* Effect.forEach(
          Array(12),
          (_, name) =>
            Effect.gen(function* () {
              const broker = brokers[Math.floor(name / 3) % 3]!
              const queues = [`q${name % 3}`]
              const { runs } = yield* Broker.claim(
                broker,
                request(`C${name}`, { tasks, queueLimits: [], queues, limit: 30, now, leaseUntil: now + 60_000 })
              )
              runs.forEach(({ run }) => begun.set(run.limitKeys!, (begun.get(run.limitKeys!) ?? 0) + 1))
              yield* Broker.settle(
                broker,
                runs.map(({ run }) => ended(run))
              )
            }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(Array.from(begun.values()), [20 + now / 100, 20 + now / 100])
      }
    })
  )

  it.scopedLive("a run that was cancelled between look and start costs no token", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const [broker, other] = yield* brokersOf(schema)
      const runs = Array.from({ length: 40 }, (_, n) => encoded(n + 1))
      yield* broker!.enqueue(runs)
      const tasks = [
        task({ limits: [{ _tag: "FixedWindow", limit: 40, windowMillis: 1_000, key: null, refuse: false }] })
      ]
      let begun = 0
      const cancelling = Effect.forEach(runs.slice(0, 30), ({ id }) => other!.cancel({ ids: [id], reason: "", now: 0 }))
      const claiming = Effect.forEach(Array(40), () =>
        Effect.map(Broker.claim(broker!, request("A", { tasks, queueLimits: [], limit: 2 })), (claimed) => {
          begun += claimed.runs.length
        })
      )
      yield* Effect.all([cancelling, claiming], { concurrency: "unbounded" })
      const state = yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
        sql.unsafe<{ used: number }>(`SELECT used FROM ${schema}.task_rate`)
      ).pipe(Effect.provide(backend(schema)))
      assert.strictEqual(Number(state[0]?.used), begun)
    })
  )

  it.scopedLive("of calls at once to a full queue no more are accepted than fit", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const brokers = yield* brokersOf(schema)
      const answers = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, n) => n),
        (n) =>
          Effect.either(
            brokers[n % 3]!.enqueue([encoded(n + 1, n % 2 === 0 ? {} : { dueAt: 1_000 })], { maxQueued: 20 })
          ),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(answers.filter(({ _tag }) => _tag === "Right").length, 20)
    })
  )

  it.scopedLive(
    "replacing, ending and editing the same runs at once blocks nobody for good",
    () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const brokers = yield* brokersOf(schema)
        const keys = ["a", "b", "c"]
        const tasks = [task()]
        let n = 0
        const fresh = (key: string) =>
          encoded(++n, {
            createdAt: 5_000,
            idempotency: {
              key,
              holdMillis: key === "a" ? 1_000 : 0,
              holdUntil: null,
              onConflict: "replace",
              latestDueAt: null
            }
          })
        const replacing = (broker: typeof Broker.Broker.Service, order: ReadonlyArray<string>) =>
          Effect.repeatN(
            Effect.suspend(() => broker.enqueue(order.map(fresh))),
            40
          )
        const ending = (name: string, broker: typeof Broker.Broker.Service) =>
          Effect.repeatN(
            Effect.flatMap(Broker.claim(broker, request(name, { tasks, queueLimits: [] })), ({ runs }) =>
              Broker.settle(
                broker,
                runs.map(({ run }) => ended(run))
              )
            ),
            60
          )
        const editing = (broker: typeof Broker.Broker.Service) =>
          Effect.repeatN(
            Effect.suspend(() =>
              broker.edit({
                ids: Array.from({ length: 9 }, (_, i) => encoded(Math.max(1, n - i)).id),
                priority: 1,
                dueAt: null,
                now: 0
              })
            ),
            60
          )
        yield* Effect.all(
          [
            replacing(brokers[0]!, keys),
            replacing(brokers[1]!, keys.toReversed()),
            ending("A", brokers[0]!),
            ending("B", brokers[2]!),
            editing(brokers[1]!)
          ],
          { concurrency: "unbounded" }
        )
      }),
    60_000
  )

  it.scopedLive("a run that somebody keeps locked keeps no other from ending", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      const [broker, other] = yield* brokersOf(schema)
      yield* broker!.enqueue([encoded(1), encoded(2)])
      const wish = { tasks: [task()], queueLimits: [] }
      const { runs } = yield* Broker.claim(broker!, request("A", wish))
      const settlements = runs.map(({ run }) => ended(run))
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        for (const name of ["exchange", "settle"]) {
          yield* sql.unsafe(`ALTER FUNCTION ${schema}.task_${name} SET lock_timeout = '100ms'`)
        }
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql.unsafe(`SELECT 1 FROM ${schema}.task_queue WHERE id = '${runs[0]!.run.id}' FOR UPDATE`)
            const together = yield* Effect.flip(other!.exchange({ settlements, claim: request("A", wish) }))
            assert.isFalse(together.transient)
            const alone = yield* Effect.flip(Broker.settle(other!, settlements.slice(0, 1)))
            assert.isTrue(alone.transient)
            assert.deepStrictEqual(yield* Broker.settle(other!, settlements.slice(1)), [{ _tag: "Settled" }])
          })
        )
      }).pipe(Effect.provide(backend(schema)))
      assert.deepStrictEqual(yield* Broker.settle(broker!, settlements), [{ _tag: "Settled" }, { _tag: "Lost" }])
    })
  )

  it.scopedLive("a claim reads little beside a backlog of a key at its limit, of a paused queue, or of many keys", () =>
    Effect.gen(function* () {
      const schema = yield* freshSchema
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const broker = yield* Broker.Broker
        const hot = JSON.stringify(["hot"])
        yield* broker.enqueue([
          ...Array.from({ length: 5_000 }, (_, n) => encoded(n + 1, { limitKeys: hot })),
          ...Array.from({ length: 5_000 }, (_, n) => encoded(n + 5_001, { queue: "paused" })),
          ...Array.from({ length: 1_000 }, (_, n) =>
            encoded(n + 10_001, { task: "Keyed", limitKeys: JSON.stringify([`k${n}`]) })
          ),
          ...Array.from({ length: 10 }, (_, n) => encoded(n + 20_001, { task: "Other" }))
        ])
        yield* broker.control({ add: [{ of: "queue", name: "paused", state: "paused" }], remove: [] })
        const tasks = [
          task({ limits: [{ _tag: "Concurrency", max: 1, key: 0 }] }),
          task({ name: "Keyed", limits: [{ _tag: "Concurrency", max: 1, key: 0 }] }),
          task({ name: "Other" })
        ]
        const wish = { tasks, queueLimits: [], queues: ["default", "paused"], limit: 5 }
        const read = Effect.map(
          sql<{ rows: string }>`SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables
            WHERE schemaname = ${schema} AND relname = 'task_queue'`,
          ([row]) => Number(row?.rows)
        )
        yield* Broker.claim(broker, request("A", { ...wish, tasks: [tasks[0]!], limit: 1 }))
        for (let i = 0; i < 3; i++) {
          const { rows, runs } = yield* TaskTransaction.run(
            Effect.gen(function* () {
              const before = yield* read
              const { runs } = yield* Broker.claim(broker, request("A", wish))
              return { runs, rows: (yield* read) - before }
            })
          )
          assert.strictEqual(runs.length, 5)
          assert.isBelow(rows, 1_500)
        }
      }).pipe(Effect.provide(backend(schema)))
    })
  )
})

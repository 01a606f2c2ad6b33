/* What is particular to limits on SQLite: several connections to one file, long lists of lanes, and the plans of its texts. */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Broker, type Limit, TaskRun } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Context, Effect, Either, Layer } from "effect"
import { makeAdmissionTexts, makeTexts } from "../packages/sql/src/internal/sqlite/claimTexts.js"
import { countsText } from "../packages/sql/src/internal/sqlite/queries.js"
import { tables } from "../packages/sql/src/internal/sqlite/schema.js"
import { encodedAs, ended, servedTask } from "./conformance/encoded.js"

const idOf = (n: number): TaskRun.RunId =>
  TaskRun.RunId.make(`00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`)

const temporaryFile = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return path.join(yield* fs.makeTempDirectoryScoped(), "tasks.db")
}).pipe(Effect.provide(NodeContext.layer))

/** A broker with a connection of its own, as another process would have. */
const open = (filename: string) =>
  Effect.map(Layer.build(Layer.fresh(SqliteBackend.layer({ filename }))), (context) =>
    Context.get(context, Broker.Broker)
  )

const keys = (...all: ReadonlyArray<string>) => JSON.stringify(all)

const perKey = (max: number): Limit.Encoded => ({ _tag: "Concurrency", max, key: 0 })

const request = (fields: Partial<Broker.ClaimRequest>): Broker.ClaimRequest => ({
  consumer: "A",
  queues: ["default"],
  queueLimits: [],
  tasks: [servedTask("T")],
  limit: 3,
  now: 0,
  leaseUntil: 60_000,
  ...fields
})

/** Counts what is being performed under a name, and notes the most there ever was. */
const makeCounter = () => {
  const running = new Map<string, number>()
  const most = new Map<string, number>()
  return {
    most,
    add: (name: string, change: 1 | -1) => {
      const count = (running.get(name) ?? 0) + change
      running.set(name, count)
      most.set(name, Math.max(most.get(name) ?? 0, count))
    }
  }
}

describe("SqliteBackend, under limits", () => {
  it.scopedLive("never exceeds one, however many claim at once through several connections", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const brokers = [yield* open(filename), yield* open(filename), yield* open(filename)]
      const total = 240
      yield* brokers[0]!.enqueue(
        Array.from({ length: total }, (_, n) =>
          encodedAs(idOf(n + 1), {
            task: n % 2 === 0 ? "T" : "U",
            queue: n % 3 === 0 ? "narrow" : "default",
            group: n % 5 === 0 ? "G" : null,
            limitKeys: n % 2 === 0 ? keys(`K${n % 7}`) : null
          })
        )
      )
      const rate: Limit.Encoded = {
        _tag: "TokenBucket",
        limit: 20,
        everyMillis: 100,
        burst: 10,
        key: null,
        refuse: false
      }
      const counter = makeCounter()
      const begun: Array<number> = []
      let done = 0
      const claimant = (n: number) =>
        Effect.gen(function* () {
          const broker = brokers[n % brokers.length]!
          while (done < total) {
            const now = yield* broker.now
            const { runs } = yield* Broker.claim(
              broker,
              request({
                consumer: `C${n}`,
                queues: ["default", "narrow"],
                queueLimits: [{ queue: "narrow", maxConcurrency: 4 }],
                tasks: [servedTask("T", 9, [perKey(2)]), servedTask("U", null, [rate])],
                now,
                leaseUntil: now + 60_000
              })
            )
            const names = ({ limitKeys, queue, task }: TaskRun.Encoded) => [task, queue, `${task} ${limitKeys}`]
            for (const { run } of runs) {
              names(run).forEach((name) => counter.add(name, 1))
              if (run.task === "U") {
                begun.push(now)
              }
            }
            yield* Effect.sleep(1 + (n % 4))
            for (const { run } of runs) {
              names(run).forEach((name) => counter.add(name, -1))
            }
            done += runs.length
            yield* Broker.settle(
              broker,
              runs.map(({ run }) => ({ run: ended(run, "success", now), logs: [], now, hold: null }))
            )
          }
        })
      yield* Effect.forEach(Array(24), (_, n) => claimant(n), { concurrency: "unbounded" })

      assert.strictEqual(done, total)
      assert.isAtMost(counter.most.get("narrow")!, 4)
      assert.isAtMost(counter.most.get("T")!, 9)
      for (const [name, most] of counter.most) {
        assert.isAtMost(most, name.startsWith("T [") ? 2 : total, name)
      }
      // claims are made in the order of their commits, not of their times: of a span there may be one moment more
      const times = begun.sort((a, b) => a - b)
      times.forEach((from, i) => {
        times.slice(i).forEach((to, n) => {
          assert.isAtMost(n + 1, 10 + (to - from + 50) / 5, `${to - from} ms`)
        })
      })
    })
  )

  it.scoped("finds what may be claimed behind more lanes than one claim sees", () =>
    Effect.gen(function* () {
      const broker = yield* open(":memory:")
      const lanes = 1_500
      const runOf = (n: number) => encodedAs(idOf(n + 1), { limitKeys: keys(`K${String(n).padStart(4, "0")}`) })
      yield* broker.enqueue(Array.from({ length: lanes }, (_, n) => runOf(n)))
      const tasks = [servedTask("T", null, [perKey(1)])]
      const taken = yield* Broker.claim(broker, request({ tasks, limit: lanes }))
      assert.strictEqual(taken.runs.length, 1_000)
      assert.isNotNull(taken.nextAt)
      const rest = yield* Broker.claim(broker, request({ tasks, limit: lanes, now: taken.nextAt! }))
      assert.strictEqual(rest.runs.length, 500)

      // now every key is full: a second run of each waits, and the end of one of the last is found
      yield* broker.enqueue(Array.from({ length: lanes }, (_, n) => ({ ...runOf(n), id: idOf(10_000 + n) })))
      const last = rest.runs.at(-1)!.run
      yield* Broker.settle(broker, [{ run: ended(last, "success", 1), logs: [], now: 1, hold: null }])
      let now = 100
      const found: Array<string | null> = []
      for (let claims = 0; claims < 3 && found.length === 0; claims++) {
        const claimed = yield* Broker.claim(broker, request({ tasks, now }))
        found.push(...claimed.runs.map(({ run }) => run.limitKeys))
        now = claimed.nextAt ?? now
      }
      assert.deepStrictEqual(found, [last.limitKeys])
    })
  )

  it.scoped("reads on in a lane, as long as its runs may be claimed", () =>
    Effect.gen(function* () {
      const broker = yield* open(":memory:")
      const runs = Array.from({ length: 600 }, (_, n) =>
        encodedAs(idOf(n + 1), { group: n < 300 ? "many" : `G${n}`, priority: n < 300 ? 1 : 0 })
      )
      yield* broker.enqueue(runs)
      const claimed = yield* Broker.claim(broker, request({ limit: 700 }))
      assert.sameMembers(
        claimed.runs.map(({ run }) => run.id),
        runs.map(({ id }) => id)
      )
    })
  )

  it.scoped("looks at no run that does not concern the claim", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const names = Either.getOrThrow(tables("task_"))
      const texts = {
        ...makeTexts(names),
        admission: Object.values(makeAdmissionTexts(names)),
        counts: [{ queue: "Q" }, { task: "T" }, { queue: "Q", task: "T" }].map((query) => countsText(names, query))
      }
      for (const text of Object.values(texts).flat()) {
        const params = Object.fromEntries(Array.from(text.matchAll(/:(\w+)/g), ([, name]) => [name, null]))
        const plan = yield* sql.unsafe<{ readonly detail: string }>(`EXPLAIN QUERY PLAN ${text}`, [params])
        for (const { detail } of plan) {
          // the index of leases holds only what is being performed
          assert.notMatch(detail, /^SCAN (task_queue|task_history|run|held)\b(?!.*task_queue_lease)/, text)
        }
      }
    }).pipe(Effect.provide(SqliteBackend.layer({ filename: ":memory:" })))
  )
})

/* What is particular to the PostgreSQL backend: opening, versions, transactions, wake-ups, clocks, limits over machines. */
import net from "node:net"
import { fileURLToPath } from "node:url"
import { Command } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Broker, Store, Task, TaskConsumer, TaskGroup, TaskManager, TaskRun, TaskTransaction } from "@effect-tasks/core"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import {
  Clock,
  Context,
  Duration,
  Effect,
  Either,
  Fiber,
  Layer,
  Option,
  Queue,
  Redacted,
  Schedule,
  Schema
} from "effect"
import { encodedAs } from "./conformance/encoded.js"
import { administer, freshSchema, isSkipped, keepAll, url } from "./postgres/database.js"

const Note = Task.make("Note", { payload: { n: Schema.Int }, success: Schema.Int })
const NoteLive = Note.toLayer(({ n }) => Effect.succeed(n))

type Options = Omit<PgBackend.Options, "url">

const backend = (options: Options) => PgBackend.layer({ url, maxConnections: 3, retention: keepAll, ...options })

const opened = (options: Options) => Effect.scoped(Layer.build(backend(options)))

/** A process that queues; each build has connections of its own. */
const producer = (options: Options) => TaskManager.layer.pipe(Layer.provideMerge(backend(options)))

const Workers = TaskConsumer.layer(TaskGroup.make(Note)).pipe(Layer.provide(NoteLive))

/** A process that performs. */
const consumer = (options: Options) =>
  Workers.pipe(Layer.provide(TaskManager.layer), Layer.provide(Layer.fresh(backend(options))))

/** A backend whose listeners never look by themselves. */
const neverPolling = <E, R>(layer: Layer.Layer<PgBackend.Provided, E, R>) =>
  Layer.map(layer, (context) =>
    Context.add(context, Broker.Broker, { ...Context.get(context, Broker.Broker), pollInterval: Duration.infinity })
  )

const counts = Effect.flatMap(TaskManager.TaskManager, (manager) => manager.counts())

/** What the connections of an application were asked last. */
const lastQueryOf = (applicationName: string) =>
  Effect.map(
    administer(
      (sql) =>
        sql<{ readonly query: string }>`SELECT query FROM pg_stat_activity WHERE application_name = ${applicationName}`
    ),
    (rows) => rows.map(({ query }) => query).join()
  )

const encoded = ({ n, ...fields }: Partial<TaskRun.Encoded> & { readonly n: number }): TaskRun.Encoded =>
  encodedAs(TaskRun.RunId.make(`01890000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`), fields)

const ended = (run: TaskRun.Encoded): Broker.Settlement => ({
  run: { ...run, state: "success", endedAt: 1, consumer: null, leaseUntil: null, outcome: "{}" },
  now: 1,
  logs: [],
  hold: null
})

const request = (consumer: string, limit: number, maxConcurrency: number | null): Broker.ClaimRequest => ({
  consumer,
  queues: ["default"],
  queueLimits: [],
  tasks: [{ name: "T", maxConcurrency, limits: [], room: null }],
  limit,
  now: 0,
  leaseUntil: 60_000
})

/** What the catalog says of a schema, with its name left out. */
const catalog = (schema: string) =>
  administer((sql) =>
    Effect.all([
      sql`SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
          WHERE table_schema = ${schema} ORDER BY 1, ordinal_position`,
      sql`SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = ${schema} ORDER BY 1`,
      sql`SELECT proname, prosrc, proconfig FROM pg_proc WHERE pronamespace = ${schema}::regnamespace ORDER BY 1`,
      sql`SELECT relname, reloptions FROM pg_class WHERE relnamespace = ${schema}::regnamespace ORDER BY 1`
    ])
  ).pipe(Effect.map((all) => JSON.parse(JSON.stringify(all).replaceAll(schema, "it"))))

/** A way to the server on which the connections that are there can be made to say nothing any more. */
const silencingProxy = Effect.acquireRelease(
  Effect.async<{ readonly url: string; readonly silence: () => void; readonly close: () => void }>((resume) => {
    const there = new URL(url)
    const open: Array<net.Socket> = []
    const server = net.createServer((client) => {
      const upstream = net.connect(Number(there.port === "" ? 5432 : there.port), there.hostname)
      client.on("error", () => upstream.destroy()).pipe(upstream)
      upstream.on("error", () => client.destroy()).pipe(client)
      open.push(client, upstream)
    })
    server.listen(0, "127.0.0.1", () => {
      const here = new URL(url)
      here.host = `127.0.0.1:${(server.address() as net.AddressInfo).port}`
      const forAll = (act: (socket: net.Socket) => unknown) => open.splice(0).forEach(act)
      resume(
        Effect.succeed({
          url: here.href,
          silence: () => forAll((socket) => socket.unpipe().pause()),
          close: () => server.close(() => forAll((socket) => socket.destroy()))
        })
      )
    })
  }),
  ({ close }) => Effect.sync(close)
)

describe.skipIf(isSkipped)("PgBackend", () => {
  describe("opening", () => {
    it.effect("a server that is not there is a typed error that says so", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(PgBackend.layer({ url: "postgres://postgres@127.0.0.1:1/test" })))
        )
        assert.strictEqual(error._tag, "BackendError")
        assert.include(error.message, "nobody listens there")
        assert.deepInclude(error, { transient: true })
      })
    )

    it.effect("a database that is not there is a typed error that says so", () =>
      Effect.gen(function* () {
        const there = new URL(url)
        there.pathname = "/there_is_no_such_database"
        const error = yield* Effect.flip(Effect.scoped(Layer.build(PgBackend.layer({ url: there.href }))))
        assert.include(error.message, "create it first")
        assert.deepInclude(error, { transient: false })
      })
    )

    it.effect("a prefix that is no identifier is refused", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(opened({ prefix: 'task"; drop table' }))
        assert.strictEqual(error._tag, "InvalidOption")
      })
    )

    it.scoped("a schema of a later version is refused, and says which program to upgrade", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* opened({ schema })
        yield* administer(
          (sql) => sql`INSERT INTO ${sql(schema)}.task_migrations (version, name) VALUES (1000, 'later')`
        )
        for (const migrate of [true, false]) {
          const error = yield* Effect.flip(opened({ schema, migrate }))
          assert.strictEqual(error._tag, "SchemaVersionError")
          assert.include(error.message, "upgrade the program")
        }
      })
    )

    it.scoped("a schema that is behind is refused where it may not be changed, and says what to do", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const error = yield* Effect.flip(opened({ schema, migrate: false }))
        assert.strictEqual(error._tag, "SchemaVersionError")
        assert.include(error.message, "run the migrations")
        const before = yield* PgBackend.status({ url, schema })
        assert.deepStrictEqual([before.found, before.pending.length], [0, before.known])
        yield* PgBackend.migrate({ url, schema })
        assert.deepInclude(yield* PgBackend.status({ url, schema }), { found: before.known, pending: [] })
        yield* opened({ schema, migrate: false })
      })
    )

    it.scoped("the SQL that is printed makes what a migration makes", () =>
      Effect.gen(function* () {
        const byHand = yield* freshSchema
        const migrated = yield* freshSchema
        const migrations = yield* PgBackend.migrations({ schema: byHand })
        yield* administer((sql) =>
          Effect.zipRight(
            sql.unsafe(`CREATE SCHEMA ${byHand}`),
            Effect.forEach(migrations, (migration) => sql.unsafe(migration.sql))
          )
        )
        yield* PgBackend.migrate({ url, schema: migrated })
        assert.deepStrictEqual(yield* catalog(byHand), yield* catalog(migrated))
        yield* opened({ schema: byHand, migrate: false })
      })
    )

    it.scoped("two prefixes are two backends in one schema", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Note.queue({ n: 1 }).pipe(Effect.provide(producer({ schema, prefix: "a_" })))
        assert.strictEqual((yield* counts.pipe(Effect.provide(producer({ schema, prefix: "a_" })))).queued, 1)
        assert.strictEqual((yield* counts.pipe(Effect.provide(producer({ schema, prefix: "b_" })))).queued, 0)
      })
    )

    it.scopedLive("ten that open an empty database at once find the tables made, once", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const queue = Note.queue({ n: 1 }).pipe(Effect.provide(Layer.fresh(producer({ schema, maxConnections: 1 }))))
        yield* Effect.replicateEffect(queue, 10, { concurrency: "unbounded" })
        assert.strictEqual((yield* counts.pipe(Effect.provide(producer({ schema })))).queued, 10)
      })
    )

    it.scopedLive(
      "ten processes too",
      () =>
        Effect.gen(function* () {
          const schema = yield* freshSchema
          const opener = fileURLToPath(new URL("./fixtures/openPg.ts", import.meta.url))
          const open = Command.make("node", "--import", "tsx", opener, url, schema).pipe(Command.exitCode)
          const codes = yield* Effect.replicateEffect(open, 10, { concurrency: "unbounded" })
          assert.deepStrictEqual(Array.from(new Set(codes)).map(Number), [0])
          assert.strictEqual((yield* counts.pipe(Effect.provide(producer({ schema })))).queued, 10)
        }).pipe(Effect.provide(NodeContext.layer)),
      60_000
    )

    it.scopedLive("ended runs are in the partition of their week, which is there in time", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const manager = yield* TaskManager.TaskManager
          const run = yield* Note.queue({ n: 1 })
          yield* manager.cancel(run.id)
          const week = Math.floor((yield* Clock.currentTimeMillis) / 604_800_000)
          assert.deepStrictEqual(yield* sql`SELECT id FROM ${sql(schema)}.${sql(`task_history_w${week}`)}`, [
            { id: run.id }
          ])
          const [{ partitions }] = yield* sql<{
            partitions: number
          }>`SELECT count(*)::int AS partitions FROM pg_inherits
            WHERE inhparent = ${`${schema}.task_history`}::regclass`.pipe(Effect.map(([row]) => [row!] as const))
          assert.strictEqual(partitions, 6)
        }).pipe(Effect.provide(producer({ schema })))
      })
    )
  })

  describe("the application's transactions", () => {
    it.scopedLive("what is queued in one is rolled back with it; its commit wakes a consumer of another process", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const store = yield* Store.Store
          yield* sql.unsafe(`CREATE TABLE ${schema}.signup (name text)`)
          yield* Layer.build(
            Workers.pipe(
              Layer.provide(TaskManager.layer),
              Layer.provide(Layer.fresh(neverPolling(backend({ schema }))))
            )
          )
          const signup = (n: number) =>
            Effect.zipRight(sql.unsafe(`INSERT INTO ${schema}.signup VALUES ('ada')`), Note.queue({ n }))

          yield* Effect.exit(sql.withTransaction(Effect.zipRight(signup(1), Effect.fail("no"))))
          assert.deepStrictEqual(yield* store.counts({}), {})
          assert.deepStrictEqual(yield* sql.unsafe(`SELECT * FROM ${schema}.signup`), [])

          const run = yield* sql.withTransaction(signup(2))
          assert.strictEqual(yield* run.await, 2)
          assert.deepStrictEqual(yield* sql.unsafe(`SELECT * FROM ${schema}.signup`), [{ name: "ada" }])
        }).pipe(Effect.provide(TaskManager.layer.pipe(Layer.provideMerge(neverPolling(backend({ schema }))))))
      })
    )

    it.scopedLive("a call that is refused leaves the transaction usable", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const reject = { key: "k", onConflict: "reject" } as const
          yield* Note.queue({ n: 0 }, { idempotencyKey: "k" })
          yield* TaskTransaction.run(
            Effect.gen(function* () {
              yield* Note.queue({ n: 1 })
              const conflict = yield* Effect.flip(Note.queue({ n: 2 }, { idempotencyKey: reject }))
              assert.strictEqual(conflict._tag, "IdempotencyConflict")
              const broker = yield* Broker.Broker
              const refused = yield* Effect.flip(broker.enqueue([encoded({ n: 3, group: "nul \u0000" })]))
              assert.strictEqual(refused._tag, "BackendError")
              yield* Effect.all([Note.queue({ n: 4 }), Note.queue({ n: 5 })], { concurrency: "unbounded" })
            })
          )
          assert.strictEqual((yield* counts).queued, 4)
        }).pipe(Effect.provide(producer({ schema })))
      })
    )

    it.scopedLive("on a client of the application", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const client = PgClient.layer({
          url: Redacted.make(url),
          maxConnections: 3,
          transformResultNames: (name) => name.toUpperCase(),
          types: { getTypeParser: () => () => "the application's own" }
        })
        const layer = TaskManager.layer.pipe(
          Layer.provideMerge(PgBackend.layerClient({ schema })),
          Layer.provideMerge(client)
        )
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* Layer.build(consumer({ schema }))
          yield* Effect.exit(sql.withTransaction(Effect.zipRight(Note.queue({ n: 1 }), Effect.fail("no"))))
          const run = yield* sql.withTransaction(Note.queue({ n: 2 }))
          assert.strictEqual(yield* run.await, 2)
          assert.strictEqual((yield* counts).success, 1)
        }).pipe(Effect.provide(layer))
      })
    )

    it.effect("whose only connection would listen is refused", () =>
      Effect.gen(function* () {
        const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(PgBackend.layerClient().pipe(Layer.provide(client))))
        )
        assert.deepInclude(error, { _tag: "InvalidOption", option: "maxConnections" })
      })
    )

    it.scopedLive("one of another client is none of the backend's", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const other = Context.get(
          yield* Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })),
          PgClient.PgClient
        )
        yield* Effect.gen(function* () {
          yield* Effect.exit(other.withTransaction(Effect.zipRight(Note.queue({ n: 1 }), Effect.fail("no"))))
          assert.strictEqual((yield* counts).queued, 1)
        }).pipe(Effect.provide(producer({ schema })))
      })
    )

    it.scopedLive("a fiber that outlives one works on a connection of its own", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const later = yield* sql.withTransaction(Effect.forkDaemon(Effect.delay(Note.queue({ n: 1 }), "50 millis")))
          yield* sql.withTransaction(Effect.zipRight(Effect.sleep("150 millis"), Effect.fail("no"))).pipe(Effect.exit)
          yield* Fiber.join(later)
          assert.strictEqual((yield* counts).queued, 1)
        }).pipe(Effect.provide(producer({ schema })))
      })
    )
  })

  describe("several processes", () => {
    it.scopedLive("behind a pooler: without prepared statements and without listening", () =>
      Effect.gen(function* () {
        const options = {
          schema: yield* freshSchema,
          prepare: false,
          listen: false,
          pollInterval: "100 millis"
        } as const
        yield* Layer.build(consumer(options))
        const context = yield* Layer.build(producer(options))
        assert.strictEqual(yield* Effect.provide(Note.queueAndWait({ n: 7 }), context), 7)
      })
    )

    it.scopedLive("whose listening connection is lost listens again, and says that something may have changed", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const applicationName = `listener of ${schema}`
        const context = yield* Layer.build(backend({ schema, applicationName }))
        const broker = Context.get(context, Broker.Broker)
        const other = Context.get(yield* Layer.build(Layer.fresh(backend({ schema }))), Broker.Broker)
        const signals = yield* broker.signals
        yield* administer(
          (sql) => sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = ${applicationName}`
        )
        assert.deepStrictEqual(yield* Queue.take(signals), { _tag: "Changed" })
        yield* other.enqueue([encoded({ n: 1 })])
        assert.deepStrictEqual(yield* Queue.take(signals), { _tag: "Work" })
        // connections of the pool that were lost are replaced as well
        assert.strictEqual((yield* Broker.claim(broker, request("A", 1, null))).runs.length, 1)
      })
    )

    it.scopedLive("a connection that falls silent is given up, and replaced", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* PgBackend.migrate({ url, schema })
        const proxy = yield* silencingProxy
        const options = {
          url: proxy.url,
          schema,
          listen: false,
          maxConnections: 1,
          retention: keepAll,
          applicationName: schema,
          operationTimeout: "300 millis"
        } as const
        const context = yield* Layer.build(PgBackend.layer(options))
        // nobody else is to find out first that the connection is silent: the pass over what is kept begins with the backend
        yield* lastQueryOf(schema).pipe(
          Effect.filterOrFail((query) => query.includes("HAVING sum(runs)")),
          Effect.retry(Schedule.spaced("5 millis"))
        )
        const broker = Context.get(context, Broker.Broker)
        yield* broker.enqueue([encoded({ n: 1 })])
        // behind the notification, on the only connection
        yield* Context.get(context, Store.Store).counts({})
        proxy.silence()
        const error = yield* Effect.flip(broker.enqueue([encoded({ n: 2 })]))
        assert.deepInclude(error, { _tag: "BackendError", transient: true })
        yield* Effect.retry(broker.enqueue([encoded({ n: 2 })]), { times: 5 })
        assert.deepStrictEqual(yield* Context.get(context, Store.Store).counts({}), { queued: 2 })
      })
    )

    it.scopedLive("a claim whose caller was interrupted meanwhile is undone", () =>
      Effect.gen(function* () {
        const context = yield* Layer.build(backend({ schema: yield* freshSchema }))
        const broker = Context.get(context, Broker.Broker)
        yield* broker.enqueue([encoded({ n: 1 })])
        const claim = yield* Effect.fork(Broker.claim(broker, request("A", 1, null)))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(claim)
        assert.deepStrictEqual(yield* Context.get(context, Store.Store).counts({}), { queued: 1 })
        const { runs } = yield* Broker.claim(broker, request("A", 1, null))
        assert.deepInclude(runs[0], { previous: "queued" })
        assert.deepInclude(runs[0]!.run, { crashes: 0 })
      })
    )

    it.scopedLive("a cancellation reaches the consumer of another process", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const broker = Context.get(yield* Layer.build(backend({ schema })), Broker.Broker)
        const other = Context.get(yield* Layer.build(Layer.fresh(backend({ schema }))), Broker.Broker)
        yield* broker.enqueue([encoded({ n: 1 })])
        const { runs } = yield* Broker.claim(broker, request("A", 1, null))
        const signals = yield* broker.signals
        const cancel = Effect.filterOrFail(Queue.take(signals), ({ _tag }) => _tag === "Cancel")
        for (const reason of ["why", "long ".repeat(3_000)]) {
          yield* other.cancel({ ids: [runs[0]!.run.id], reason, now: 1 })
          assert.deepStrictEqual(yield* Effect.eventually(cancel), { _tag: "Cancel", id: runs[0]!.run.id, reason })
        }
      })
    )

    it.scopedLive("whose clock is an hour off keeps the server's time", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const real = Clock.make()
        const late: Clock.Clock = {
          ...real,
          unsafeCurrentTimeMillis: () => real.unsafeCurrentTimeMillis() - 3_600_000,
          currentTimeMillis: Effect.map(real.currentTimeMillis, (now) => now - 3_600_000)
        }
        const broker = yield* Layer.build(backend({ schema })).pipe(
          Effect.map((context) => Context.get(context, Broker.Broker)),
          Effect.withClock(late)
        )
        const here = yield* broker.now.pipe(Effect.withClock(late))
        const [row] = yield* administer(
          (sql) => sql<{ now: string }>`SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now`
        )
        assert.approximately(here, Number(row!.now), 500)
      })
    )

    it.scopedLive("never exceed a limit, however many claim at once", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        const limit = 7
        const brokers = yield* Effect.replicateEffect(
          Effect.map(Layer.build(Layer.fresh(backend({ schema }))), (context) => Context.get(context, Broker.Broker)),
          3
        )
        yield* brokers[0]!.enqueue(Array.from({ length: 300 }, (_, n) => encoded({ n: n + 1 })))
        const seen = { running: 0, most: 0, done: 0 }
        const claimant = (name: number) =>
          Effect.gen(function* () {
            const broker = brokers[name % brokers.length]!
            while (seen.done < 300) {
              const { runs } = yield* Broker.claim(broker, request(`C${name}`, 3, limit))
              seen.running += runs.length
              seen.most = Math.max(seen.most, seen.running)
              yield* Effect.sleep(name % 4)
              seen.running -= runs.length
              seen.done += runs.length
              yield* Broker.settle(
                broker,
                runs.map(({ run }) => ended(run))
              )
            }
          })
        yield* Effect.forEach(Array(24), (_, name) => claimant(name), { concurrency: "unbounded" })
        assert.deepStrictEqual(seen, { running: 0, most: limit, done: 300 })
      })
    )
  })

  describe("records", () => {
    it.scopedLive("counts stay exact while they are folded", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const broker = yield* Broker.Broker
          const store = yield* Store.Store
          yield* broker.enqueue(Array.from({ length: 200 }, (_, n) => encoded({ n: n + 1 })))
          const fold = sql.unsafe(`SELECT ${schema}.task_maintain(0)`)
          for (let done = 0; done < 200; done += 10) {
            const { runs } = yield* Broker.claim(broker, request("A", 10, null))
            yield* Effect.all(
              [
                Broker.settle(
                  broker,
                  runs.map(({ run }) => ended(run))
                ),
                fold,
                store.counts({})
              ],
              {
                concurrency: "unbounded"
              }
            )
            const { queued = 0, running = 0, success = 0 } = yield* store.counts({})
            assert.deepStrictEqual([queued, running, success], [190 - done, 0, done + 10])
          }
          yield* fold
          assert.deepStrictEqual(yield* sql.unsafe(`SELECT runs, state FROM ${schema}.task_count`), [
            { runs: "200", state: "success" }
          ])
        }).pipe(Effect.provide(backend({ schema })))
      })
    )

    it.scopedLive("a text that PostgreSQL cannot hold harms nobody else, and a log line keeps it", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const broker = yield* Broker.Broker
          const store = yield* Store.Store
          const bad = encoded({ n: 1, group: "a\u0000b" })
          const calls = [encoded({ n: 2 }), bad, encoded({ n: 3 }), encoded({ n: 4 })]
          const results = yield* Effect.forEach(calls, (run) => Effect.either(broker.enqueue([run])), {
            concurrency: "unbounded"
          })
          assert.deepStrictEqual(results.map(Either.isRight), [true, false, true, true])
          const error = Option.getOrThrow(Either.getLeft(results[1]!))
          assert.deepInclude(error, { _tag: "BackendError", transient: false })
          const line = new Store.LogLine({
            runId: calls[0]!.id,
            seq: 0,
            attempt: 1,
            at: 1,
            level: "INFO",
            message: "nul \u0000, \ufdd0 and \ufdd00",
            annotations: { nul: "\u0000", other: "\ufdd0" },
            spans: ["\u0000"]
          })
          yield* store.appendLogs([line])
          assert.deepStrictEqual(yield* store.logs(line.runId, { fromSeq: 0, limit: 9 }), [line])
        }).pipe(Effect.provide(backend({ schema })))
      })
    )

    it.scopedLive("an id that is no UUID is that of no run", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const broker = yield* Broker.Broker
          const store = yield* Store.Store
          const run = encoded({ n: 0xabc })
          yield* broker.enqueue([run])
          const ids = ["none", run.id.toUpperCase(), "'; drop"].map((id) => TaskRun.RunId.make(id))
          assert.isTrue((yield* store.get(ids)).every(Option.isNone))
          assert.deepStrictEqual(yield* broker.cancel({ ids, reason: "", now: 1 }), [
            { _tag: "Unknown" },
            { _tag: "Unknown" },
            { _tag: "Unknown" }
          ])
          assert.deepStrictEqual(yield* store.logs(ids[0]!, { fromSeq: 0, limit: 9 }), [])
          assert.deepStrictEqual(yield* store.runs({ before: ids[0], limit: 9 }), [])
        }).pipe(Effect.provide(backend({ schema })))
      })
    )

    it.scopedLive("an enqueue that is repeated after its answer was lost adds nothing, even after the end", () =>
      Effect.gen(function* () {
        const schema = yield* freshSchema
        yield* Effect.gen(function* () {
          const broker = yield* Broker.Broker
          const store = yield* Store.Store
          const idempotency = {
            key: "k",
            holdMillis: null,
            holdUntil: null,
            onConflict: "reject",
            latestDueAt: null
          } as const
          const runs = [encoded({ n: 1 }), encoded({ n: 2, idempotency })]
          yield* broker.enqueue(runs)
          yield* broker.enqueue(runs)
          assert.deepStrictEqual(yield* store.counts({}), { queued: 2 })
          const { runs: claimed } = yield* Broker.claim(broker, request("A", 2, null))
          yield* Broker.settle(
            broker,
            claimed.map(({ run }) => ended(run))
          )
          yield* broker.enqueue(runs)
          assert.deepStrictEqual(yield* store.counts({}), { success: 2 })
        }).pipe(Effect.provide(backend({ schema })))
      })
    )
  })
})

/* What is particular to the SQLite backend: opening, versions, durability, the application's own transactions, wake-ups. */
import { fileURLToPath } from "node:url"
import { Command, FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Broker, Task, TaskConsumer, TaskGroup, TaskManager } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Chunk, Context, Duration, Effect, Either, Layer, Schema, Stream } from "effect"

const Note = Task.make("Note", { payload: { n: Schema.Int }, success: Schema.Int })
const NoteLive = Note.toLayer(({ n }) => Effect.succeed(n))

const temporaryFile = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return path.join(yield* fs.makeTempDirectoryScoped(), "tasks.db")
}).pipe(Effect.provide(NodeContext.layer))

const opened = (options: SqliteBackend.Options) => Effect.scoped(Layer.build(SqliteBackend.layer(options)))

/** A producer on a file; each build has a connection of its own, as another process would have. */
const producer = (filename: string) => TaskManager.layer.pipe(Layer.provideMerge(SqliteBackend.layer({ filename })))

const Workers = TaskConsumer.layer(TaskGroup.make(Note)).pipe(Layer.provide(NoteLive))

const consumer = (filename: string) =>
  Workers.pipe(Layer.provideMerge(TaskManager.layer), Layer.provide(SqliteBackend.layer({ filename })))

const pragma = (name: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe<Record<string, unknown>>(`PRAGMA ${name}`)).pipe(
    Effect.map(([row]) => Object.values(row ?? {})[0])
  )

describe("SqliteBackend", () => {
  describe("opening", () => {
    it.effect("a directory that does not exist is a typed error that says so", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(opened({ filename: "/nowhere/to/be/found/tasks.db" }))
        assert.strictEqual(error._tag, "BackendError")
        assert.include(error.message, "its directory does not exist; create it first")
      })
    )

    it.scoped("a file that is no database is a typed error that says so", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const fs = yield* FileSystem.FileSystem
        yield* fs.writeFileString(filename, "this is no database, but a text that is long enough to be looked at")
        const error = yield* Effect.flip(opened({ filename }))
        assert.include(error.message, "the file is no SQLite database")
      }).pipe(Effect.provide(NodeContext.layer))
    )

    it.effect("a prefix that is no identifier is refused", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(opened({ filename: ":memory:", prefix: "task; drop table" }))
        assert.strictEqual(error._tag, "InvalidOption")
      })
    )

    it.scoped("tables of a later version are refused, and say which program to upgrade", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        yield* opened({ filename })
        yield* Effect.flatMap(
          SqliteClient.SqliteClient,
          (sql) => sql`INSERT INTO task_migrations (version, name) VALUES (1000, 'later')`
        ).pipe(Effect.provide(SqliteClient.layer({ filename })))
        const error = yield* Effect.flip(opened({ filename }))
        assert.strictEqual(error._tag, "SchemaVersionError")
        assert.include(error.message, "upgrade the program")
      })
    )

    it.scoped("tables can be made beforehand, and a program be told not to make them", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const error = yield* Effect.flip(opened({ filename, migrate: false }))
        assert.strictEqual(error._tag, "SchemaVersionError")
        const before = yield* SqliteBackend.status({ filename })
        assert.deepStrictEqual([before.found, before.known, before.pending.length], [0, 1, 1])
        assert.deepStrictEqual(yield* SqliteBackend.migrate({ filename }), before)
        assert.deepStrictEqual(yield* SqliteBackend.migrate({ filename }), { found: 1, known: 1, pending: [] })
        assert.deepStrictEqual(yield* SqliteBackend.status({ filename }), { found: 1, known: 1, pending: [] })
        yield* opened({ filename, migrate: false })
      })
    )

    it.scoped("the printed migrations are what is applied", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        yield* SqliteBackend.migrate({ filename, prefix: "my_" })
        const made = yield* Effect.flatMap(
          SqliteClient.SqliteClient,
          // a table of SQLite's own beside them
          (sql) =>
            sql<{
              readonly sql: string
            }>`SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'`
        ).pipe(Effect.provide(SqliteClient.layer({ filename })))
        const [migration] = Either.getOrThrow(SqliteBackend.migrations({ prefix: "my_" }))
        assert.isAbove(made.length, 10)
        made.forEach(({ sql }) => assert.include(migration!.sql, `${sql};`))
      })
    )

    it.scoped("two prefixes are two backends in one file", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const queue = Note.queue({ n: 1 })
        const counts = Effect.flatMap(TaskManager.TaskManager, (manager) => manager.counts())
        const under = (prefix: string) =>
          Effect.provide(TaskManager.layer.pipe(Layer.provide(SqliteBackend.layer({ filename, prefix }))))
        yield* queue.pipe(under("a_"))
        assert.strictEqual((yield* counts.pipe(under("a_"))).queued, 1)
        assert.strictEqual((yield* counts.pipe(under("b_"))).queued, 0)
      })
    )

    it.scoped("durability: the log is written ahead; each commit waits for the disk where the option says so", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const asked = Effect.all([pragma("journal_mode"), pragma("synchronous")])
        assert.deepStrictEqual(yield* asked.pipe(Effect.provide(SqliteBackend.layer({ filename }))), ["wal", 1])
        const full = SqliteBackend.layer({ filename, synchronous: "full" })
        assert.deepStrictEqual(yield* asked.pipe(Effect.provide(full)), ["wal", 2])
      })
    )
  })

  describe("the application's own client", () => {
    it.scoped("what is queued in a transaction is rolled back with it", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const manager = yield* TaskManager.TaskManager
          yield* sql`CREATE TABLE signup (name TEXT)`
          const signup = Effect.zipRight(sql`INSERT INTO signup VALUES ('ada')`, Note.queue({ n: 1 }))

          yield* Effect.exit(sql.withTransaction(Effect.zipRight(signup, Effect.fail("no"))))
          assert.strictEqual((yield* manager.counts()).queued, 0)
          assert.deepStrictEqual(yield* sql`SELECT * FROM signup`, [])

          yield* sql.withTransaction(signup)
          assert.strictEqual((yield* manager.counts()).queued, 1)
          assert.deepStrictEqual(yield* sql`SELECT * FROM signup`, [{ name: "ada" }])
        }).pipe(Effect.provide(producer(filename)))
      })
    )

    it.scoped("its use of SafeIntegers changes nothing for the backend", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        yield* Effect.gen(function* () {
          const manager = yield* TaskManager.TaskManager
          const run = yield* Note.queue({ n: 1 })
          yield* manager.get(run.id).pipe(Effect.provideService(SqlClient.SafeIntegers, true))
          assert.strictEqual(typeof (yield* manager.get(run.id)).createdAt, "number")
        }).pipe(Effect.provide(producer(filename)))
      })
    )
  })

  describe("several processes", () => {
    it.scopedLive(
      "ten that open a new file at once find the tables made, once",
      () =>
        Effect.gen(function* () {
          const filename = yield* temporaryFile
          const opener = fileURLToPath(new URL("./fixtures/openSqlite.ts", import.meta.url))
          const open = Command.make("node", "--import", "tsx", opener, filename).pipe(Command.exitCode)
          const codes = yield* Effect.replicateEffect(open, 10, { concurrency: "unbounded" })
          assert.deepStrictEqual(Array.from(new Set(codes)).map(Number), [0])
          const counts = Effect.flatMap(TaskManager.TaskManager, (manager) => manager.counts())
          assert.strictEqual((yield* counts.pipe(Effect.provide(producer(filename)))).queued, 10)
        }).pipe(Effect.provide(NodeContext.layer)),
      60_000
    )

    it.scopedLive("a consumer and a waiting producer hear of each other's commits without any poll", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const neverPolling = Layer.map(SqliteBackend.layer({ filename }), (context) =>
          Context.add(context, Broker.Broker, {
            ...Context.get(context, Broker.Broker),
            pollInterval: Duration.infinity
          })
        )
        const producer = yield* Layer.build(Layer.provide(TaskManager.layer, Layer.fresh(neverPolling)))
        yield* Layer.build(Workers.pipe(Layer.provide(TaskManager.layer), Layer.provide(Layer.fresh(neverPolling))))
        assert.strictEqual(yield* Effect.provide(Note.queueAndWait({ n: 7 }), producer), 7)
      })
    )

    it.scopedLive("the events of a run that another connection performs end with its end", () =>
      Effect.gen(function* () {
        const filename = yield* temporaryFile
        const context = yield* Layer.build(producer(filename))
        const run = yield* Effect.provide(Note.queue({ n: 7 }, { delay: "100 millis" }), context)
        yield* Layer.build(consumer(filename))
        const events = yield* Stream.runCollect(run.events)
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(events).map((event) => event.state),
          ["success"]
        )
      })
    )
  })
})

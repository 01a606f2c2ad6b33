/* The programs of examples/api, run. */
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { Command, FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { TaskConsumer, TaskGroup, TaskManager, TaskTest } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Effect, Fiber, Layer, Schedule, Stream, TestClock } from "effect"
import { Import, ImportLive, Resize, Source } from "../examples/api/import.js"
import { Mailer } from "../examples/api/mailer.js"
import { program } from "../examples/api/queue.js"
import { DigestLive, Mail, SendEmail, SendEmailLive } from "../examples/api/tasks.js"
import { createTables, Invoice, InvoiceLive, placeOrder } from "../examples/api/transactions.js"

const Handlers = Layer.mergeAll(SendEmailLive, DigestLive).pipe(Layer.provide(Mailer.Live))
const Workers = TaskConsumer.layer(Mail).pipe(Layer.provideMerge(Handlers))

const SourceLive = Layer.succeed(Source, {
  open: (url) => Effect.succeed({ bytes: url.length }),
  close: () => Effect.void,
  state: (url) => Effect.succeed(url as "ready" | "empty" | "not yet" | "too many requests")
})
const Imports = TaskConsumer.layer(TaskGroup.make(Import, Resize)).pipe(
  Layer.provide([ImportLive, Resize.toLayer(() => Effect.void)]),
  Layer.provide(SourceLive)
)

const pollEvery = Schedule.spaced("20 millis")

describe("the programs of examples/api", () => {
  it.scopedLive(
    "main.ts works until it is asked to stop, and ends with code 0",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const folder = yield* fs.makeTempDirectoryScoped()
        const tsx = createRequire(import.meta.url).resolve("tsx")
        const main = fileURLToPath(new URL("../examples/api/main.ts", import.meta.url))
        const service = yield* Command.start(
          Command.make("node", "--import", tsx, main).pipe(Command.workingDirectory(folder), Command.stderr("inherit"))
        )
        const database = path.join(folder, "tasks.db")
        yield* fs.exists(database).pipe(Effect.repeat({ until: (exists) => exists, schedule: pollEvery }))
        const output = yield* Effect.fork(Stream.runDrain(service.stdout))
        yield* Effect.sync(() => process.kill(service.pid, "SIGTERM"))
        assert.strictEqual(yield* service.exitCode, 0)
        yield* Fiber.join(output)
      }).pipe(Effect.provide(NodeContext.layer)),
    20_000
  )

  it.scopedLive("transactions.ts commits orders with their runs, and invoices with the ends of these", () =>
    Effect.gen(function* () {
      yield* createTables
      const run = yield* placeOrder(1, 990)
      assert.strictEqual(yield* Effect.flip(placeOrder(2, -1)), "an order costs something")
      assert.deepStrictEqual(yield* run.awaitFor("8 seconds"), { number: 1 })
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(yield* sql`SELECT id FROM shop_order`, [{ id: 1 }])
      assert.deepStrictEqual(yield* sql`SELECT number, order_id FROM shop_invoice`, [{ number: 1, order_id: 1 }])
    }).pipe(
      Effect.provide(
        TaskConsumer.layer(TaskGroup.make(Invoice)).pipe(
          Layer.provide(InvoiceLive),
          Layer.provideMerge(TaskManager.layer),
          Layer.provideMerge(SqliteBackend.layer({ filename: ":memory:" }))
        )
      )
    )
  )

  it.effect("queue.ts queues, waits, performs in place, looks and retries", () =>
    Effect.gen(function* () {
      const failed = yield* SendEmail.queue({ to: "nobody", subject: "hi" }) // no @: it fails with code 550
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* failed.poll).state, "failure")

      const result = yield* program
      assert.strictEqual(result.messageId, "<2.d@example.com>")
      assert.deepStrictEqual(result.inline, { messageId: "<2.e@example.com>" })
      assert.deepStrictEqual(
        result.page.items.map((run) => run.id),
        [failed.id]
      )
      assert.strictEqual(result.counts.scheduled, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* result.run.poll).state, "success")
      const manager = yield* TaskManager.TaskManager
      const retried = yield* manager.runs({ state: ["failure"] })
      assert.deepStrictEqual(
        retried.items.map((run) => run.retryOf),
        [failed.id, null]
      )
    }).pipe(Effect.provide(Workers.pipe(Layer.provideMerge(TaskTest.layer))))
  )

  it.effect("import.ts tells its progress, queues a child, and gives its verdicts", () =>
    Effect.gen(function* () {
      const ready = yield* Import.queue({ url: "ready" })
      const empty = yield* Import.queue({ url: "empty" })
      const notYet = yield* Import.queue({ url: "not yet" })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* ready.poll).progress, { value: 0.5, message: "half way" })
      assert.strictEqual((yield* ready.poll).state, "success")
      assert.deepStrictEqual((yield* empty.poll).outcome, { _tag: "Aborted", reason: "nothing to do" })
      assert.strictEqual((yield* notYet.poll).dueAt, 600_000)
      const manager = yield* TaskManager.TaskManager
      const children = yield* manager.runs({ task: "Resize", parentId: ready.id })
      assert.strictEqual(children.items[0]?.rootId, ready.id)

      const tooMany = yield* Import.queue({ url: "too many requests" })
      yield* TestClock.adjust("1 second")
      const held = yield* Import.queue({ url: "ready" })
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual((yield* tooMany.poll).state, "scheduled")
      assert.strictEqual((yield* held.poll).state, "queued")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* held.poll).state, "success")
    }).pipe(Effect.provide(Imports.pipe(Layer.provideMerge(TaskTest.layer))))
  )

  it.effect("a test of an application retries with backoff, in virtual time", () =>
    Effect.gen(function* () {
      const run = yield* SendEmail.queue({ to: "a@example.com", subject: "hi" })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* run.poll).state, "success")
    }).pipe(Effect.provide(Workers.pipe(Layer.provideMerge(TaskTest.layer))))
  )
})

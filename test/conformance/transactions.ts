/** What holds for every backend that stands in a database: runs and the application's data are committed together. */

import { SqlClient, type SqlError } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import {
  type Backend,
  Broker,
  RetryPolicy,
  Store,
  Task,
  TaskConsumer,
  type TaskError,
  TaskEvents,
  TaskGroup,
  TaskManager,
  TaskTransaction
} from "@effect-tasks/core"
import { Deferred, Effect, Either, Layer, Schema, type Scope } from "effect"
import { servedTask } from "./encoded.js"
import { eventually } from "./harness.js"

type Services = Backend.Backend | TaskTransaction.TaskTransaction | SqlClient.SqlClient

/** A backend in a database: makes an empty storage, and gives the Layer of one user of it. */
export interface Subject {
  readonly storage: Effect.Effect<Layer.Layer<Services, unknown>, unknown, Scope.Scope>
}

class Oops extends Schema.TaggedError<Oops>()("Oops", {}) {}

const Pay = Task.make("Pay", {
  payload: { amount: Schema.Int },
  success: Schema.Int,
  error: Oops,
  retry: RetryPolicy.make({ retries: 2, delay: 0 })
})

/** The application's own table. A server may have that of another process beside it. */
const accounts = `application_account_${process.pid}`

const insert = (amount: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO ${sql(accounts)} (amount) VALUES (${amount})`)

const amounts = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql<{ readonly amount: number }>`SELECT amount FROM ${sql(accounts)} ORDER BY amount`, (rows) =>
    rows.map(({ amount }) => amount)
  )
)

const queued = Effect.flatMap(Store.Store, (store) =>
  Effect.map(store.counts({}), (counts) => (counts.queued ?? 0) + (counts.scheduled ?? 0))
)

const recordStates = Effect.gen(function* () {
  const states: Array<string> = []
  yield* TaskEvents.on("all", (event) => Effect.sync(() => states.push(event.state)))
  return states
})

type Env = Services | TaskManager.TaskManager | TaskEvents.TaskEvents | Scope.Scope

type Handler<R> = (payload: { readonly amount: number }) => Effect.Effect<number, Oops | TaskError.BackendError, R>

const serve = <R>(handler: Handler<R>) =>
  TaskConsumer.make(TaskGroup.make(Pay), { grace: 0 }).pipe(Effect.provide(Pay.toLayer(handler)))

type InTransaction = <A, E, R>(
  self: Effect.Effect<A, E, R>
) => Effect.Effect<A, E | TaskError.BackendError | SqlError.SqlError, R | Services>

/** The two ways into a transaction. */
const ways: Record<string, InTransaction> = {
  "TaskTransaction.run": <A, E, R>(self: Effect.Effect<A, E, R>) => TaskTransaction.run(self),
  "sql.withTransaction": <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(self))
}

export const transactional = (name: string, subject: Subject): void => {
  const rule = (title: string, body: (another: Layer.Layer<Services>) => Effect.Effect<void, unknown, Env>) =>
    it.scopedLive(
      title,
      () =>
        Effect.gen(function* () {
          const open = Layer.orDie(yield* subject.storage)
          const context = yield* Layer.build(TaskManager.layer.pipe(Layer.provideMerge(open)))
          yield* Effect.provide(
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              yield* Effect.acquireRelease(sql`CREATE TABLE ${sql(accounts)} (amount INTEGER NOT NULL)`, () =>
                Effect.orDie(sql`DROP TABLE ${sql(accounts)}`)
              )
              yield* body(open)
            }),
            context
          )
        }),
      { timeout: 30_000 }
    )

  describe(name, () => {
    for (const [way, transaction] of Object.entries(ways)) {
      describe(way, () => {
        rule("what is rolled back leaves no run, no data, and no event", () =>
          Effect.gen(function* () {
            const states = yield* recordStates
            const body = Effect.zipRight(insert(1), Pay.queue({ amount: 1 }))
            const exit = yield* Effect.exit(transaction(Effect.zipRight(body, Effect.fail("no"))))
            assert.deepStrictEqual(exit._tag, "Failure")
            assert.deepStrictEqual(yield* amounts, [])
            assert.strictEqual(yield* queued, 0)
            yield* Pay.queue({ amount: 2 })
            yield* eventually(Effect.sync(() => assert.deepStrictEqual(states, ["init", "queued"])))
          })
        )

        rule("what is committed is there together, and its events come at the commit", () =>
          Effect.gen(function* () {
            const states = yield* recordStates
            yield* transaction(
              Effect.gen(function* () {
                yield* insert(1)
                yield* Pay.queueAll([{ amount: 1 }, { amount: 2 }])
                yield* Effect.sleep("20 millis")
                assert.deepStrictEqual(states, [])
              })
            )
            assert.deepStrictEqual(yield* amounts, [1])
            assert.strictEqual(yield* queued, 2)
            yield* eventually(Effect.sync(() => assert.deepStrictEqual(states, ["init", "queued", "init", "queued"])))
          })
        )

        rule("an inner transaction that fails takes only its own runs with it", () =>
          Effect.gen(function* () {
            const states = yield* recordStates
            yield* transaction(
              Effect.gen(function* () {
                yield* Pay.queue({ amount: 1 })
                yield* Effect.exit(transaction(Effect.zipRight(Pay.queue({ amount: 2 }), Effect.fail("no"))))
                yield* transaction(Pay.queue({ amount: 3 }))
              })
            )
            const manager = yield* TaskManager.TaskManager
            const { items } = yield* manager.runs()
            assert.deepStrictEqual(
              items.map(({ payload }) => payload),
              [{ amount: 3 }, { amount: 1 }]
            )
            yield* eventually(Effect.sync(() => assert.deepStrictEqual(states, ["init", "queued", "init", "queued"])))
          })
        )

        rule("a consumer of another process performs what is committed, and nothing before", (another) =>
          Effect.gen(function* () {
            const performed: Array<number> = []
            const handler = Pay.toLayer(({ amount }) => Effect.sync(() => performed.push(amount)))
            const workers = TaskConsumer.layer(TaskGroup.make(Pay), { grace: 0 }).pipe(Layer.provide(handler))
            yield* Layer.build(workers.pipe(Layer.provide(TaskManager.layer), Layer.provide(Layer.fresh(another))))
            const run = yield* transaction(
              Effect.tap(Pay.queue({ amount: 7 }), () =>
                Effect.zipRight(
                  Effect.sleep("60 millis"),
                  Effect.sync(() => assert.deepStrictEqual(performed, []))
                )
              )
            )
            assert.strictEqual(yield* run.awaitFor("8 seconds"), 1)
            assert.deepStrictEqual(performed, [7])
          })
        )
      })
    }

    describe("Task.completeWith", () => {
      rule("commits the end of the run with the handler's data; what comes afterwards changes nothing", () =>
        Effect.gen(function* () {
          yield* serve(({ amount }) =>
            Pay.completeWith(Effect.as(Effect.orDie(insert(amount)), amount * 2)).pipe(Effect.zipRight(new Oops()))
          )
          const states = yield* recordStates
          const run = yield* Pay.queue({ amount: 4 })
          assert.strictEqual(yield* run.awaitFor("8 seconds"), 8)
          assert.deepStrictEqual(yield* amounts, [4])
          assert.strictEqual((yield* run.poll).attempt, 0)
          yield* eventually(Effect.sync(() => assert.deepStrictEqual(states, ["init", "queued", "running", "success"])))
        })
      )

      rule("leaves neither when the effect fails, and both once when a retry succeeds", () =>
        Effect.gen(function* () {
          let tries = 0
          yield* serve(({ amount }) =>
            Pay.completeWith(
              Effect.zipRight(
                Effect.orDie(insert(amount)),
                Effect.suspend(() => (++tries < 3 ? new Oops() : Effect.succeed(tries)))
              )
            )
          )
          const run = yield* Pay.queue({ amount: 5 })
          assert.strictEqual(yield* run.awaitFor("8 seconds"), 3)
          assert.deepStrictEqual(yield* amounts, [5])
        })
      )

      rule("leaves nothing when the claim is lost: whoever holds it now completes the run", () =>
        Effect.gen(function* () {
          const broker = yield* Broker.Broker
          const began = yield* Deferred.make<void>()
          const goOn = yield* Deferred.make<void>()
          const after = yield* Deferred.make<string>()
          yield* serve(({ amount }) =>
            Effect.zipRight(Deferred.succeed(began, undefined), Deferred.await(goOn)).pipe(
              Effect.zipRight(Pay.completeWith(Effect.as(Effect.orDie(insert(amount)), amount))),
              Effect.onExit((exit) => Deferred.succeed(after, exit._tag))
            )
          )
          const run = yield* Pay.queue({ amount: 6 })
          yield* Deferred.await(began)
          const now = (yield* broker.now) + 3_600_000
          const tasks = [servedTask("Pay")]
          const request = {
            consumer: "B",
            queues: ["default"],
            queueLimits: [],
            tasks,
            limit: 1,
            now,
            leaseUntil: now + 30_000
          }
          const { runs } = yield* Broker.claim(broker, request)
          assert.deepStrictEqual(
            runs.map(({ run: { id } }) => id),
            [run.id]
          )
          yield* Deferred.succeed(goOn, undefined)
          assert.strictEqual(yield* Deferred.await(after), "Failure")
          assert.deepStrictEqual(yield* amounts, [])
          assert.deepInclude(yield* run.poll, { state: "running", consumer: "B" })
        })
      )

      rule("ends one run of a batch, whatever becomes of the others", () =>
        Effect.gen(function* () {
          const complete = ({ payload: { amount }, use }: Task.BatchItem<typeof Pay.payloadSchema.Type>) =>
            Effect.exit(
              use(
                Pay.completeWith(
                  Effect.zipRight(
                    Effect.orDie(insert(amount)),
                    amount === 2 ? Effect.dieMessage("no") : Effect.succeed(amount * 2)
                  )
                )
              )
            )
          const handler = Task.batch(Pay, { maxSize: 3, maxWait: 100 }, (items) =>
            Effect.zipRight(Effect.forEach(items, complete), new Oops())
          )
          yield* TaskConsumer.make(TaskGroup.make(Pay), { grace: 0 }).pipe(Effect.provide(handler))
          const runs = yield* Pay.queueAll([{ amount: 1 }, { amount: 2 }, { amount: 3 }])
          const exits = yield* Effect.forEach(runs, (run) => Effect.either(run.awaitFor("8 seconds")))
          assert.deepStrictEqual(exits, [Either.right(2), Either.left(new Oops()), Either.right(6)])
          assert.deepStrictEqual(yield* amounts, [1, 3])
        })
      )

      rule("holds for a run that is performed in place too", () =>
        Effect.gen(function* () {
          const handler = Pay.toLayer(({ amount }) =>
            Pay.completeWith(Effect.as(Effect.orDie(insert(amount)), amount * 2)).pipe(Effect.zipRight(new Oops()))
          )
          assert.strictEqual(yield* Pay.execute({ amount: 9 }).pipe(Effect.provide(handler)), 18)
          assert.deepStrictEqual(yield* amounts, [9])
          const manager = yield* TaskManager.TaskManager
          assert.deepInclude(yield* manager.counts(), { success: 1, running: 0 })
        })
      )
    })
  })
}

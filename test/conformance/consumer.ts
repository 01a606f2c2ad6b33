import { assert } from "@effect/vitest"
import { type Broker, Store, Task, TaskConsumer, TaskError, TaskGroup } from "@effect-tasks/core"
import { Deferred, Duration, Effect, Queue, Schedule, Schema } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

const Work = Task.make("Work", { payload: { n: Schema.Number } })
const Other = Task.make("Other")

/** A handler whose runs all wait for one gate, and what it has seen. */
const makeGated = Effect.map(Deferred.make<void>(), (gate) => {
  const seen = { started: [] as Array<number>, running: 0, most: 0 }
  const handler = ({ n }: { readonly n: number }) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        seen.started.push(n)
        seen.most = Math.max(seen.most, ++seen.running)
      }),
      () => Deferred.await(gate),
      () => Effect.sync(() => seen.running--)
    )
  return { gate, seen, handler }
})

const work = (count: number) => Work.queueAll(Array.from({ length: count }, (_, n) => ({ n })))

/** A broker that is away while the switch is on. */
const failing =
  (outage: { on: boolean }) =>
  (broker: typeof Broker.Broker.Service): typeof Broker.Broker.Service => {
    const unless =
      <Args extends ReadonlyArray<unknown>, A, E>(operation: string, call: (...args: Args) => Effect.Effect<A, E>) =>
      (...args: Args): Effect.Effect<A, E | TaskError.BackendError> =>
        Effect.suspend(
          (): Effect.Effect<A, E | TaskError.BackendError> =>
            outage.on ? new TaskError.BackendError({ backend: "test", operation, transient: true }) : call(...args)
        )
    return {
      ...broker,
      enqueue: unless("enqueue", broker.enqueue),
      exchange: unless("exchange", broker.exchange),
      extend: unless("extend", broker.extend),
      cancel: unless("cancel", broker.cancel)
    }
  }

/** How a consumer serves its tasks. */
export const consumer: Family = (rule) => {
  rule("a consumer performs no more runs at one time than it may, and as many as it may", () =>
    Effect.gen(function* () {
      const { gate, handler, seen } = yield* makeGated
      const consumer = yield* serve(TaskGroup.make(Work), { Work: handler }, { maxConcurrentTasks: 3 })
      const runs = yield* work(10)
      yield* eventuallySync(() => assert.strictEqual(seen.running, 3))
      yield* quiet
      assert.strictEqual(yield* consumer.running, 3)
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      assert.strictEqual(seen.most, 3)
      assert.deepStrictEqual(
        seen.started,
        Array.from({ length: 10 }, (_, n) => n)
      )
    })
  )

  rule("a free place is filled at once, without waiting for the others", () =>
    Effect.gen(function* () {
      const started: Array<number> = []
      yield* serve(
        TaskGroup.make(Work),
        {
          Work: ({ n }) =>
            Effect.zipRight(
              Effect.sync(() => started.push(n)),
              n === 0 ? Effect.never : Effect.void
            )
        },
        { maxConcurrentTasks: 2 }
      )
      yield* work(20)
      yield* eventuallySync(() => assert.strictEqual(started.length, 20))
    })
  )

  rule("a consumer that misses every signal asks again after the poll interval", () =>
    Effect.gen(function* () {
      const deaf = yield* openProcessWith({
        broker: (broker) => ({ ...broker, signals: Queue.unbounded(), pollInterval: Duration.seconds(5) })
      })
      const consumer = yield* deaf.run(serve(TaskGroup.make(Work), { Work: () => Effect.void }))
      const [run] = yield* work(1)
      yield* advance("4 seconds")
      assert.strictEqual((yield* run!.poll).state, "queued")
      yield* advance("1 second")
      yield* becomes(run!, "success")
      assert.isTrue(yield* consumer.ready)
    })
  )

  rule("however much there is to do, the timers of the process have their turn", () =>
    Effect.gen(function* () {
      const Retried = Task.make("Retried", { error: Oops, retry: Schedule.recurs(500) })
      yield* serve(TaskGroup.make(Work, Retried), { Work: () => Effect.void, Retried: () => new Oops({ code: 1 }) })
      let turns = 0
      yield* Effect.acquireRelease(
        Effect.sync(() => setInterval(() => turns++, 1)),
        (timer) => Effect.sync(() => clearInterval(timer))
      )
      const retried = yield* Retried.queue()
      const runs = yield* work(2_000)
      yield* Effect.forEach(runs, (run) => run.await, { concurrency: "unbounded", discard: true })
      yield* Effect.exit(retried.await)
      assert.isAbove(turns, 10)
    })
  )

  rule("two consumers share the work: each run is performed once", () =>
    Effect.gen(function* () {
      const performed: Array<number> = []
      const handlers = { Work: ({ n }: { readonly n: number }) => Effect.sync(() => void performed.push(n)) }
      const other = yield* openProcess
      yield* serve(TaskGroup.make(Work), handlers)
      yield* other.run(serve(TaskGroup.make(Work), handlers))
      const runs = yield* work(100)
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      assert.deepStrictEqual(
        performed.sort((a, b) => a - b),
        Array.from({ length: 100 }, (_, n) => n)
      )
    })
  )

  rule("it tells how many runs it performs, in all and of each task", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(Work, Other), {
        Work: () => Effect.never,
        Other: () => Effect.never
      })
      yield* work(2)
      yield* Other.queue()
      yield* eventually(Effect.map(consumer.running, (running) => assert.strictEqual(running, 3)))
      assert.strictEqual(yield* consumer.runningOf(Work), 2)
      assert.strictEqual(yield* consumer.runningOf(Other), 1)
    })
  )

  rule("it serves the queues of its tasks, or those that it is told", () =>
    Effect.gen(function* () {
      const performed: Array<number> = []
      const Slow = Task.make("Slow", { payload: { n: Schema.Number }, queue: "slow" })
      const note = ({ n }: { readonly n: number }) => Effect.sync(() => void performed.push(n))
      yield* serve(TaskGroup.make(Work, Slow), { Work: note, Slow: note })
      yield* Work.queue({ n: 1 })
      yield* Slow.queue({ n: 2 })
      const elsewhere = yield* Work.queue({ n: 3 }, { queue: "elsewhere" })
      yield* eventuallySync(() => assert.deepStrictEqual(performed.slice().sort(), [1, 2]))
      yield* quiet
      assert.strictEqual((yield* elsewhere.poll).state, "queued")
      yield* serve(TaskGroup.make(Work), { Work: note }, { queues: ["elsewhere"] })
      yield* becomes(elsewhere, "success")
    })
  )

  rule("it is alive and ready while it works, and neither once it has stopped", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(Work), { Work: () => Effect.void })
      assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [true, true])
      yield* consumer.gracefullyStop
      assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [false, false])
    })
  )

  rule("it stays ready while it has nothing to do, and while all its places are taken", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(Work), { Work: () => Effect.never }, { maxConcurrentTasks: 1 })
      yield* advance("20 seconds")
      assert.isTrue(yield* consumer.ready)
      const [run] = yield* work(1)
      yield* becomes(run!, "running")
      yield* advance("20 seconds")
      assert.isTrue(yield* consumer.ready)
    })
  )

  rule("it is not ready while it stops", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(Work), { Work: () => Effect.never }, { grace: "10 seconds" })
      const [run] = yield* work(1)
      yield* becomes(run!, "running")
      yield* Effect.fork(consumer.gracefullyStop)
      yield* quiet
      assert.isFalse(yield* consumer.ready)
      yield* advance("10 seconds")
    })
  )

  rule("in an outage it is alive but not ready; after it, it goes on by itself and performs everything once", () =>
    Effect.gen(function* () {
      const outage = { on: false }
      const process = yield* openProcessWith({ broker: failing(outage) })
      const performed: Array<number> = []
      const consumer = yield* process.run(
        serve(TaskGroup.make(Work), { Work: ({ n }) => Effect.sync(() => void performed.push(n)) })
      )
      assert.isTrue(yield* consumer.ready)
      outage.on = true
      const runs = yield* work(5)
      yield* eventually(Effect.map(consumer.ready, (ready) => assert.isFalse(ready)))
      yield* advance("20 seconds")
      assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [true, false])
      assert.deepStrictEqual(performed, [])
      outage.on = false
      yield* advance("10 seconds")
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      assert.isTrue(yield* consumer.ready)
      assert.deepStrictEqual(performed.sort(), [0, 1, 2, 3, 4])
    })
  )

  rule("a result that is reached in an outage is written after it, and the run is performed once", () =>
    Effect.gen(function* () {
      const outage = { on: false }
      const process = yield* openProcessWith({ broker: failing(outage) })
      let performed = 0
      yield* process.run(
        serve(TaskGroup.make(Work), {
          Work: () =>
            Effect.zipRight(
              Effect.sleep("1 second"),
              Effect.sync(() => void performed++)
            )
        })
      )
      const [run] = yield* work(1)
      yield* becomes(run!, "running")
      outage.on = true
      yield* advance("12 seconds")
      assert.strictEqual((yield* run!.poll).state, "running")
      outage.on = false
      yield* advance("10 seconds")
      const { attempts } = yield* becomes(run!, "success")
      assert.strictEqual(performed, 1)
      assert.deepStrictEqual(
        attempts.map(({ endedAt }) => endedAt),
        [1_000]
      )
    })
  )

  rule("it can be stopped in an outage", () =>
    Effect.gen(function* () {
      const outage = { on: false }
      const process = yield* openProcessWith({ broker: failing(outage) })
      const consumer = yield* process.run(serve(TaskGroup.make(Work), { Work: () => Effect.void }))
      outage.on = true
      yield* work(1)
      yield* eventually(Effect.map(consumer.ready, (ready) => assert.isFalse(ready)))
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance("10 seconds")
      assert.strictEqual((yield* stopping).finished, 0)
    })
  )

  rule("it is recorded while it works, and not after", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const consumer = yield* serve(
        TaskGroup.make(Work, Other),
        { Work: () => Effect.void, Other: () => Effect.void },
        { name: "mail", maxConcurrentTasks: 7 }
      )
      const [record] = yield* store.consumers
      assert.deepInclude(record, { id: consumer.id, startedAt: 0, maxConcurrentTasks: 7, stopping: false })
      assert.sameMembers([...record!.tasks], ["Work", "Other"])
      assert.deepStrictEqual(record!.queues, ["default"])
      yield* consumer.gracefullyStop
      assert.deepStrictEqual(yield* store.consumers, [])
    })
  )

  rule("options out of their range, and two tasks of one name, are refused when it starts", () =>
    Effect.gen(function* () {
      const start = (options: TaskConsumer.Options) =>
        TaskConsumer.make(TaskGroup.make(Other), options).pipe(
          Effect.provide(Other.toLayer(() => Effect.void)),
          Effect.scoped,
          Effect.flip
        )
      assert.deepInclude(yield* start({ maxConcurrentTasks: 0 }), { option: "maxConcurrentTasks" })
      assert.deepInclude(yield* start({ maxConcurrentTasks: 1.5 }), { option: "maxConcurrentTasks" })
      assert.deepInclude(yield* start({ lease: "50 millis" }), { option: "lease" })
      const twice = yield* TaskConsumer.make(TaskGroup.make(Other, Task.make("Other"))).pipe(
        Effect.provide(Other.toLayer(() => Effect.void)),
        Effect.scoped,
        Effect.flip
      )
      assert.deepStrictEqual(twice, new TaskError.DuplicateTask({ task: "Other" }))
    })
  )

  rule("services that a handler needs come from its Layer", () =>
    Effect.gen(function* () {
      const names: Array<string> = []
      class Names extends Effect.Tag("conformance/Names")<
        Names,
        { readonly add: (name: string) => Effect.Effect<void> }
      >() {}
      yield* serve(TaskGroup.make(Work), { Work: ({ n }) => Names.add(`run ${n}`) }).pipe(
        Effect.provideService(Names, { add: (name) => Effect.sync(() => void names.push(name)) })
      )
      yield* Work.queueAndWait({ n: 1 })
      assert.deepStrictEqual(names, ["run 1"])
    })
  )
}

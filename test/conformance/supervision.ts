import { assert } from "@effect/vitest"
import { type Broker, Store, Task, type TaskConsumer, TaskError, TaskGroup } from "@effect-tasks/core"
import { Effect, Logger, Queue, Schema } from "effect"
import { advance, eventually, type Family, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync, recordEvents, statesOf } from "./observing.js"

const Work = Task.make("Work", { payload: { seconds: Schema.Number } })
type BrokerService = typeof Broker.Broker.Service

/** What befalls a call while its trouble lasts. */
const troubles = {
  fails: new TaskError.BackendError({ backend: "test", operation: "call", transient: true }),
  dies: Effect.die(new Error("the driver broke")),
  hangs: Effect.never
} as const

const loopOf = (consumer: typeof TaskConsumer.TaskConsumer.Service, name: string) =>
  Effect.map(consumer.status, ({ loops }) => loops.find((loop) => loop.name === name)!)

const performing = (performed: Array<number>) => ({
  Work: ({ seconds }: { readonly seconds: number }) =>
    Effect.zipRight(
      Effect.sleep(`${seconds} seconds`),
      Effect.sync(() => void performed.push(seconds))
    )
})

/** The loops of a consumer, in trouble and after it. */
export const supervision: Family = (rule) => {
  rule("the status tells the phase, the loops, and how many runs are performed, in all and of each task", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(TaskGroup.make(Work), { Work: () => Effect.never })
      const run = yield* Work.queue({ seconds: 1 })
      yield* becomes(run, "running")
      const { loops, runningByTask, ...status } = yield* consumer.status
      assert.deepStrictEqual(status, { phase: "running", alive: true, ready: true, running: 1, waiting: 0, stuck: [] })
      assert.deepStrictEqual(runningByTask, { Work: 1 })
      assert.includeMembers(
        loops.map(({ name }) => name),
        ["exchange", "leases", "reports", "signals", "presence", "interruptions", "callbacks"]
      )
      for (const { failures, lastError, state } of loops) {
        assert.deepStrictEqual([state, failures, lastError], ["working", 0, null])
      }
      yield* consumer.gracefullyStop
      const stopped = yield* consumer.status
      assert.deepInclude(stopped, { phase: "stopped", alive: false, ready: false, running: 0 })
      assert.isTrue(stopped.loops.every(({ state }) => state === "ended"))
    })
  )

  for (const [how, trouble] of Object.entries(troubles)) {
    rule(
      `a broker that ${how} at exchanges: not ready, then back by itself; all is performed once, and ends once`,
      () =>
        Effect.gen(function* () {
          let away = false
          const process = yield* openProcessWith({
            broker: (broker) => ({
              ...broker,
              exchange: (exchange) => Effect.suspend(() => (away ? trouble : broker.exchange(exchange)))
            })
          })
          const performed: Array<number> = []
          const events = yield* process.run(recordEvents)
          const consumer = yield* process.run(serve(TaskGroup.make(Work), performing(performed)))
          const before = yield* Work.queueAll([{ seconds: 1 }, { seconds: 2 }])
          yield* Effect.forEach(before, (run) => becomes(run, "running"))
          away = true
          const during = yield* Work.queueAll([{ seconds: 3 }, { seconds: 4 }])
          yield* advance("25 seconds")
          assert.deepStrictEqual([yield* consumer.alive, yield* consumer.ready], [true, false])
          assert.deepStrictEqual(performed, [1, 2])
          away = false
          yield* advance("45 seconds")
          yield* Effect.forEach([...before, ...during], (run) => becomes(run, "success"))
          assert.isTrue(yield* consumer.ready)
          assert.deepStrictEqual(performed, [1, 2, 3, 4])
          assert.deepInclude(yield* loopOf(consumer, "exchange"), { state: "working", failures: 0 })
          for (const run of [...before, ...during]) {
            assert.deepStrictEqual(statesOf(events, run.id), ["running", "success"])
          }
        })
    )

    rule(`a broker that ${how} at extensions for a while: the handlers go on, and the loop is back`, () =>
      Effect.gen(function* () {
        let away = false
        const process = yield* openProcessWith({
          broker: (broker) => ({
            ...broker,
            extend: (extension) => Effect.suspend(() => (away ? trouble : broker.extend(extension)))
          })
        })
        const performed: Array<number> = []
        const consumer = yield* process.run(serve(TaskGroup.make(Work), performing(performed)))
        const run = yield* Work.queue({ seconds: 60 })
        yield* becomes(run, "running")
        away = true
        yield* advance("16 seconds")
        const { failures, lastError } = yield* loopOf(consumer, "leases")
        assert.isAbove(failures, 0)
        assert.isString(lastError?.message)
        away = false
        yield* advance("44 seconds")
        assert.deepInclude(yield* becomes(run, "success"), { crashes: 0 })
        assert.deepStrictEqual(performed, [60])
        assert.deepInclude(yield* loopOf(consumer, "leases"), { state: "working", failures: 0 })
      })
    )
  }

  rule("signals that break off are listened to again, and what was missed is asked for", () =>
    Effect.gen(function* () {
      let subscriptions = 0
      // the first one listens for the manager
      const broken = yield* Queue.unbounded<never>()
      const process = yield* openProcessWith({
        broker: (broker): BrokerService => ({
          ...broker,
          signals: Effect.suspend(() => (++subscriptions === 2 ? Effect.succeed(broken) : broker.signals))
        })
      })
      const performed: Array<number> = []
      const consumer = yield* process.run(serve(TaskGroup.make(Work), performing(performed)))
      const missed = yield* Work.queue({ seconds: 0 })
      yield* Queue.shutdown(broken)
      yield* eventually(Effect.map(loopOf(consumer, "signals"), ({ failures }) => assert.strictEqual(failures, 1)))
      yield* advance("1 second")
      yield* becomes(missed, "success")
      yield* becomes(yield* Work.queue({ seconds: 0 }), "success")
      assert.deepInclude(yield* loopOf(consumer, "signals"), { state: "working", failures: 0 })
    })
  )

  rule("a record that cannot be written is written later, and ends nothing", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      let away = true
      const process = yield* openProcessWith({
        store: (store) => ({
          ...store,
          putConsumers: (consumers) => Effect.suspend(() => (away ? troubles.dies : store.putConsumers(consumers)))
        })
      })
      const consumer = yield* process.run(serve(TaskGroup.make(Work), performing([])))
      assert.deepInclude(yield* loopOf(consumer, "presence"), { state: "backingOff", failures: 1 })
      yield* becomes(yield* Work.queue({ seconds: 0 }), "success")
      away = false
      yield* advance("10 seconds")
      assert.deepStrictEqual(
        (yield* store.consumers).map(({ id }) => id),
        [consumer.id]
      )
    })
  )

  rule("lines that cannot be stored while their run ends go with its settlement", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const process = yield* openProcessWith({
        store: (store) => ({ ...store, appendLogs: () => Effect.delay(troubles.fails, "5 seconds") })
      })
      yield* process.run(
        serve(TaskGroup.make(Work), { Work: () => Effect.zipRight(Effect.log("kept"), Effect.sleep("3 seconds")) })
      )
      const run = yield* Work.queue({ seconds: 0 })
      yield* becomes(run, "running")
      yield* advance("3 seconds")
      yield* becomes(run, "success")
      yield* advance("10 seconds")
      const lines = yield* store.logs(run.id, { fromSeq: 0, limit: 10 })
      assert.deepStrictEqual(
        lines.map(({ message }) => message),
        ["kept"]
      )
    })
  )

  rule("a run of which nothing can be written leaves its place to the next, and is performed again", () =>
    Effect.gen(function* () {
      let poisoned: string | null = null
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.suspend(() =>
              exchange.settlements.some(({ run }) => run.id === poisoned) ? troubles.dies : broker.exchange(exchange)
            )
        })
      })
      const performed: Array<number> = []
      yield* process.run(
        serve(TaskGroup.make(Work), performing(performed), { maxConcurrentTasks: 1, lease: "3 seconds" })
      )
      const first = yield* Work.queue({ seconds: 1 })
      poisoned = first.id
      yield* becomes(first, "running")
      const others = yield* Work.queueAll(Array.from({ length: 8 }, () => ({ seconds: 2 })))
      yield* advance("1 minute")
      yield* Effect.forEach(others, (run) => becomes(run, "success"))
      assert.isAbove(performed.filter((seconds) => seconds === 1).length, 1)
      poisoned = null
      yield* advance("20 seconds")
      yield* becomes(first, "success")
    })
  )

  rule("an outage is told of once, however often the loop tries", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void told.push(String(message)))
      let away = false
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) => Effect.suspend(() => (away ? troubles.fails : broker.exchange(exchange)))
        })
      })
      const consumer = yield* process.run(
        serve(TaskGroup.make(Work), performing([])).pipe(Effect.provide(Logger.add(logger)))
      )
      const outage = Effect.gen(function* () {
        away = true
        const run = yield* Work.queue({ seconds: 0 })
        yield* advance("1 minute")
        assert.isAbove((yield* loopOf(consumer, "exchange")).failures, 5)
        away = false
        yield* advance("10 seconds")
        yield* becomes(run, "success")
      })
      const ofExchange = () => told.filter((message) => message.includes('"exchange"')).length
      yield* outage
      assert.strictEqual(ofExchange(), 1)
      yield* outage
      yield* quiet
      assert.strictEqual(ofExchange(), 2)
    })
  )

  rule("a consumer that starts in an outage begins to work after it", () =>
    Effect.gen(function* () {
      let away = false
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) => Effect.suspend(() => (away ? troubles.dies : broker.exchange(exchange))),
          signals: Effect.suspend(() => (away ? troubles.dies : broker.signals))
        })
      })
      away = true
      const performed: Array<number> = []
      const consumer = yield* process.run(serve(TaskGroup.make(Work), performing(performed)))
      yield* Work.queue({ seconds: 0 })
      yield* advance("20 seconds")
      assert.isFalse(yield* consumer.ready)
      away = false
      yield* advance("10 seconds")
      yield* eventuallySync(() => assert.deepStrictEqual(performed, [0]))
      assert.isTrue(yield* consumer.ready)
    })
  )
}

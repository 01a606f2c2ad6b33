import { assert } from "@effect/vitest"
import { Broker, Task, TaskGroup } from "@effect-tasks/core"
import { Deferred, Effect, Fiber, HashMap, Logger, Schema } from "effect"
import { advance, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync } from "./observing.js"

const Limited = Task.make("Limited", { timeout: "10 seconds" })
const Open = Task.make("Open")
const Quick = Task.make("Quick", { payload: { n: Schema.Number } })

/** A handler that ignores its interruption until the gate opens. */
const makeDeaf = Effect.map(Deferred.make<void>(), (gate) => ({
  gate,
  handler: () => Effect.uninterruptible(Deferred.await(gate))
}))

/** The warnings about handlers that ignore their interruption, with what they say of the run. */
const warned: Array<readonly [run: unknown, task: unknown, reason: unknown]> = []
const warnings = Logger.make<unknown, void>(({ annotations, message }) => {
  if (String(message).includes("ignores its interruption")) {
    const of = (key: string) => HashMap.unsafeGet(annotations, key)
    warned.push([of("run"), of("task"), of("reason")])
  }
})

/** Handlers that ignore their interruption. */
export const stuck: Family = (rule) => {
  rule("past its time and that of the finalizers, it is reported once, and its place is filled", () =>
    Effect.gen(function* () {
      const { gate, handler } = yield* makeDeaf
      const performed: Array<number> = []
      const consumer = yield* serve(
        TaskGroup.make(Limited, Quick),
        { Limited: handler, Quick: ({ n }) => Effect.sync(() => void performed.push(n)) },
        { maxConcurrentTasks: 1, cleanup: "2 seconds" }
      ).pipe(Effect.provide(Logger.add(warnings)))
      const run = yield* Limited.queue()
      yield* becomes(run, "running")
      yield* Quick.queueAll([{ n: 1 }, { n: 2 }])
      yield* advance(11_999)
      assert.deepStrictEqual([performed, (yield* consumer.status).stuck], [[], []])
      yield* advance(1)
      yield* eventuallySync(() => assert.deepStrictEqual(performed, [1, 2]))
      yield* advance("1 minute")
      const { runningByTask, stuck } = yield* consumer.status
      assert.deepStrictEqual(stuck, [{ id: run.id, task: "Limited", reason: "timeout", since: 10_000 }])
      assert.deepStrictEqual(runningByTask, { Limited: 1 })
      assert.deepStrictEqual(
        warned.filter(([id]) => id === run.id),
        [[run.id, "Limited", "timeout"]]
      )
      yield* Deferred.succeed(gate, undefined)
      const { attempts } = yield* becomes(run, "failure")
      assert.deepStrictEqual(
        attempts.map(({ endedAt, outcome }) => [outcome._tag, endedAt]),
        [["Timeout", 72_000]]
      )
      assert.deepStrictEqual((yield* consumer.status).stuck, [])
    })
  )

  rule("its claim is kept alive until it ends: nobody else takes the run", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const { gate, handler } = yield* makeDeaf
      let taken = 0
      yield* serve(TaskGroup.make(Limited), { Limited: handler }, { lease: "3 seconds", cleanup: "1 second" })
      const run = yield* Limited.queue()
      yield* becomes(run, "running")
      yield* other.run(
        serve(TaskGroup.make(Limited), { Limited: () => Effect.sync(() => void taken++) }, { lease: "3 seconds" })
      )
      yield* advance("30 seconds")
      yield* Deferred.succeed(gate, undefined)
      assert.deepInclude(yield* becomes(run, "failure"), { crashes: 0 })
      assert.strictEqual(taken, 0)
    })
  )

  rule("one that is cancelled is reported as such, and ends as cancelled once it obeys", () =>
    Effect.gen(function* () {
      const { gate, handler } = yield* makeDeaf
      const consumer = yield* serve(
        TaskGroup.make(Open),
        { Open: () => Effect.zipRight(handler(), Effect.never) },
        { cleanup: "2 seconds" }
      )
      const run = yield* Open.queue()
      yield* becomes(run, "running")
      yield* run.cancel("no need")
      yield* advance("12 seconds")
      const [one] = (yield* consumer.status).stuck
      assert.deepInclude(one, { id: run.id, reason: "cancel" })
      yield* Deferred.succeed(gate, undefined)
      yield* becomes(run, "cancelled")
    })
  )

  rule("one that obeys within the time of the finalizers is not reported", () =>
    Effect.gen(function* () {
      const consumer = yield* serve(
        TaskGroup.make(Limited),
        { Limited: () => Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")) },
        { cleanup: "2 seconds" }
      )
      const run = yield* Limited.queue()
      yield* advance("11 seconds")
      yield* becomes(run, "failure")
      yield* advance("5 seconds")
      assert.deepStrictEqual((yield* consumer.status).stuck, [])
    })
  )

  rule(
    "a shutdown reports it as overrun; then its lease ends, another takes the run over, and its own end is not written",
    () =>
      Effect.gen(function* () {
        const first = yield* openProcess
        const { gate, handler } = yield* makeDeaf
        const consumer = yield* first.run(
          serve(TaskGroup.make(Open), { Open: handler }, { lease: "3 seconds", cleanup: "1 second" })
        )
        const run = yield* Open.queue()
        yield* becomes(run, "running")
        const stopping = yield* Effect.fork(consumer.gracefullyStop)
        yield* advance("1 second")
        assert.deepStrictEqual((yield* Fiber.join(stopping)).overran, [{ id: run.id, task: "Open" }])
        assert.strictEqual((yield* consumer.status).phase, "stopped")
        yield* serve(TaskGroup.make(Open), { Open: () => Effect.never }, { lease: "3 seconds" })
        yield* advance("6 seconds")
        assert.deepInclude(yield* becomes(run, "running"), { crashes: 1 })
        yield* Deferred.succeed(gate, undefined)
        yield* advance("1 second")
        assert.strictEqual((yield* run.poll).state, "running")
      })
  )

  rule("runs whose claim was answered too late are not begun under it", () =>
    Effect.gen(function* () {
      let delay = 0
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.flatMap(broker.exchange(exchange), (answer) =>
              exchange.claim === null || delay === 0
                ? Effect.succeed(answer)
                : Effect.delay(Effect.succeed(answer), delay)
            )
        })
      })
      const begun: Array<number> = []
      yield* process.run(
        serve(
          TaskGroup.make(Open),
          { Open: () => Effect.flatMap(Broker.Broker, ({ now }) => Effect.map(now, (at) => void begun.push(at))) },
          { lease: "10 seconds" }
        )
      )
      delay = 9_000
      const run = yield* Open.queue()
      yield* quiet
      delay = 0
      yield* advance("8 seconds")
      assert.deepStrictEqual(begun, [])
      yield* advance("2 seconds")
      const { attempts, crashes } = yield* becomes(run, "success")
      assert.deepStrictEqual([begun.length, attempts.length, crashes], [1, 1, 0])
    })
  )
}

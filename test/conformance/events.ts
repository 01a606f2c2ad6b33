import { assert } from "@effect/vitest"
import {
  CurrentRun,
  RetryPolicy,
  Store,
  Task,
  TaskError,
  type TaskEvent,
  TaskEvents,
  TaskGroup,
  type TaskLogger,
  TaskState
} from "@effect-tasks/core"
import { Deferred, Effect, Fiber, LogLevel, Option, Schema, Stream } from "effect"
import { advance, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, Oops, recordEvents, statesOf } from "./observing.js"

const Greet = Task.make("Greet", { payload: { name: Schema.String } })
const atOnce = RetryPolicy.make({ retries: 5, delay: 0 })
const Flaky = Task.make("Flaky", { payload: { failures: Schema.Number }, error: Oops, retry: atOnce })

/** Fails as often as its payload says. */
const failing = ({ failures }: { readonly failures: number }) =>
  Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
    attempt <= failures ? Effect.fail(new Oops({ code: attempt })) : Effect.void
  )

/** What a manager tells of runs, and to whom. */
export const events: Family = (rule) => {
  rule("a run tells of init, queued, running and success, in this order, each with a copy in that state", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      const run = yield* Greet.queue({ name: "a" })
      yield* run.await
      yield* eventuallySync(() =>
        assert.deepStrictEqual(
          events.map((event) => [event.previous, event.state, event.run.state, event.run.id]),
          [
            [null, "init", "init", run.id],
            ["init", "queued", "queued", run.id],
            ["queued", "running", "running", run.id],
            ["running", "success", "success", run.id]
          ]
        )
      )
    })
  )

  rule("a delayed run tells of scheduled, and of queued when it is due", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      const run = yield* Greet.queue({ name: "a" }, { delay: "1 minute" })
      yield* eventsBecome(events, run, "init", "scheduled")
      yield* advance("1 minute")
      yield* eventsBecome(events, run, "init", "scheduled", "queued", "running", "success")
      assert.deepStrictEqual(
        events.map(({ at }) => at),
        [0, 0, 60_000, 60_000, 60_000]
      )
    })
  )

  rule("a retried run tells of each attempt", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const once = RetryPolicy.make({ retries: 1, delay: "1 second" })
      const Slow = Task.make("Slow", { error: Oops, retry: once })
      yield* serve(TaskGroup.make(Slow), { Slow: () => new Oops({ code: 1 }) })
      const run = yield* Slow.queue()
      yield* advance("1 second")
      yield* eventsBecome(
        events,
        run,
        ...(["init", "queued", "running", "scheduled", "queued", "running", "failure"] as const)
      )
    })
  )

  rule("the events of one run keep their order, however quickly runs go round", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Flaky), { Flaky: failing }, { name: "a" })
      yield* serve(TaskGroup.make(Flaky), { Flaky: failing }, { name: "b", maxConcurrentTasks: 2 })
      const runs = yield* Effect.forEach(Array(40), (_, i) => Flaky.queue({ failures: i % 4 }), { concurrency: 8 })
      yield* Effect.forEach(runs, (run) => run.await, { concurrency: "unbounded" })
      for (const [i, run] of runs.entries()) {
        const retries = Array.from({ length: i % 4 }, () => ["queued", "running"] as const).flat()
        yield* eventsBecome(events, run, "init", "queued", "running", ...retries, "success")
        const own = events.filter((event) => event.run.id === run.id)
        assert.isNull(own[0]!.previous)
        for (const [j, event] of own.slice(1).entries()) {
          assert.strictEqual(event.previous, own[j]!.state)
          assert.include(TaskState.transitions[event.previous!], event.state)
        }
      }
    })
  )

  rule("queued is told of when the run is safe, not before", () =>
    Effect.gen(function* () {
      const committed = yield* Deferred.make<void>()
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          enqueue: (runs) => Effect.zipLeft(broker.enqueue(runs), Deferred.await(committed))
        })
      })
      const events = yield* process.run(recordEvents)
      // the run may be performed by others before its producer knows that it is safe
      yield* process.run(serve(TaskGroup.make(Greet), { Greet: () => Effect.void }))
      const queueing = yield* Effect.fork(process.run(Greet.queue({ name: "a" })))
      yield* quiet
      assert.deepStrictEqual(events, [])
      yield* Deferred.succeed(committed, undefined)
      const run = yield* Fiber.join(queueing)
      yield* eventsBecome(events, run, "init", "queued", "running", "success")
    })
  )

  rule("a run that could not be queued tells of nothing", () =>
    Effect.gen(function* () {
      const failure = new TaskError.BackendError({ backend: "test", operation: "enqueue", transient: true })
      const process = yield* openProcessWith({ broker: (broker) => ({ ...broker, enqueue: () => failure }) })
      const events = yield* process.run(recordEvents)
      assert.deepStrictEqual(yield* process.run(Effect.flip(Greet.queue({ name: "a" }))), failure)
      yield* quiet
      assert.deepStrictEqual(events, [])
    })
  )

  rule("a handler of events that fails, dies or throws is left out; the run and all other handlers go on", () =>
    Effect.gen(function* () {
      let calls = 0
      yield* TaskEvents.on("all", () =>
        Effect.zipRight(
          Effect.sync(() => calls++),
          Effect.fail("failed")
        )
      )
      yield* TaskEvents.on("all", () =>
        Effect.zipRight(
          Effect.sync(() => calls++),
          Effect.die("died")
        )
      )
      yield* TaskEvents.on("all", (): Effect.Effect<void> => {
        calls++
        throw new Error("thrown")
      })
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      const run = yield* Greet.queue({ name: "a" })
      yield* run.await
      yield* eventsBecome(events, run, "init", "queued", "running", "success")
      yield* eventuallySync(() => assert.strictEqual(calls, 12))
    })
  )

  rule("a handler of events that never ends holds nobody up", () =>
    Effect.gen(function* () {
      yield* TaskEvents.on("all", () => Effect.never)
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      const run = yield* Greet.queue({ name: "a" })
      yield* run.await
      yield* eventsBecome(events, run, "init", "queued", "running", "success")
    })
  )

  rule("a handler is called for the state it asked for, and no longer than its scope lasts", () =>
    Effect.gen(function* () {
      const names: Array<unknown> = []
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* TaskEvents.on("running", ({ run, state }) => Effect.sync(() => names.push([state, run.payload])))
          yield* (yield* Greet.queue({ name: "a" })).await
          yield* eventuallySync(() => assert.deepStrictEqual(names, [["running", { name: "a" }]]))
        })
      )
      yield* (yield* Greet.queue({ name: "b" })).await
      yield* quiet
      assert.strictEqual(names.length, 1)
    })
  )

  rule("a stream gives the events of the states, the task or the run that it was asked for", () =>
    Effect.gen(function* () {
      const collect = (options: TaskEvents.Options, count: number) =>
        TaskEvents.stream(options).pipe(
          Stream.take(count),
          Stream.runCollect,
          Effect.map((events) => Array.from(events, ({ run, state }) => [run.task, state])),
          Effect.fork
        )
      const byState = yield* collect({ states: ["init", "success"] }, 4)
      const byTask = yield* collect({ task: "Flaky" }, 4)
      yield* quiet
      yield* serve(TaskGroup.make(Greet, Flaky), { Greet: () => Effect.void, Flaky: failing })
      yield* Greet.queueAndWait({ name: "a" })
      yield* Flaky.queueAndWait({ failures: 0 })
      assert.deepStrictEqual(yield* Fiber.join(byState), [
        ["Greet", "init"],
        ["Greet", "success"],
        ["Flaky", "init"],
        ["Flaky", "success"]
      ])
      assert.deepStrictEqual(
        yield* Fiber.join(byTask),
        ["init", "queued", "running", "success"].map((state) => ["Flaky", state])
      )
    })
  )

  rule("the events of a handle are those of its run, and stop with its end", () =>
    Effect.gen(function* () {
      const run = yield* Flaky.queue({ failures: 1 })
      const other = yield* Flaky.queue({ failures: 0 })
      const collecting = yield* Effect.fork(Stream.runCollect(run.events))
      yield* quiet
      yield* serve(TaskGroup.make(Flaky), { Flaky: failing }, { maxConcurrentTasks: 1 })
      yield* other.await
      const events = yield* Fiber.join(collecting)
      assert.deepStrictEqual(statesOf(Array.from(events), run.id), ["running", "queued", "running", "success"])
      assert.strictEqual(events.length, 4)
    })
  )

  rule("the events of a handle stop with the end also when another process performs the run, or has done so", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const run = yield* Greet.queue({ name: "a" })
      const collecting = yield* Effect.fork(Stream.runCollect(run.events))
      yield* quiet
      yield* other.run(serve(TaskGroup.make(Greet), { Greet: () => Effect.void }))
      const states = (events: Iterable<TaskEvent.TaskEvent>) => Array.from(events, ({ state }) => state)
      assert.deepStrictEqual(states(yield* Fiber.join(collecting)), ["success"])
      assert.deepStrictEqual(states(yield* Stream.runCollect(run.events)), ["success"])
    })
  )

  rule("a cancelled run tells what it was before", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const queued = yield* Greet.queue({ name: "a" })
      const scheduled = yield* Greet.queue({ name: "a" }, { delay: "1 hour" })
      yield* queued.cancel("why")
      yield* scheduled.cancel("why")
      yield* eventsBecome(events, queued, "init", "queued", "cancelled")
      yield* eventsBecome(events, scheduled, "init", "scheduled", "cancelled")
      assert.deepStrictEqual(
        events.filter(({ state }) => state === "cancelled").map(({ previous, run }) => [previous, run.outcome]),
        [
          ["queued", { _tag: "Cancelled", reason: "why" }],
          ["scheduled", { _tag: "Cancelled", reason: "why" }]
        ]
      )
    })
  )

  rule("observers see every event and line, a failing one harms nobody, and all are served before the end", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const observers: ReadonlyArray<TaskLogger.Observer> = [
        { name: "failing", onEvent: () => Effect.die("failed"), onLine: () => Effect.fail("failed") },
        {
          name: "slow",
          minLevel: LogLevel.Warning,
          onEvent: ({ state }) =>
            Effect.zipRight(
              Deferred.await(gate),
              Effect.sync(() => seen.push(state))
            ),
          onLine: ({ message }) =>
            Effect.zipRight(
              Effect.yieldNow(),
              Effect.sync(() => seen.push(message))
            )
        }
      ]
      const process = yield* openProcessWith({ observers })
      yield* process.run(
        serve(TaskGroup.make(Greet), {
          Greet: () => Effect.zipRight(Effect.log("not shown"), Effect.logError("shown"))
        })
      )
      yield* process.run(Greet.queueAndWait({ name: "a" }))
      const closing = yield* Effect.fork(process.close)
      yield* quiet
      assert.deepStrictEqual(seen, [])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seen, ["init", "queued", "running", "shown", "success"])
    })
  )

  rule("what an event tells of is already in the record", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const found: Array<unknown> = []
      for (const state of ["queued", "success"] as const) {
        yield* TaskEvents.on(state, ({ run }) =>
          Effect.map(store.get([run.id]), ([record]) => found.push([state, Option.map(record!, ({ state }) => state)]))
        )
      }
      const run = yield* Greet.queue({ name: "a" })
      yield* eventuallySync(() => assert.deepStrictEqual(found, [["queued", Option.some("queued")]]))
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      yield* becomes(run, "success")
      yield* eventuallySync(() => assert.deepStrictEqual(found[1], ["success", Option.some("success")]))
    })
  )
}

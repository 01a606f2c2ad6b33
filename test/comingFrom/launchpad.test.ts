/* What people know from Launchpad's task sources and consumers, row by row as `docs/coming-from.md` lists it. */
import { assert, describe, it } from "@effect/vitest"
import { Task, TaskConsumer, TaskGroup, TaskSource, TaskTest } from "@effect-tasks/core"
import { Cause, Clock, Effect, Fiber, HashMap, Logger, LogLevel, Option, TestClock } from "effect"
import { consuming, held, manual, settle } from "../fixtures/sources.js"
import { kit } from "./setup.js"

const Branch = Task.make("Branch")

describe("a drain of durable runs", () => {
  it.effect("drain with a worker_limit", () =>
    Effect.gen(function* () {
      // the durable form of a run that ends when its source is dry: it performs all that waits, two at a time, and ends
      yield* Effect.replicateEffect(Branch.queue(), 5)
      yield* Branch.queue(undefined, { delay: "1 day" })
      const draining = yield* Effect.fork(Effect.flatMap(TaskConsumer.TaskConsumer, ({ drain }) => drain))
      yield* TaskTest.advance("1 minute")
      const { ended, givenBack } = yield* Fiber.join(draining)
      assert.deepStrictEqual([ended, givenBack], [{ success: 5 }, []])
      const runs = yield* TaskTest.ended(Branch)
      assert.deepStrictEqual(
        runs.map(({ endedAt }) => endedAt),
        [10_000, 10_000, 20_000, 20_000, 30_000]
      )
      assert.strictEqual(yield* Clock.currentTimeMillis, 60_000)
    }).pipe(
      Effect.provide(
        kit(
          TaskGroup.make(Branch),
          { Branch: () => Effect.sleep("10 seconds") },
          { maxConcurrentTasks: 2, prefetch: 0 }
        )
      )
    )
  )
})

/** A polling source that is asked every ten seconds, and how often it was. */
const polled = <P extends TaskSource.Produced, E>(produce: (poll: number) => Effect.Effect<P, E>) => {
  const count = { polls: 0 }
  const source = TaskSource.polling({ interval: "10 seconds", produce: Effect.suspend(() => produce(++count.polls)) })
  return { count, source }
}

describe("ParallelLimitedTaskConsumer", () => {
  it.effect("ParallelLimitedTaskConsumer(worker_limit, logger)", () =>
    Effect.gen(function* () {
      const { endOne, running, task } = yield* held
      const { count, source } = polled(() => Effect.succeed(task))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      yield* Effect.fork(consumer.consume(source))
      yield* TestClock.adjust("100 seconds")
      // two are started, and then nobody asks for a third
      assert.deepStrictEqual([running.begun, count.polls], [2, 2])
      yield* endOne
      assert.deepStrictEqual([running.begun, running.most], [3, 2])
      const error = yield* Effect.flip(TaskSource.parallelLimitedConsumer({ workerLimit: 0 }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "workerLimit" })
    })
  )

  it.effect("consume(task_source)", () =>
    Effect.gen(function* () {
      const { count, source } = polled((poll) => Effect.succeed(poll <= 5 ? Effect.void : undefined))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const report = yield* consumer.consume(source)
      // five tasks that take no time, and the poll that finds none; no time has passed
      assert.deepStrictEqual([count.polls, yield* Clock.currentTimeMillis], [6, 0])
      assert.deepInclude(report, { started: 5, succeeded: 5, failed: 0, productionsFailed: 0 })
    })
  )

  it.effect("taskStarted(task)", () =>
    Effect.gen(function* () {
      const { calls, consumer, offer } = yield* consuming({ workerLimit: 2 })
      const { running, task } = yield* held
      yield* offer(task)
      assert.deepStrictEqual([running.now, calls], [1, ["start", "start"]])
      yield* offer(task)
      assert.deepStrictEqual([running.now, calls], [2, ["start", "start", "stop"]])
      yield* consumer.taskStarted(task) // beside the source, also past the limit
      yield* settle
      assert.strictEqual(running.now, 3)
    })
  )

  it.effect("noTasksFound()", () =>
    Effect.gen(function* () {
      const { calls, empty, fiber, isDone, offer } = yield* consuming()
      const { endOne, task } = yield* held
      yield* offer(task)
      yield* empty
      assert.deepStrictEqual([yield* isDone, calls], [false, ["start", "start"]]) // a task runs: it asks on
      yield* endOne
      yield* empty
      assert.strictEqual((yield* Fiber.join(fiber)).succeeded, 1)
    })
  )

  it.effect("taskProductionFailed(reason)", () =>
    Effect.gen(function* () {
      const { calls, fail, fiber, isDone, offer } = yield* consuming()
      const { endOne, task } = yield* held
      yield* offer(task)
      yield* fail
      assert.deepStrictEqual([yield* isDone, calls], [false, ["start", "start", "stop"]])
      yield* endOne
      assert.deepStrictEqual(calls, ["start", "start", "stop", "start"])
      yield* fail // now nothing runs
      assert.deepStrictEqual((yield* Fiber.join(fiber)).productionFailures.map(Cause.squash), ["broken", "broken"])
    })
  )

  it.effect("_taskEnded(ignored)", () =>
    Effect.gen(function* () {
      const { calls, offer } = yield* consuming({ workerLimit: 1 })
      const { endOne, task } = yield* held
      yield* offer(task)
      yield* offer(task)
      calls.length = 0
      yield* endOne
      assert.deepStrictEqual(calls, []) // one more than allowed has ended: no place is free yet
      yield* endOne
      assert.deepStrictEqual(calls, ["start"])
    })
  )

  it.effect("_stop()", () =>
    Effect.gen(function* () {
      const restarted = yield* consuming({}, manual(Effect.succeed(false)))
      yield* restarted.empty
      assert.isFalse(yield* restarted.isDone) // the source says that it was started again meanwhile
      const stopped = yield* consuming({}, manual(Effect.succeed(true)))
      yield* stopped.empty
      assert.isTrue(yield* stopped.isDone)
    })
  )

  it.effect("_log_state(method, action)", () =>
    Effect.gen(function* () {
      const lines: Array<readonly [consumer: unknown, running: unknown]> = []
      const logger = Logger.make<unknown, void>(({ annotations, logLevel }) => {
        const of = (key: string) => Option.getOrUndefined(HashMap.get(annotations, key))
        if (logLevel === LogLevel.Warning) {
          lines.push([of("consumer"), of("running")])
        }
      })
      yield* Effect.gen(function* () {
        const { fail, offer } = yield* consuming({ name: "mirrors" })
        yield* offer(Effect.never)
        yield* offer(Effect.fail("no"))
        yield* fail
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      assert.deepStrictEqual(lines, [
        ["mirrors", 1],
        ["mirrors", 1]
      ])
    })
  )

  it.effect("AlreadyRunningError", () =>
    Effect.gen(function* () {
      const { consumer, source } = yield* consuming({ name: "mirrors" })
      assert.deepInclude(yield* Effect.flip(consumer.consume(source)), { _tag: "AlreadyRunning", name: "mirrors" })
    })
  )

  it.effect("NotRunningError", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2, name: "mirrors" })
      const calls = [
        consumer.taskStarted(Effect.void),
        consumer.noTasksFound,
        consumer.taskProductionFailed(Cause.empty)
      ]
      for (const call of calls) {
        assert.deepInclude(yield* Effect.flip(call), { _tag: "NotRunning", name: "mirrors" })
      }
    })
  )
})

describe("PollingTaskSource", () => {
  it.effect("PollingTaskSource(interval, task_producer, clock, logger)", () =>
    Effect.gen(function* () {
      const { endOne, task } = yield* held
      // a task, then nothing: while the task runs, it is asked at each interval
      const { count, source } = polled((poll) => Effect.succeed(poll === 1 ? Option.some(task) : Option.none()))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const fiber = yield* Effect.fork(consumer.consume(source))
      yield* settle
      assert.strictEqual(count.polls, 2)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(count.polls, 5)
      yield* endOne
      assert.strictEqual((yield* Fiber.join(fiber)).succeeded, 1)
    })
  )

  it.scoped("ITaskSource.start(consumer)", () =>
    Effect.gen(function* () {
      const { count, source } = polled(() => Effect.succeed(undefined))
      const heard: Array<string> = []
      const sink = (name: string): TaskSource.Sink<never, never> => ({
        taskStarted: () => Effect.void,
        noTasksFound: Effect.sync(() => heard.push(name)),
        taskProductionFailed: () => Effect.void
      })
      const opened = yield* source.open
      yield* opened.start(sink("first"))
      yield* TestClock.adjust("14 seconds")
      assert.deepStrictEqual(heard, ["first", "first"])
      yield* opened.start(sink("second")) // asks at once, and counts its interval from now on
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(heard, ["first", "first", "second", "second"])
      assert.strictEqual(count.polls, 4)
    })
  )

  it.scoped("ITaskSource.stop()", () =>
    Effect.gen(function* () {
      const gate = yield* Effect.makeSemaphore(0)
      const { count, source } = polled(() => Effect.as(gate.take(1), undefined))
      const sink: TaskSource.Sink<never, never> = {
        taskStarted: () => Effect.void,
        noTasksFound: Effect.void,
        taskProductionFailed: () => Effect.void
      }
      const opened = yield* source.open
      assert.isTrue(yield* opened.stop) // it was not started yet
      yield* opened.start(sink)
      yield* settle
      const stopping = yield* Effect.fork(opened.stop) // waits for the poll under way
      yield* settle
      yield* opened.start(sink)
      yield* gate.release(1)
      assert.isFalse(yield* Fiber.join(stopping)) // it was started again meanwhile
      yield* gate.release(1)
      yield* settle
      assert.isTrue(yield* opened.stop)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(count.polls, 2)
    })
  )
})

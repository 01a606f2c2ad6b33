/* Sources and their consumer, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { SubscriptionError, TaskError, TaskSource } from "@effect-tasks/core"
import {
  Cause,
  Chunk,
  Deferred,
  Effect,
  Exit,
  FastCheck,
  Fiber,
  Option,
  Ref,
  Schedule,
  Scope,
  Stream,
  TestClock
} from "effect"
import { consuming, held, isDone, manual, settle } from "./fixtures/sources.js"

type Heard = "task" | "none" | "failed"

/** A sink that notes what it hears. */
const recorder = (heard: Array<Heard> = []) => {
  const note = (what: Heard) =>
    Effect.sync(() => {
      heard.push(what)
    })
  const sink: TaskSource.Sink<unknown, unknown> = {
    taskStarted: () => note("task"),
    noTasksFound: note("none"),
    taskProductionFailed: () => note("failed")
  }
  return { heard, sink }
}

/** A source that asks an effect every ten seconds, opened, with a count of how often it has asked. */
const open = <P extends TaskSource.Produced, E>(
  produce: Effect.Effect<P, E>,
  options: { readonly backoff?: Schedule.Schedule<unknown, E> } = {}
) =>
  Effect.gen(function* () {
    const polls = yield* Ref.make(0)
    const source = yield* TaskSource.polling({
      interval: "10 seconds",
      produce: Effect.zipRight(
        Ref.update(polls, (n) => n + 1),
        produce
      ),
      ...options
    }).open
    return { source, polls: Ref.get(polls) }
  })

/** A producer whose polls take until the gate lets them through. */
const gated = Effect.gen(function* () {
  const gate = yield* Effect.makeSemaphore(0)
  const opened = yield* open(Effect.as(gate.take(1), Effect.void))
  return { ...opened, release: gate.release(1) }
})

const nothing = Effect.succeed(undefined)

describe("a polling source", () => {
  it.scoped("polls at once when it is started, and not before", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 0)
      yield* source.start(recorder().sink)
      yield* settle
      assert.strictEqual(yield* polls, 1)
    })
  )

  it.scoped("polls each interval", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      yield* source.start(recorder().sink)
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(yield* polls, 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* polls, 2)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 8)
    })
  )

  it.scoped("polls no more once it is stopped; stop says true at once when it is idle", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      yield* source.start(recorder().sink)
      yield* settle
      assert.isTrue(yield* source.stop)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 1)
    })
  )

  it.scoped("may be stopped before it was started, and twice", () =>
    Effect.gen(function* () {
      const { source } = yield* open(nothing)
      assert.isTrue(yield* source.stop)
      yield* source.start(recorder().sink)
      assert.isTrue(yield* source.stop)
      assert.isTrue(yield* source.stop)
    })
  )

  it.scoped("polls at once when it is started again, and counts the interval from then", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      const { sink } = recorder()
      yield* source.start(sink)
      yield* TestClock.adjust("4 seconds")
      yield* source.start(sink)
      yield* settle
      assert.strictEqual(yield* polls, 2)
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(yield* polls, 2)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* polls, 3)
    })
  )

  it.scoped("tells the sink that it was started with last", () =>
    Effect.gen(function* () {
      const { source } = yield* open(nothing)
      const first = recorder()
      const second = recorder()
      yield* source.start(first.sink)
      yield* settle
      yield* source.start(second.sink)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([first.heard, second.heard], [["none"], ["none", "none"]])
    })
  )

  for (const [what, produced, heard] of [
    ["undefined", undefined, "none"],
    ["null", null, "none"],
    ["none", Option.none(), "none"],
    ["a task", Effect.void, "task"],
    ["some task", Option.some(Effect.void), "task"]
  ] as const) {
    it.scoped(`takes ${what} of its producer for what it is`, () =>
      Effect.gen(function* () {
        const { source } = yield* open(Effect.succeed(produced))
        const told = recorder()
        yield* source.start(told.sink)
        yield* settle
        assert.deepStrictEqual(told.heard, [heard])
      })
    )
  }

  it.scoped("asks a slow producer once at a time, and goes on with the next point of its grid", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(Effect.zipRight(Effect.sleep("25 seconds"), nothing))
      yield* source.start(recorder().sink)
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(yield* polls, 1)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(yield* polls, 2)
    })
  )

  it.scoped("stop waits for the poll under way, which may still find a task", () =>
    Effect.gen(function* () {
      const { release, source } = yield* gated
      const { heard, sink } = recorder()
      yield* source.start(sink)
      yield* settle
      const stop = yield* Effect.fork(source.stop)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Option.isNone(yield* Fiber.poll(stop)))
      yield* release
      assert.isTrue(yield* Fiber.join(stop))
      assert.deepStrictEqual(heard, ["task"])
    })
  )

  it.scoped("stop says false when it was started again meanwhile", () =>
    Effect.gen(function* () {
      const { polls, release, source } = yield* gated
      const { sink } = recorder()
      yield* source.start(sink)
      yield* settle
      const stop = yield* Effect.fork(source.stop)
      yield* settle
      yield* source.start(sink)
      yield* release
      assert.isFalse(yield* Fiber.join(stop))
      yield* settle
      assert.strictEqual(yield* polls, 2)
    })
  )

  it.scoped("stopped, started and stopped during a poll, it does not poll again", () =>
    Effect.gen(function* () {
      const { polls, release, source } = yield* gated
      const { sink } = recorder()
      yield* source.start(sink)
      yield* settle
      const first = yield* Effect.fork(source.stop)
      yield* settle
      yield* source.start(sink)
      const second = yield* Effect.fork(source.stop)
      yield* settle
      yield* release
      assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(second)], [true, true])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 1)
    })
  )

  it.scoped("a sink's task does not delay the next poll", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(Effect.succeed(Effect.never))
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 100 })
      yield* Effect.fork(consumer.consume(TaskSource.make(Effect.succeed(source))))
      yield* settle
      assert.strictEqual(yield* polls, 100)
    })
  )

  for (const [how, end] of [
    ["fails", Effect.fail("no")],
    ["dies", Effect.die("no")]
  ] as const) {
    it.scoped(`tells when its producer ${how}, and goes on by itself`, () =>
      Effect.gen(function* () {
        const { source } = yield* open(end)
        const { heard, sink } = recorder()
        yield* source.start(sink)
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(heard, ["failed", "failed", "failed"])
      })
    )
  }

  it.scoped("goes on when its sink dies", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      yield* source.start({ ...recorder().sink, noTasksFound: Effect.die("a bug") })
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(yield* polls, 3)
    })
  )

  it.scoped("stops when its sink is not running any more", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(nothing)
      yield* source.start({ ...recorder().sink, noTasksFound: new SubscriptionError.NotRunning({ name: "gone" }) })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 1)
    })
  )

  it.scoped("started many times during a slow poll, it makes one poll more, not a burst", () =>
    Effect.gen(function* () {
      const { polls, release, source } = yield* gated
      const first = recorder()
      const last = recorder()
      yield* source.start(first.sink)
      yield* settle
      yield* Effect.repeatN(source.start(first.sink), 9)
      yield* source.start(last.sink)
      yield* release
      yield* settle
      assert.strictEqual(yield* polls, 2)
      yield* release
      yield* settle
      assert.strictEqual(yield* polls, 2)
      assert.deepStrictEqual([first.heard, last.heard], [[], ["task", "task"]])
    })
  )

  it.scoped("backs off while its producer fails, and tells only when the schedule is done", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(Effect.fail("no"), {
        backoff: Schedule.exponential("1 second").pipe(Schedule.intersect(Schedule.recurs(3)))
      })
      const { heard, sink } = recorder()
      yield* source.start(sink)
      yield* TestClock.adjust("2999 millis")
      assert.strictEqual(yield* polls, 2)
      yield* TestClock.adjust("4000 millis")
      assert.strictEqual(yield* polls, 3)
      assert.deepStrictEqual(heard, [])
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* polls, 4)
      assert.deepStrictEqual(heard, ["failed"])
    })
  )

  it.scoped("a stop cuts its back-off short, and tells of the failure", () =>
    Effect.gen(function* () {
      const { source } = yield* open(Effect.fail("no"), { backoff: Schedule.spaced("1 hour") })
      const { heard, sink } = recorder()
      yield* source.start(sink)
      yield* settle
      assert.isTrue(yield* source.stop)
      assert.deepStrictEqual(heard, ["failed"])
    })
  )

  it.scoped("a start cuts its back-off short, and asks again", () =>
    Effect.gen(function* () {
      const { polls, source } = yield* open(Effect.fail("no"), { backoff: Schedule.spaced("1 hour") })
      const { heard, sink } = recorder()
      yield* source.start(sink)
      yield* settle
      yield* source.start(sink)
      yield* settle
      assert.strictEqual(yield* polls, 2)
      assert.deepStrictEqual(heard, [])
    })
  )

  it.effect("ends with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { polls, source } = yield* Scope.extend(open(nothing), scope)
      yield* source.start(recorder().sink)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* polls, 1)
    })
  )
})

describe("the rules of parallelLimitedConsumer", () => {
  it.effect("1: consume starts the source; a second call meanwhile is AlreadyRunning", () =>
    Effect.gen(function* () {
      const { calls, consumer, isDone, source } = yield* consuming({ name: "mirrors" })
      assert.deepStrictEqual(calls, ["start"])
      assert.isFalse(yield* isDone)
      const error = yield* Effect.flip(consumer.consume(source))
      assert.instanceOf(error, SubscriptionError.AlreadyRunning)
      assert.include(error.message, "mirrors")
      assert.deepStrictEqual(calls, ["start"])
    })
  )

  it.effect("1, without its defect: it can be used again after the end, and the reports are apart", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const reports = yield* Effect.forEach([1, 3], (n) =>
        consumer.consume(TaskSource.fromStream(Stream.repeatValue(Effect.void).pipe(Stream.take(n))))
      )
      assert.deepStrictEqual(
        reports.map(({ started }) => started),
        [1, 3]
      )
    })
  )

  it.effect("2: a task is run, and the source is started again below the limit", () =>
    Effect.gen(function* () {
      const { calls, offer } = yield* consuming()
      const { running, task } = yield* held
      yield* offer(task)
      assert.deepStrictEqual(running, { now: 1, most: 1, begun: 1 })
      assert.deepStrictEqual(calls, ["start", "start"])
    })
  )

  it.effect("2: at the limit the source is stopped once, past it once more, and the task is run all the same", () =>
    Effect.gen(function* () {
      const { calls, offer } = yield* consuming()
      const { running, task } = yield* held
      yield* offer(task)
      yield* offer(task)
      assert.deepStrictEqual(calls, ["start", "start", "stop"])
      yield* offer(task)
      assert.deepStrictEqual(calls, ["start", "start", "stop", "stop"])
      assert.deepStrictEqual(running, { now: 3, most: 3, begun: 3 })
    })
  )

  it.effect("2: a task that fails or dies does not end the run", () =>
    Effect.gen(function* () {
      const { empty, fiber, isDone, offer } = yield* consuming()
      yield* offer(Effect.fail("no"))
      yield* offer(Effect.die("bug"))
      assert.isFalse(yield* isDone)
      yield* empty
      const { failed, failures } = yield* Fiber.join(fiber)
      assert.strictEqual(failed, 2)
      assert.deepStrictEqual(failures.map(Cause.squash), ["no", "bug"])
    })
  )

  it.effect("3: it waits for the source to be stopped", () =>
    Effect.gen(function* () {
      const stopped = yield* Deferred.make<boolean>()
      const { empty, isDone } = yield* consuming({}, manual(Deferred.await(stopped)))
      yield* empty
      assert.isFalse(yield* isDone)
      yield* Deferred.succeed(stopped, true)
      yield* settle
      assert.isTrue(yield* isDone)
    })
  )

  it.effect("3: a source that says false, for it was started again, keeps it running", () =>
    Effect.gen(function* () {
      const { empty, isDone } = yield* consuming({}, manual(Effect.succeed(false)))
      yield* empty
      assert.isFalse(yield* isDone)
    })
  )

  it.effect("3: a task that comes while the source is being stopped keeps it running", () =>
    Effect.gen(function* () {
      const stopped = yield* Deferred.make<boolean>()
      const { empty, isDone, offer } = yield* consuming({}, manual(Deferred.await(stopped)))
      const { running, task } = yield* held
      yield* empty
      yield* offer(task)
      yield* Deferred.succeed(stopped, true)
      yield* settle
      assert.isFalse(yield* isDone)
      assert.strictEqual(running.now, 1)
    })
  )

  it.effect("4: it ends when there is nothing and nothing runs", () =>
    Effect.gen(function* () {
      const { calls, empty, fiber } = yield* consuming()
      yield* empty
      assert.strictEqual((yield* Fiber.join(fiber)).started, 0)
      assert.deepStrictEqual(calls, ["start", "stop"])
    })
  )

  it.effect("4: while a task runs, nothing found neither ends it nor stops the source", () =>
    Effect.gen(function* () {
      const { calls, empty, isDone, offer } = yield* consuming()
      const { task } = yield* held
      yield* offer(task)
      yield* empty
      assert.isFalse(yield* isDone)
      assert.deepStrictEqual(calls, ["start", "start"])
    })
  )

  it.effect("5: a failed production stops the source, and with nothing running ends the run", () =>
    Effect.gen(function* () {
      const { calls, fail, fiber } = yield* consuming()
      yield* fail
      const { productionFailures, productionsFailed } = yield* Fiber.join(fiber)
      assert.strictEqual(productionsFailed, 1)
      assert.deepStrictEqual(productionFailures.map(Cause.squash), ["broken"])
      assert.deepStrictEqual(calls, ["start", "stop"])
    })
  )

  it.effect("5: with a task running it does not end, and the end of the task starts the source again", () =>
    Effect.gen(function* () {
      const { calls, fail, isDone, offer } = yield* consuming()
      const { endOne, task } = yield* held
      yield* offer(task)
      yield* fail
      assert.isFalse(yield* isDone)
      assert.deepStrictEqual(calls, ["start", "start", "stop"])
      yield* endOne
      assert.isFalse(yield* isDone)
      assert.deepStrictEqual(calls, ["start", "start", "stop", "start"])
    })
  )

  it.effect("5: with a task running there are no polls after a failure until it ends", () =>
    Effect.gen(function* () {
      let polls = 0
      const { endOne, task } = yield* held
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const fiber = yield* Effect.fork(
        consumer.consume(
          TaskSource.polling({
            interval: "1 second",
            produce: Effect.suspend(() => (++polls === 1 ? Effect.succeed(task) : Effect.fail("no")))
          })
        )
      )
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual(polls, 2)
      yield* endOne
      const { productionsFailed, started } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([polls, started, productionsFailed], [3, 1, 2])
    })
  )

  it.effect("6: when a place becomes free the source is started; past the limit it is not", () =>
    Effect.gen(function* () {
      const { calls, offer } = yield* consuming()
      const { endOne, task } = yield* held
      yield* offer(task)
      yield* offer(task)
      yield* offer(task)
      calls.length = 0
      yield* endOne
      assert.deepStrictEqual(calls, [])
      yield* endOne
      assert.deepStrictEqual(calls, ["start"])
    })
  )

  it.effect("6: when all tasks have ended the source is started once more, and not stopped", () =>
    Effect.gen(function* () {
      const { calls, isDone, offer } = yield* consuming()
      yield* offer(Effect.void)
      assert.deepStrictEqual(calls, ["start", "start", "start"])
      assert.isFalse(yield* isDone)
    })
  )

  it.effect("7 to 9: five tasks that take no time need six polls, and no time", () => counted(2, 5, 6))

  it.effect("with a limit of one, three tasks need four polls", () => counted(1, 3, 4))

  it.effect("10: an error of a production is told of, and the source goes on by itself while a task runs", () =>
    Effect.gen(function* () {
      let polls = 0
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 3, daemon: true })
      yield* Effect.fork(
        consumer.consume(
          TaskSource.polling({ interval: "1 second", produce: Effect.suspend(() => Effect.fail(++polls)) })
        )
      )
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(polls, 6)
    })
  )

  it.effect("with a limit of two and tasks without end, two are started; the end of one starts one more", () =>
    Effect.gen(function* () {
      let polls = 0
      const { endOne, running, task } = yield* held
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      yield* Effect.fork(
        consumer.consume(
          TaskSource.polling({
            interval: "1 second",
            produce: Effect.sync(() => {
              polls++
              return task
            })
          })
        )
      )
      yield* TestClock.adjust("100 seconds")
      assert.deepStrictEqual([polls, running.begun], [2, 2])
      yield* endOne
      yield* TestClock.adjust("100 seconds")
      assert.deepStrictEqual([polls, running.begun, running.most], [3, 3, 2])
    })
  )

  it.effect("before consume, and after its end, it is not running", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const calls = [
        consumer.taskStarted(Effect.void),
        consumer.noTasksFound,
        consumer.taskProductionFailed(Cause.die("no"))
      ]
      const refused = Effect.forEach(calls, (call) => Effect.map(Effect.flip(call), ({ _tag }) => _tag))
      assert.deepStrictEqual(yield* refused, ["NotRunning", "NotRunning", "NotRunning"])
      yield* consumer.consume(TaskSource.fromStream(Stream.empty))
      assert.deepStrictEqual(yield* refused, ["NotRunning", "NotRunning", "NotRunning"])
    })
  )

  it.effect("a source that still holds on to an ended consumption is told that it is not running", () =>
    Effect.gen(function* () {
      const { empty, fiber, offer } = yield* consuming()
      yield* empty
      yield* Fiber.join(fiber)
      assert.instanceOf(yield* Effect.flip(offer(Effect.void)), SubscriptionError.NotRunning)
    })
  )
})

/** Runs so many tasks that take no time, and counts the polls. */
const counted = (workerLimit: number, tasks: number, expected: number) =>
  Effect.gen(function* () {
    let polls = 0
    let left = tasks
    const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit })
    const report = yield* consumer.consume(
      TaskSource.polling({
        interval: "1 hour",
        produce: Effect.sync(() => {
          polls++
          return left-- > 0 ? Option.some(Effect.void) : Option.none()
        })
      })
    )
    assert.deepStrictEqual([polls, report.started, report.succeeded], [expected, tasks, tasks])
  })

describe("parallelLimitedConsumer, beyond the rules", () => {
  it.effect("interrupting consume stops the source and the tasks, and their finalizers run", () =>
    Effect.gen(function* () {
      let polls = 0
      const { running, task } = yield* held
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 3 })
      const source = TaskSource.polling({
        interval: "1 second",
        produce: Effect.sync(() => (++polls > 2 ? undefined : task))
      })
      const fiber = yield* Effect.fork(consumer.consume(source))
      yield* settle
      assert.strictEqual(running.now, 2)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(running.now, 0)
      const before = polls
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(polls, before)
      assert.strictEqual((yield* consumer.consume(TaskSource.fromStream(Stream.make(Effect.void)))).started, 1)
    })
  )

  it.effect("stop takes no more tasks, lets those under way finish, and the report tells of them", () =>
    Effect.gen(function* () {
      const { endOne, running, task } = yield* held
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2 })
      const fiber = yield* Effect.fork(
        consumer.consume(TaskSource.polling({ interval: "1 second", produce: Effect.succeed(task) }))
      )
      yield* settle
      yield* consumer.stop
      yield* endOne
      yield* TestClock.adjust("1 minute")
      assert.isFalse(yield* isDone(fiber))
      yield* endOne
      const { started, succeeded } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([started, succeeded, running.begun], [2, 2, 2])
    })
  )

  it.effect("a task that takes longer than the timeout is interrupted, and fails", () =>
    Effect.gen(function* () {
      const { running, task } = yield* held
      const fiber = yield* Effect.fork(
        TaskSource.drain({ workerLimit: 2, timeout: "1 minute" })(Stream.make(task, Effect.sleep("59 seconds")))
      )
      yield* TestClock.adjust("1 minute")
      const { failures, succeeded } = yield* Fiber.join(fiber)
      assert.strictEqual(succeeded, 1)
      assert.isTrue(Cause.isTimeoutException(Cause.squash(failures[0]!)))
      assert.strictEqual(running.now, 0)
    })
  )

  it.effect("overLimit wait: what comes when no place is free waits for one", () =>
    Effect.gen(function* () {
      const { empty, fiber, offer } = yield* consuming({ overLimit: "wait" })
      const { endOne, running, task } = yield* held
      yield* Effect.repeatN(offer(task), 4)
      assert.deepStrictEqual([running.begun, running.now], [2, 2])
      yield* Effect.repeatN(endOne, 4)
      yield* empty
      assert.strictEqual((yield* Fiber.join(fiber)).succeeded, 5)
      assert.strictEqual(running.most, 2)
    })
  )

  it.effect("a daemon goes on when the source is dry or fails, until it is stopped", () =>
    Effect.gen(function* () {
      let polls = 0
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 2, daemon: true })
      const produce = Effect.suspend(() => {
        polls++
        return polls === 3 ? Effect.fail("no") : Effect.succeed(polls % 5 === 0 ? Effect.void : undefined)
      })
      const fiber = yield* Effect.fork(consumer.consume(TaskSource.polling({ interval: "1 second", produce })))
      yield* TestClock.adjust("1 minute")
      assert.isFalse(yield* isDone(fiber))
      yield* consumer.stop
      const { productionsFailed, started } = yield* Fiber.join(fiber)
      assert.isAbove(started, 10)
      assert.strictEqual(productionsFailed, 1)
    })
  )

  it.effect("keeps only so many causes, but counts all", () =>
    Effect.gen(function* () {
      const { failed, failures } = yield* Stream.make(1, 2, 3, 4).pipe(
        Stream.map(Effect.fail),
        TaskSource.drain({ workerLimit: 1, keepFailures: 2 })
      )
      assert.strictEqual(failed, 4)
      assert.deepStrictEqual(failures.map(Cause.squash), [1, 2])
    })
  )

  for (const [what, options] of [
    ["workerLimit", { workerLimit: 0 }],
    ["workerLimit", { workerLimit: 1.5 }],
    ["timeout", { workerLimit: 1, timeout: 0 }],
    ["keepFailures", { workerLimit: 1, keepFailures: -1 }]
  ] as const) {
    it.effect(`refuses ${JSON.stringify(options)}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(TaskSource.parallelLimitedConsumer(options))
        assert.strictEqual(error.option, what)
      })
    )
  }

  it.effect("refuses an interval of nought", () =>
    Effect.gen(function* () {
      const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit: 1 })
      const refused = yield* Effect.flip(consumer.consume(TaskSource.polling({ interval: 0, produce: nothing })))
      assert.instanceOf(refused, TaskError.InvalidOption)
      // and the consumer is free again
      assert.strictEqual((yield* consumer.consume(TaskSource.fromStream(Stream.empty))).started, 0)
    })
  )
})

describe("sources and streams", () => {
  it.effect("drain runs the effects of a stream, and reads no further than it has places", () =>
    Effect.gen(function* () {
      let read = 0
      const { endOne, running, task } = yield* held
      const fiber = yield* Stream.repeatEffect(
        Effect.sync(() => {
          read++
          return task
        })
      ).pipe(Stream.take(5), TaskSource.drain({ workerLimit: 2 }), Effect.fork)
      yield* settle
      assert.deepStrictEqual([read, running.begun], [2, 2])
      yield* Effect.repeatN(endOne, 4)
      const { succeeded } = yield* Fiber.join(fiber)
      assert.deepStrictEqual([succeeded, running.most], [5, 2])
    })
  )

  it.effect("a failure of the stream stands in the report, when what it gave before has ended", () =>
    Effect.gen(function* () {
      const { productionFailures, succeeded } = yield* Stream.make(Effect.void, Effect.void).pipe(
        Stream.concat(Stream.fail("broken")),
        TaskSource.drain({ workerLimit: 1 })
      )
      assert.strictEqual(succeeded, 2)
      assert.deepStrictEqual(productionFailures.map(Cause.squash), ["broken"])
    })
  )

  it.effect("stream gives the tasks of a source, at the pace of its reader", () =>
    Effect.gen(function* () {
      let polls = 0
      const source = TaskSource.polling({
        interval: "1 second",
        produce: Effect.sync(() => (++polls <= 3 ? Effect.succeed(polls) : undefined))
      })
      const results = yield* TaskSource.stream(source).pipe(
        Stream.mapEffect((task) =>
          Effect.zipRight(
            Effect.sync(() => polls),
            task
          )
        ),
        Stream.runCollect
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(results), [1, 2, 3])
      assert.strictEqual(polls, 4)
    })
  )

  it.effect("stream fails when the source does; as a daemon it looks on", () =>
    Effect.gen(function* () {
      let polls = 0
      const source = TaskSource.polling({
        interval: "1 second",
        produce: Effect.suspend(() =>
          ++polls % 3 === 1
            ? Effect.fail("no" as const)
            : Effect.succeed(polls % 3 === 2 ? undefined : Effect.succeed(polls))
        )
      })
      assert.strictEqual(yield* Effect.flip(Stream.runCollect(TaskSource.stream(source))), "no")
      polls = 0
      const fiber = yield* TaskSource.stream(source, { daemon: true }).pipe(
        Stream.mapEffect((task) => task),
        Stream.take(2),
        Stream.runCollect,
        Effect.fork
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(fiber)), [3, 6])
    })
  )

  it.effect.prop(
    "every task of a source is run once, never more at a time than allowed, whatever they take",
    [
      FastCheck.array(FastCheck.record({ takes: FastCheck.nat(50), fails: FastCheck.boolean() }), { maxLength: 20 }),
      FastCheck.integer({ min: 1, max: 4 }),
      FastCheck.nat(20)
    ],
    ([tasks, workerLimit, slowness]) =>
      Effect.gen(function* () {
        const left = [...tasks]
        const running = { now: 0, most: 0 }
        const run = ({ fails, takes }: (typeof tasks)[number]) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              running.most = Math.max(running.most, ++running.now)
            }),
            () => Effect.zipRight(Effect.sleep(takes), fails ? Effect.fail("no") : Effect.void),
            () => Effect.sync(() => running.now--)
          )
        const consumer = yield* TaskSource.parallelLimitedConsumer({ workerLimit, overLimit: "wait" })
        const fiber = yield* Effect.fork(
          consumer.consume(
            TaskSource.polling({
              interval: 7,
              produce: Effect.as(Effect.sleep(slowness), undefined).pipe(
                Effect.map(() => Option.map(Option.fromNullable(left.shift()), run))
              )
            })
          )
        )
        yield* TestClock.adjust("1 minute")
        const { failed, started, succeeded } = yield* Fiber.join(fiber)
        const failing = tasks.filter(({ fails }) => fails).length
        assert.deepStrictEqual([started, succeeded, failed], [tasks.length, tasks.length - failing, failing])
        assert.isAtMost(running.most, workerLimit)
      }),
    { fastCheck: { numRuns: 10 } }
  )
})

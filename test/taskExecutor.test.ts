/** What the runtime makes of an executor, whatever it is: the seam, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  CurrentRun,
  Task,
  TaskConsumer,
  TaskError,
  TaskExecutor,
  TaskGroup,
  TaskManager
} from "@effect-tasks/core"
import { Arbitrary, Effect, Exit, FastCheck, Layer, Option, Ref, Schedule, Schema, Stream, TestClock } from "effect"

class Refused extends Schema.TaggedError<Refused>()("Refused", { at: Schema.Date }) {}

const Payload = Schema.Struct({ at: Schema.Date, count: Schema.NumberFromString, text: Schema.optional(Schema.String) })

const Echo = Task.make("Echo", {
  payload: Payload,
  success: Payload,
  error: Refused,
  executor: "thread",
  timeout: "10 seconds",
  retry: Schedule.spaced("1 hour").pipe(
    Schedule.intersect(Schedule.recurs(1)),
    Schedule.whileInput((failure: Task.Failure<Refused>) => failure._tag === "ExecutorCrashed")
  )
})

const group = TaskGroup.make(Echo)

const success = (text: string): typeof TaskExecutor.End.Type => ({
  _tag: "Outcome",
  outcome: { _tag: "Success", value: { at: "1970-01-01T00:00:00.000Z", count: "1", text } }
})

const payload = { at: new Date(0), count: 1 }

/** A consumer whose executor is this. */
const app = (executor: Partial<TaskExecutor.Executor> & { readonly perform?: TaskExecutor.Perform }) =>
  TaskConsumer.layer(group).pipe(
    Layer.provide(TaskExecutor.layer(group)),
    Layer.provide(
      Layer.succeed(TaskExecutor.TaskExecutor, {
        reserve: () => Effect.succeed(executor.perform ?? (() => Effect.succeed(success("")))),
        ...executor
      })
    ),
    Layer.provideMerge(TaskManager.layer),
    Layer.provideMerge(Backend.layerMemory)
  )

/** Waits until it is interrupted, and then ends so. */
const untilInterrupted = (end: typeof TaskExecutor.End.Type) =>
  Effect.matchCause(Effect.interruptible(Effect.never), { onFailure: () => end, onSuccess: () => end })

describe("an executor", () => {
  it.effect("is asked with what is encoded", () =>
    Effect.gen(function* () {
      const asked = yield* Ref.make<Option.Option<typeof TaskExecutor.Request.Type>>(Option.none())
      yield* Effect.gen(function* () {
        const run = yield* Effect.withSpan(Echo.queue(payload, { tags: ["blue"] }), "producer")
        yield* run.await
        const { logLevel, run: facts, traceparent } = Option.getOrThrow(yield* asked)
        assert.deepInclude(facts, {
          id: run.id,
          task: "Echo",
          attempt: 0,
          payload: '{"at":"1970-01-01T00:00:00.000Z","count":"1"}',
          payloadVersion: 1,
          tags: ["blue"]
        })
        assert.notProperty(facts, "ledger")
        assert.strictEqual(logLevel, "INFO")
        // the attempt's own span, in the trace of the producer
        const queued = (yield* run.poll).traceparent!
        assert.strictEqual(traceparent!.slice(0, 36), queued.slice(0, 36))
        assert.notStrictEqual(traceparent, queued)
      }).pipe(
        Effect.provide(app({ perform: (request) => Effect.as(Ref.set(asked, Option.some(request)), success("")) }))
      )
    })
  )

  it.effect("may take its time for a place: only what comes then counts towards the time limit", () =>
    Effect.gen(function* () {
      const run = yield* Echo.queue(payload)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* run.poll).state, "running")
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual((yield* run.await).text, "late")
    }).pipe(
      Effect.provide(
        app({
          reserve: () =>
            Effect.delay(
              Effect.succeed(() => Effect.delay(Effect.succeed(success("late")), "9 seconds")),
              "1 minute"
            )
        })
      )
    )
  )

  it.effect("is interrupted when the time is over", () =>
    Effect.gen(function* () {
      const run = yield* Echo.queue(payload)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Effect.flip(run.await))._tag, "TaskTimeout")
    }).pipe(Effect.provide(app({ perform: () => untilInterrupted({ _tag: "Interrupted" }) })))
  )

  it.effect("is interrupted while it waits for a place, which it gives back", () =>
    Effect.gen(function* () {
      const free = yield* Ref.make(0)
      yield* Effect.gen(function* () {
        const run = yield* Echo.queue(payload)
        yield* TestClock.adjust("1 second")
        yield* run.cancel("enough")
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Effect.flip(run.await))._tag, "TaskCancelled")
      }).pipe(
        Effect.provide(
          app({
            reserve: () =>
              Effect.zipRight(
                Effect.addFinalizer(() => Ref.update(free, (n) => n + 1)),
                Effect.never
              )
          })
        )
      )
      assert.strictEqual(yield* free, 1)
    })
  )

  it.effect("that performs a handler to its end in spite of a cancellation decides the run", () =>
    Effect.gen(function* () {
      const run = yield* Echo.queue(payload)
      yield* TestClock.adjust("1 second")
      yield* run.cancel()
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* run.await).text, "all the same")
    }).pipe(Effect.provide(app({ perform: () => untilInterrupted(success("all the same")) })))
  )

  it.effect("that cannot make a place fails the attempt, and the task's schedule decides", () =>
    Effect.gen(function* () {
      const failures = yield* Ref.make(0)
      yield* Effect.gen(function* () {
        const run = yield* Echo.queue(payload)
        yield* TestClock.adjust("1 second")
        const { attempt, attempts, state } = yield* run.poll
        assert.deepStrictEqual([state, attempt], ["scheduled", 1])
        assert.deepStrictEqual(attempts[0]!.outcome, {
          _tag: "ExecutorCrashed",
          reason: "hash.js cannot perform tasks: it is not there"
        })
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* run.await).text, "")
      }).pipe(
        Effect.provide(
          app({
            reserve: () =>
              Effect.flatMap(
                Ref.updateAndGet(failures, (n) => n + 1),
                (n) =>
                  n === 1
                    ? new TaskError.ExecutorUnavailable({ entry: "hash.js", reason: "it is not there" })
                    : Effect.succeed(() => Effect.succeed(success("")))
              )
          })
        )
      )
    })
  )

  it.effect("puts a run off, and holds its task back", () =>
    Effect.gen(function* () {
      const ends = yield* Ref.make<Array<typeof TaskExecutor.End.Type>>([
        { _tag: "Snooze", millis: 60_000 },
        { _tag: "RateLimit", millis: 60_000 }
      ])
      yield* Effect.gen(function* () {
        const run = yield* Echo.queue(payload)
        for (const snoozes of [1, 2]) {
          yield* TestClock.adjust("1 second")
          assert.deepInclude(yield* run.poll, { state: "scheduled", attempt: 0, snoozes })
          yield* TestClock.adjust("1 minute")
        }
        yield* run.await
      }).pipe(
        Effect.provide(app({ perform: () => Ref.modify(ends, ([first, ...rest]) => [first ?? success(""), rest]) }))
      )
    })
  )

  it.effect("is not asked about a run of a later version", () =>
    Effect.gen(function* () {
      const Later = Task.make("Echo", { payload: Payload, version: 2, upcasts: { 1: (payload) => payload } })
      const run = yield* Later.queue(payload)
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* run.poll, { state: "scheduled", snoozes: 1, attempt: 0 })
    }).pipe(Effect.provide(app({ reserve: () => Effect.die("asked") })))
  )

  it.effect("has no inline tasks, and no two of one name", () =>
    Effect.gen(function* () {
      const build = <Tasks extends Task.Any>(group: TaskGroup.TaskGroup<Tasks>) =>
        TaskExecutor.layer(group).pipe(
          Layer.provide(Layer.succeed(TaskExecutor.TaskExecutor, { reserve: () => Effect.never })),
          Layer.build,
          Effect.scoped,
          Effect.flip
        )
      assert.deepInclude(yield* build(TaskGroup.make(Echo, Task.make("Inline"))), {
        _tag: "InvalidOption",
        option: "executor of task Inline",
        value: "inline"
      })
      const double = yield* build(TaskGroup.make(Echo, Task.make("Echo", { executor: "process" })))
      assert.deepInclude(double, { _tag: "DuplicateTask", task: "Echo" })
    })
  )

  it.effect("is one of three", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Task.make("Odd", { executor: "fibre" as "inline" }).queue())
      assert.deepInclude(error, { _tag: "InvalidOption", option: "executor of task Odd", value: "fibre" })
    }).pipe(Effect.provide(app({})))
  )
})

/** The other side in this process; whatever goes there and comes back does so as a text. */
const overText = <A, I>(schema: Schema.Schema<A, I>, value: A): A =>
  Schema.decodeSync(Schema.parseJson(schema))(Schema.encodeSync(Schema.parseJson(schema))(value))

const there = (handlers: Layer.Layer<TaskGroup.Handler<typeof Echo>>) =>
  Layer.effect(
    TaskExecutor.TaskExecutor,
    Effect.map(
      TaskExecutor.performer(group),
      (perform): TaskExecutor.Executor => ({
        reserve: () =>
          Effect.succeed((request, report) =>
            Effect.map(
              perform(overText(TaskExecutor.Request, request), (said) => report(overText(TaskExecutor.Report, said))),
              (end) => overText(TaskExecutor.End, end)
            )
          )
      })
    )
  ).pipe(Layer.provide(handlers))

/** The exits of runs, their lines and their progress. */
const performed = (values: ReadonlyArray<typeof Payload.Type>, handlers: Layer.Layer<TaskGroup.Handler<typeof Echo>>) =>
  Effect.gen(function* () {
    const runs = yield* Echo.queueAll(values)
    const performedOf = (run: (typeof runs)[number]) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(run.await)
        const lines = yield* Stream.runCollect(run.logs)
        return {
          exit: Exit.mapError(exit, (error) => (error._tag === "TaskDefect" ? `${error.defect}` : error._tag)),
          lines: Array.from(lines, ({ annotations, level, message, seq, spans }) => {
            return { annotations, level, message, seq, spans }
          }),
          progress: (yield* run.poll).progress
        }
      })
    return yield* Effect.forEach(runs, performedOf, { concurrency: "unbounded" })
  }).pipe(
    Effect.provide(
      TaskConsumer.layer(group).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provideMerge(Backend.layerMemory)
      )
    )
  )

describe("both sides", () => {
  const EchoLive = Echo.toLayer((value) =>
    Effect.gen(function* () {
      yield* Effect.logWarning("asked for", value.count).pipe(
        Effect.annotateLogs("text", value.text ?? null),
        Effect.withLogSpan("inner")
      )
      yield* CurrentRun.progress(0.5, value.text)
      switch (Math.abs(value.count) % 5) {
        case 0:
          return yield* new Refused({ at: value.at })
        case 1:
          return yield* Effect.die(new RangeError(value.text))
        case 2:
          return yield* CurrentRun.abort("no use")
        default:
          return value
      }
    })
  )

  it.effect("make of any payload what an inline handler makes of it", () =>
    Effect.gen(function* () {
      const values = Arbitrary.make(Payload).filter(
        ({ at, count }) => Number.isFinite(count) && !Number.isNaN(at.getTime())
      )
      const sample = FastCheck.sample(values, 30)
      const remote = TaskExecutor.layer(group).pipe(Layer.provide(there(EchoLive)), Layer.orDie)
      assert.deepStrictEqual(yield* performed(sample, remote), yield* performed(sample, EchoLive))
    })
  )

  it.effect("know when the handler is missing", () =>
    Effect.gen(function* () {
      const perform = yield* TaskExecutor.performer(group)
      const end = yield* perform(
        {
          run: {
            id: "01890000-0000-7000-8000-000000000000" as never,
            task: "Unknown",
            queue: "default",
            attempt: 0,
            crashes: 0,
            consumer: null,
            createdAt: 0,
            dueAt: 0,
            startedAt: 0,
            tags: [],
            group: null,
            parentId: null,
            rootId: null,
            retryOf: null,
            payload: "",
            payloadVersion: 1
          },
          traceparent: null,
          logLevel: "INFO"
        },
        () => {}
      )
      assert.deepStrictEqual(end, {
        _tag: "Outcome",
        outcome: { _tag: "ExecutorCrashed", reason: "there is no handler of Unknown where it was to be performed" }
      })
    }).pipe(Effect.provide(EchoLive))
  )
})

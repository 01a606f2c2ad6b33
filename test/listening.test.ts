import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Task,
  TaskConsumer,
  type TaskEvent,
  TaskEvents,
  TaskGroup,
  TaskLogger,
  TaskManager,
  TaskTest
} from "@effect-tasks/core"
import { Chunk, Deferred, Effect, Layer, Logger, LogLevel, Metric, Schema, Stream, TestClock } from "effect"

const Note = Task.make("Note", { payload: { text: Schema.String } })
const Other = Task.make("Other")

const Runtime = TaskManager.layer.pipe(Layer.provideMerge(Backend.layerMemory))

const Workers = TaskConsumer.layer(TaskGroup.make(Note, Other)).pipe(
  Layer.provide([
    Note.toLayer(({ text }) => Effect.zipRight(Effect.log(text), Effect.logWarning(`${text}!`))),
    Other.toLayer(() => Effect.log("other"))
  ]),
  Layer.provideMerge(TaskTest.layer)
)

/** Queues runs that nobody performs: each tells of `init` and `queued`. */
const queueMany = (count: number) => Note.queueAll(Array.from({ length: count }, (_, i) => ({ text: `${i}` })))

const show = (item: TaskEvent.TaskEvent | TaskEvents.Lagged) =>
  item instanceof TaskEvents.Lagged ? item.missed : item.state

/** What is logged at warning level and above. */
const warnings = Effect.sync(() => {
  const messages: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) {
      messages.push(String(message))
    }
  })
  return { messages, layer: Logger.replace(Logger.defaultLogger, logger) }
})

describe("a listener that is too slow", () => {
  it.scoped("finds a marker where events are missing, that says how many", () =>
    Effect.gen(function* () {
      const pull = yield* Stream.toPull(TaskEvents.feed({ bufferSize: 3 }).pipe(Stream.rechunk(1)))
      const next = Effect.map(pull, (chunk) => show(Chunk.unsafeHead(chunk)))
      const first = yield* Effect.fork(next)
      yield* TestClock.adjust(0)
      yield* queueMany(1)
      assert.strictEqual(yield* first, "init")
      // one of four fits beside the one that waits already; two of the next six are what comes after the marker
      yield* queueMany(4)
      assert.deepStrictEqual(yield* Effect.all([next, next, next, next, next]), ["queued", "init", "queued", "init", 5])
      yield* queueMany(1)
      assert.deepStrictEqual(yield* Effect.all([next, next]), ["init", "queued"])
    }).pipe(Effect.provide(Runtime))
  )

  it.scoped("is left alone with what it misses, and a warning is logged when it begins and at the end", () =>
    Effect.gen(function* () {
      const { layer, messages } = yield* warnings
      const program = Effect.gen(function* () {
        const entered = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const seen: Array<string> = []
        const listener = yield* TaskEvents.stream({ states: ["queued"], bufferSize: 2 }).pipe(
          Stream.take(3),
          Stream.runForEach(({ state }) =>
            Effect.zipRight(
              Effect.zipRight(Deferred.succeed(entered, undefined), Deferred.await(gate)),
              Effect.sync(() => seen.push(state))
            )
          ),
          Effect.fork
        )
        yield* TestClock.adjust(0)
        yield* queueMany(1)
        yield* Deferred.await(entered)
        yield* queueMany(10)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(messages, ["a stream of task events is too slow and begins to miss something"])
        yield* Deferred.succeed(gate, undefined)
        yield* listener
        assert.deepStrictEqual(seen, ["queued", "queued", "queued"])
      })
      yield* program.pipe(Effect.provide(Layer.provideMerge(Runtime, layer)))
      assert.deepStrictEqual(messages.slice(1), ["a stream of task events was too slow and missed 8"])
    })
  )

  it.scoped("is counted", () =>
    Effect.gen(function* () {
      const application = "a listener that is counted"
      const program = Effect.gen(function* () {
        const pull = yield* Stream.toPull(TaskEvents.stream({ bufferSize: 1 }))
        const first = yield* Effect.fork(pull)
        yield* TestClock.adjust(0)
        yield* queueMany(3)
        yield* first
      })
      yield* program.pipe(Effect.provide(Runtime), Effect.tagMetrics("application", application))
      const dropped = Metric.unsafeSnapshot().find(
        ({ metricKey }) =>
          metricKey.name === "effect_tasks_events_dropped_total" &&
          metricKey.tags.some(({ value }) => value === application)
      )
      assert.deepEqual({ ...dropped?.metricState }, { ...dropped?.metricState, count: 5 })
    })
  )

  it.scoped("as an observer misses what is beyond its 65,536 places, and a warning says so", () =>
    Effect.gen(function* () {
      const { layer, messages } = yield* warnings
      let seen = 0
      const gate = yield* Deferred.make<void>()
      const observer: TaskLogger.Observer = {
        name: "slow",
        onEvent: () =>
          Effect.zipRight(
            Deferred.await(gate),
            Effect.sync(() => seen++)
          )
      }
      const program = Effect.gen(function* () {
        yield* queueMany(1)
        yield* TestClock.adjust(0)
        yield* queueMany(33_000)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(messages, ["the task observer slow is too slow and begins to miss something"])
        yield* Deferred.succeed(gate, undefined)
      })
      yield* program.pipe(
        Effect.provide(Runtime.pipe(Layer.provide(TaskLogger.layer(observer)), Layer.provideMerge(layer)))
      )
      assert.deepStrictEqual(messages.slice(1), ["the task observer slow was too slow and missed 464"])
      assert.strictEqual(seen, 65_538)
    })
  )
})

describe("log lines of this process", () => {
  const textsOf = (options: TaskEvents.LineOptions) =>
    Effect.gen(function* () {
      const texts: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(TaskEvents.lines(options), (line) => Effect.sync(() => texts.push(line.message)))
      )
      return texts
    })

  it.scoped("come by task, by run and by level", () =>
    Effect.gen(function* () {
      const later = yield* Note.queue({ text: "c" }, { delay: "1 second" })
      const views = {
        all: yield* textsOf({}),
        task: yield* textsOf({ task: "Note" }),
        run: yield* textsOf({ runId: later.id }),
        level: yield* textsOf({ minLevel: LogLevel.Warning })
      }
      yield* TestClock.adjust(0)
      yield* Note.queue({ text: "a" })
      yield* Other.queue(undefined, { delay: "500 millis" })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(views, {
        all: ["a", "a!", "other", "c", "c!"],
        task: ["a", "a!", "c", "c!"],
        run: ["c", "c!"],
        level: ["a!", "c!"]
      })
    }).pipe(Effect.provide(Workers))
  )
})

describe("an event", () => {
  it.scoped("shows its run as it was, whatever becomes of it later", () =>
    Effect.gen(function* () {
      const tags = ["before"]
      const Tagged = Task.make("Note", { payload: { text: Schema.String }, tags })
      const events: Array<TaskEvent.TaskEvent> = []
      yield* TaskEvents.on("all", (event) => Effect.sync(() => events.push(event)))
      yield* Tagged.queue({ text: "a" }, { delay: "1 second" })
      yield* TestClock.adjust(0)
      const asDelivered = events.map((event) => JSON.stringify(event))
      tags.push("after")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(events.at(-1)!.state, "success")
      assert.deepStrictEqual(
        events.slice(0, 2).map((event) => JSON.stringify(event)),
        asDelivered
      )
      assert.deepStrictEqual(
        events.map(({ run, state }) => [state, run.state, run.endedAt, run.tags]),
        [
          ["init", "init", null, ["before"]],
          ["scheduled", "scheduled", null, ["before"]],
          ["queued", "queued", null, ["before"]],
          ["running", "running", null, ["before"]],
          ["success", "success", 1_000, ["before"]]
        ]
      )
    }).pipe(Effect.provide(Workers))
  )
})

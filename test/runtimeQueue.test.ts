/** The queue for code that is no Effect. */

import { assert, describe, it } from "@effect/vitest"
import { Backend, Broker, Task, TaskError, TaskManager } from "@effect-tasks/core"
import { Context, Effect, Exit, Fiber, Layer, Schema, Scope, TestClock } from "effect"
import { quietly } from "./fixtures/logging.js"

const Note = Task.make("Note", { payload: { n: Schema.Int } })
const Few = Task.make("Few", { payload: { n: Schema.Int }, maxQueued: 1 })

const away = new TaskError.BackendError({ backend: "test", operation: "enqueue", transient: true })

/** What stands between manager and backend, and may be out of order. */
interface Fault {
  enqueue: (broker: typeof Broker.Broker.Service) => (typeof Broker.Broker.Service)["enqueue"]
}

const inOrder: Fault["enqueue"] = (broker) => broker.enqueue

const runtimeWith = (fault: Fault) =>
  TaskManager.layer.pipe(
    Layer.provideMerge(
      Layer.map(Backend.layerMemory, (context) => {
        const broker = Context.get(context, Broker.Broker)
        return Context.add(context, Broker.Broker, {
          ...broker,
          enqueue: (...args) => fault.enqueue(broker)(...args)
        })
      })
    )
  )

const runtime = runtimeWith({ enqueue: inOrder })

const queuedRuns = Effect.flatMap(TaskManager.TaskManager, (manager) =>
  Effect.map(manager.counts(), ({ queued }) => queued)
)

const payloads = Effect.flatMap(TaskManager.TaskManager, (manager) =>
  Effect.map(manager.runs({ limit: 1_000 }), ({ items }) => items.map(({ payload }) => (payload as { n: number }).n))
)

/** A queue with a scope of its own. */
const open = (options?: TaskManager.RuntimeQueueOptions) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const queue = yield* Scope.extend(TaskManager.runtimeQueue(options), scope)
    return { queue, close: Scope.close(scope, Exit.void) }
  })

/** Collects failures as one line each. */
const collector = () => {
  const failures: Array<string> = []
  return {
    failures,
    onError: ({ error, payload, task }: TaskManager.RuntimeQueueFailure) => {
      failures.push(`${task.name} ${JSON.stringify(payload)} ${error._tag}`)
    }
  }
}

describe("TaskManager.runtimeQueue", () => {
  it.effect("queues what a callback offers, with its options", () =>
    Effect.gen(function* () {
      const { close, queue } = yield* open()
      const answers: Array<string> = []
      // from a callback of somebody else's code
      yield* Effect.promise(
        () =>
          new Promise<void>((resolve) =>
            setTimeout(() => {
              answers.push(queue(Note, { n: 1 }, { priority: "high", tags: ["a"], delay: "1 minute" }))
              resolve()
            }, 0)
          )
      )
      yield* queue.flush
      assert.deepStrictEqual(answers, ["accepted"])
      assert.strictEqual(queue.pending(), 0)
      const manager = yield* TaskManager.TaskManager
      const [run] = (yield* manager.runs()).items
      assert.deepInclude(run, { task: "Note", state: "scheduled", dueAt: 60_000, parentId: null })
      assert.deepStrictEqual([run!.tags, run!.payload], [["a"], { n: 1 }])
      yield* close
    }).pipe(Effect.provide(runtime))
  )

  it.effect("takes a burst of ten thousand in one turn, in order, with few calls", () => {
    let calls = 0
    const fault: Fault = {
      enqueue:
        (broker) =>
        (...args) => {
          calls++
          return broker.enqueue(...args)
        }
    }
    return Effect.gen(function* () {
      const { close, queue } = yield* open()
      const answers = Array.from({ length: 10_000 }, (_, n) => queue(Note, { n }))
      assert.isTrue(answers.every((answer) => answer === "accepted"))
      assert.strictEqual(queue.pending(), 10_000)
      yield* queue.flush
      assert.strictEqual(yield* queuedRuns, 10_000)
      assert.strictEqual(calls, 10)
      assert.deepStrictEqual(
        yield* payloads,
        Array.from({ length: 1_000 }, (_, i) => 9_999 - i)
      )
      yield* close
    }).pipe(Effect.provide(runtimeWith(fault)))
  })

  it.effect("says when it is full, and takes more when it is not", () =>
    Effect.gen(function* () {
      const { close, queue } = yield* open({ capacity: 3 })
      const answers = Array.from({ length: 5 }, (_, n) => queue(Note, { n }))
      assert.deepStrictEqual(answers, ["accepted", "accepted", "accepted", "full", "full"])
      yield* queue.flush
      assert.strictEqual(queue(Note, { n: 5 }), "accepted")
      yield* queue.flush
      assert.deepStrictEqual(yield* payloads, [5, 2, 1, 0])
      yield* close
    }).pipe(Effect.provide(runtime))
  )

  it.effect("what was accepted is queued before the closing is over, and nothing is accepted after it has begun", () =>
    Effect.gen(function* () {
      const { close, queue } = yield* open()
      for (let n = 0; n < 2_500; n++) {
        queue(Note, { n })
      }
      yield* close
      assert.strictEqual(yield* queuedRuns, 2_500)
      assert.strictEqual(queue.pending(), 0)
      assert.strictEqual(queue(Note, { n: 0 }), "closed")
      assert.strictEqual(yield* queuedRuns, 2_500)
    }).pipe(Effect.provide(runtime))
  )

  it.effect("tells of what cannot be queued, one by one, and queues the rest", () =>
    Effect.gen(function* () {
      const { failures, onError } = collector()
      const { close, queue } = yield* open({ onError })
      yield* Note.queue({ n: 0 }, { idempotencyKey: "k" })
      queue(Note, { n: 1 })
      queue(Note, { n: 1.5 })
      queue(Note, { n: 2 }, { queue: "" })
      queue(Note, { n: 3 }, { idempotencyKey: { key: "k", onConflict: "reject" } })
      queue(Note, { n: 4 }, { idempotencyKey: "k" })
      queue(Few, { n: 5 })
      queue(Few, { n: 6 })
      queue(Note, { n: 7 })
      yield* close
      assert.sameMembers(failures, [
        'Note {"n":1.5} ParseError',
        'Note {"n":2} InvalidOption',
        'Note {"n":3} IdempotencyConflict',
        'Few {"n":6} QueueFull'
      ])
      assert.sameMembers(Array.from(yield* payloads), [0, 1, 5, 7])
    }).pipe(Effect.provide(runtime))
  )

  it.effect("an onError that throws keeps nothing up", () =>
    Effect.gen(function* () {
      const { close, queue } = yield* open({
        onError: () => {
          throw new Error("thrown")
        }
      })
      queue(Note, { n: 1.5 })
      queue(Note, { n: 1 })
      yield* close
      assert.deepStrictEqual(yield* payloads, [1])
    }).pipe(Effect.provide(runtime), quietly)
  )

  for (const isCommitted of [false, true]) {
    it.effect(
      `waits while the backend is away, and queues each run once (${isCommitted ? "" : "not "}committed)`,
      () => {
        let failures = 5
        const fault: Fault = {
          enqueue:
            (broker) =>
            (...args) =>
              failures-- > 0
                ? Effect.zipRight(isCommitted ? Effect.orDie(broker.enqueue(...args)) : Effect.void, away)
                : broker.enqueue(...args)
        }
        return Effect.gen(function* () {
          const { failures: told, onError } = collector()
          const { close, queue } = yield* open({ onError, capacity: 100 })
          for (let n = 0; n < 50; n++) {
            queue(Note, { n }, n % 10 === 0 ? { idempotencyKey: { key: String(n), onConflict: "reject" } } : {})
          }
          yield* TestClock.adjust("1 millis")
          queue(Note, { n: 50 }, { delay: "10 minutes" })
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(queue.pending(), 0)
          assert.deepStrictEqual(told, [])
          assert.sameMembers(
            Array.from(yield* payloads),
            Array.from({ length: 51 }, (_, n) => n)
          )
          // its delay counts from when it was offered
          const manager = yield* TaskManager.TaskManager
          const [delayed] = (yield* manager.runs({ state: ["scheduled"] })).items
          assert.strictEqual(delayed?.dueAt, 600_001)
          yield* close
        }).pipe(Effect.provide(runtimeWith(fault)))
      }
    )
  }

  it.effect("when the backend stays away, closing gives up after its time and tells of each run", () =>
    Effect.gen(function* () {
      const { failures, onError } = collector()
      const { close, queue } = yield* open({ onError, closeTimeout: "10 seconds" })
      for (let n = 0; n < 1_002; n++) {
        queue(Note, { n })
      }
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("9 seconds")
      assert.isNull(closing.unsafePoll())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual(failures.length, 1_002)
      assert.strictEqual(new Set(failures).size, 1_002)
      assert.match(failures[0]!, /BackendError$/)
      assert.strictEqual(queue.pending(), 0)
    }).pipe(Effect.provide(runtimeWith({ enqueue: () => () => away })))
  )

  it.effect("a run that the backend refuses for good is told of, and harms no other", () => {
    const refused = new TaskError.BackendError({ backend: "test", operation: "enqueue", transient: false })
    const fault: Fault = {
      enqueue:
        (broker) =>
        (...args) =>
          args[0].some(({ payload }) => payload.includes(":13")) ? refused : broker.enqueue(...args)
    }
    return Effect.gen(function* () {
      const { failures, onError } = collector()
      const { close, queue } = yield* open({ onError })
      for (let n = 10; n < 20; n++) {
        queue(Note, { n })
      }
      yield* close
      assert.deepStrictEqual(failures, ['Note {"n":13} BackendError'])
      assert.strictEqual(yield* queuedRuns, 9)
    }).pipe(Effect.provide(runtimeWith(fault)))
  })

  it.effect("a capacity that is none is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(TaskManager.runtimeQueue({ capacity: 0 }))
      assert.strictEqual(error.option, "capacity")
    }).pipe(Effect.scoped, Effect.provide(runtime))
  )
})

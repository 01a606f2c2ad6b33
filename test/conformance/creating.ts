import { assert } from "@effect/vitest"
import { Store, Task, TaskError, TaskGroup, TaskManager, type TaskRun } from "@effect-tasks/core"
import { Effect, Option, Schema } from "effect"
import { advance, type Family, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, recordEvents } from "./observing.js"

const Greet = Task.make("Greet", { payload: { name: Schema.NonEmptyString }, tags: ["a"] })

const queueRun = <T extends Task.Any>(run: TaskRun.NewRun<T>) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) => manager.queueRun(run))

const isStored = (id: TaskRun.RunId) =>
  Effect.flatMap(Store.Store, (store) => Effect.map(store.get([id]), ([run]) => Option.isSome(run!)))

const total = Effect.flatMap(TaskManager.TaskManager, (manager) =>
  Effect.map(manager.counts(), (counts) => Object.values(counts).reduce((a, b) => a + b, 0))
)

/** Runs that are made first, and queued later or never. */
export const creating: Family = (rule) => {
  rule("a run that is made has its id and its record, and leaves nothing behind when it is never queued", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const run = yield* Greet.createRun({ name: "a" }, { tags: ["b"], priority: "high", queue: "mail" })
      assert.deepInclude(run.record, {
        id: run.id,
        task: "Greet",
        state: "init",
        payload: { name: "a" },
        queue: "mail",
        attempt: 0,
        endedAt: null
      })
      assert.deepStrictEqual(run.record.tags, ["a", "b"])
      assert.strictEqual(run.task, Greet)
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void }, { queues: ["mail"] })
      yield* advance("2 seconds")
      assert.isFalse(yield* isStored(run.id))
      assert.strictEqual(yield* total, 0)
      assert.deepStrictEqual(events, [])
    })
  )

  rule("what does not fit fails when the run is made", () =>
    Effect.gen(function* () {
      const process = yield* openProcessWith({ manager: { maxPayloadBytes: 20 } })
      const tagOf = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.flip(self), ({ _tag }) => _tag)
      assert.strictEqual(yield* tagOf(Greet.createRun({ name: "" })), "ParseError")
      assert.strictEqual(yield* tagOf(Greet.createRun({ name: "a" }, { queue: "" })), "InvalidOption")
      assert.strictEqual(yield* process.run(tagOf(Greet.createRun({ name: "a".repeat(20) }))), "PayloadTooLarge")
    })
  )

  rule("it is queued once, however often and by however many fibers", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const run = yield* Greet.createRun({ name: "a" })
      const many = yield* Effect.forEach(Array(8), () => queueRun(run), { concurrency: "unbounded" })
      const again = yield* run.queue
      assert.deepStrictEqual(
        [...many, again].map(({ existing, id }) => [id, existing]),
        Array(9).fill([run.id, false])
      )
      assert.strictEqual(yield* total, 1)
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      yield* again.await
      assert.strictEqual((yield* run.queue).id, run.id)
      yield* eventsBecome(events, run, "init", "queued", "running", "success")
      assert.strictEqual(yield* total, 1)
    })
  )

  for (const isCommitted of [false, true]) {
    rule(`after a call without an answer, ${isCommitted ? "which was" : "not"} committed, it is queued once`, () =>
      Effect.gen(function* () {
        const lost = new TaskError.BackendError({ backend: "test", operation: "enqueue", transient: true })
        let calls = 0
        const process = yield* openProcessWith({
          broker: (broker) => ({
            ...broker,
            enqueue: (...args) => {
              calls++
              return calls > 1
                ? broker.enqueue(...args)
                : isCommitted
                  ? Effect.zipRight(broker.enqueue(...args), lost)
                  : lost
            }
          })
        })
        const run = yield* process.run(Greet.createRun({ name: "a" }))
        assert.deepStrictEqual(yield* Effect.flip(run.queue), lost)
        const { id } = yield* run.queue
        assert.strictEqual(id, run.id)
        assert.strictEqual(calls, isCommitted ? 1 : 2)
        assert.strictEqual(yield* total, 1)
        assert.isTrue(yield* isStored(run.id))
      })
    )
  }

  rule("its times count from when it was made", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void })
      const early = yield* Greet.createRun({ name: "a" }, { delay: "1 second" })
      const late = yield* Greet.createRun({ name: "b" }, { delay: "20 seconds" })
      yield* advance("10 seconds")
      const handle = yield* early.queue
      const waiting = yield* late.queue
      assert.deepInclude(yield* becomes(handle, "success"), { createdAt: 0, dueAt: 1_000, startedAt: 10_000 })
      assert.deepInclude(yield* becomes(waiting, "scheduled"), { createdAt: 0, dueAt: 20_000 })
      yield* advance("10 seconds")
      assert.deepInclude(yield* becomes(waiting, "success"), { startedAt: 20_000 })
    })
  )

  rule("one that is made in a handler follows from its run, whoever queues it", () =>
    Effect.gen(function* () {
      const made: Array<TaskRun.NewRun<typeof Greet>> = []
      const Parent = Task.make("Parent")
      yield* serve(TaskGroup.make(Parent), {
        Parent: () => Effect.map(Effect.orDie(Greet.createRun({ name: "a" })), (run) => void made.push(run))
      })
      const parent = yield* Parent.queue()
      yield* becomes(parent, "success")
      const child = yield* made[0]!.queue
      assert.deepInclude(yield* child.poll, { parentId: parent.id, rootId: parent.id })
    })
  )

  rule("a refusal is told, and a later call tries again", () =>
    Effect.gen(function* () {
      const first = yield* Greet.queue({ name: "a" })
      const run = yield* Greet.createRun({ name: "b" }, { maxQueued: 1 })
      assert.strictEqual((yield* Effect.flip(run.queue))._tag, "QueueFull")
      assert.isFalse(yield* isStored(run.id))
      yield* first.cancel()
      yield* quiet
      assert.strictEqual((yield* run.queue).id, run.id)

      const keyed = { idempotencyKey: "k" }
      const holder = yield* Greet.queue({ name: "c" }, keyed)
      const second = yield* Greet.createRun({ name: "d" }, keyed)
      const handle = yield* second.queue
      assert.deepStrictEqual([handle.id, handle.existing], [holder.id, true])
      assert.isFalse(yield* isStored(second.id))
    })
  )
}

import { assert } from "@effect/vitest"
import { Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { advance, type Family, openProcess, serve } from "./harness.js"
import { becomes, eventsBecome, Oops, recordEvents } from "./observing.js"

const Sum = Task.make("Sum", {
  payload: { a: Schema.Number, b: Schema.Number },
  success: Schema.Number,
  error: Oops
})
const add = ({ a, b }: { readonly a: number; readonly b: number }) =>
  a < 0 ? Effect.fail(new Oops({ code: a })) : Effect.succeed(a + b)

/** Idempotency keys, as an application uses them. */
export const idempotency: Family = (rule) => {
  rule("a second request with a key gets the run that is there, and its result", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const first = yield* Sum.queue({ a: 1, b: 2 }, { idempotencyKey: "k" })
      const second = yield* Sum.queue({ a: 3, b: 4 }, { idempotencyKey: "k" })
      assert.deepStrictEqual([first.existing, second.existing, second.id], [false, true, first.id])
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      assert.strictEqual(yield* second.await, 3)
      yield* eventsBecome(events, first, "init", "queued", "running", "success")
      assert.strictEqual(events.length, 4)
    })
  )

  rule("a request that asks for it is refused when the key is held", () =>
    Effect.gen(function* () {
      const first = yield* Sum.queue({ a: 1, b: 2 }, { idempotencyKey: "k" })
      const error = yield* Effect.flip(
        Sum.queue({ a: 1, b: 2 }, { idempotencyKey: { key: "k", onConflict: "reject" } })
      )
      assert.deepInclude(error, { _tag: "IdempotencyConflict", key: "k", heldBy: first.id })
    })
  )

  rule("of many requests at once from several processes, one is queued and performed", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const other = yield* openProcess
      let performed = 0
      const handlers = {
        Sum: (payload: { a: number; b: number }) =>
          Effect.zipRight(
            Effect.sync(() => performed++),
            add(payload)
          )
      }
      yield* serve(TaskGroup.make(Sum), handlers)
      yield* other.run(serve(TaskGroup.make(Sum), handlers))
      const ask = Sum.queue({ a: 1, b: 2 }, { idempotencyKey: { key: "k", hold: "forever" } })
      const runs = yield* Effect.forEach(Array(40), (_, i) => (i % 2 === 0 ? ask : other.run(ask)), {
        concurrency: "unbounded"
      })
      assert.strictEqual(new Set(runs.map(({ id }) => id)).size, 1)
      assert.strictEqual(runs.filter(({ existing }) => !existing).length, 1)
      yield* becomes(runs[0]!, "success")
      assert.deepInclude(yield* manager.counts(), { success: 1, queued: 0, running: 0 })
      assert.strictEqual(performed, 1)
    })
  )

  rule("a failed run frees its key, a success holds it for the time asked for", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      const idempotencyKey = { key: "k", hold: "1 minute" } as const
      const failed = yield* Sum.queue({ a: -1, b: 0 }, { idempotencyKey })
      yield* Effect.flip(failed.await)
      const first = yield* Sum.queue({ a: 1, b: 1 }, { idempotencyKey })
      assert.notStrictEqual(first.id, failed.id)
      assert.strictEqual(yield* first.await, 2)
      yield* advance(59_999)
      assert.strictEqual((yield* Sum.queue({ a: 1, b: 1 }, { idempotencyKey })).id, first.id)
      yield* advance(1)
      assert.notStrictEqual((yield* Sum.queue({ a: 1, b: 1 }, { idempotencyKey })).id, first.id)
    })
  )

  rule("of all requests during a run, the latest is performed after it", () =>
    Effect.gen(function* () {
      const Sync = Task.make("Sync", { payload: { n: Schema.Number }, maxConcurrency: 1 })
      const performed: Array<number> = []
      yield* serve(TaskGroup.make(Sync), {
        Sync: ({ n }) =>
          Effect.zipRight(
            Effect.sync(() => performed.push(n)),
            Effect.sleep("1 second")
          )
      })
      const ask = (n: number) => Sync.queue({ n }, { idempotencyKey: { key: "k", onConflict: "replace" } })
      const first = yield* ask(1)
      yield* becomes(first, "running")
      const [second, third] = [yield* ask(2), yield* ask(3)]
      assert.deepStrictEqual([second.existing, third.existing, third.id], [false, true, second.id])
      yield* advance("1 second")
      yield* becomes(second, "running")
      yield* advance("1 second")
      yield* becomes(second, "success")
      assert.deepStrictEqual(performed, [1, 3])
    })
  )

  rule("debounced requests are performed once, with the latest payload, when they have come to rest", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      const ask = (a: number) =>
        Sum.queue({ a, b: 0 }, { idempotencyKey: { key: "k", debounce: "10 seconds", maxWait: "25 seconds" } })
      const first = yield* ask(1)
      for (const a of [2, 3, 4]) {
        yield* advance("8 seconds")
        assert.strictEqual((yield* ask(a)).id, first.id)
      }
      assert.strictEqual((yield* first.poll).state, "scheduled")
      yield* advance("1 second")
      assert.strictEqual(yield* first.await, 4)
    })
  )

  rule("throttled requests are performed once in each period", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Sum), { Sum: add })
      const ask = (a: number) => Sum.queue({ a, b: 0 }, { idempotencyKey: { key: "k", throttle: "1 minute" } })
      const first = yield* ask(1)
      assert.strictEqual(yield* first.await, 1)
      yield* advance("59 seconds")
      assert.deepStrictEqual([(yield* ask(2)).id, yield* (yield* ask(2)).await], [first.id, 1])
      yield* advance("1 second")
      assert.strictEqual(yield* (yield* ask(3)).await, 3)
    })
  )
}

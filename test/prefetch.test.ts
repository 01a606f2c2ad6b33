/* Claiming ahead goes by the pace of real time, so these tests do too. */
import { assert, describe, it } from "@effect/vitest"
import { Backend, Broker, Task, TaskConsumer, type TaskEvents, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Context, type Duration, Effect, Layer, Schema } from "effect"
import { eventually } from "./conformance/harness.js"

const Quick = Task.make("Quick", { payload: { n: Schema.Int } })
const Slow = Task.make("Slow", { payload: { n: Schema.Int } })

/** What a consumer asks its broker for: how many runs, while so many were being performed. */
interface Asked {
  readonly limit: number
  readonly performing: number
}

const makeSeen = () => ({ asked: [] as Array<Asked>, performing: 0, most: 0, performed: 0 })

type Seen = ReturnType<typeof makeSeen>

/** A memory backend whose broker notes what it is asked for. */
const watched = (seen: Seen) =>
  Layer.map(Backend.layerMemory, (context) => {
    const broker = Context.get(context, Broker.Broker)
    return Context.add(context, Broker.Broker, {
      ...broker,
      exchange: (exchange) => {
        if (exchange.claim !== null) {
          seen.asked.push({ limit: exchange.claim.limit, performing: seen.performing })
        }
        return broker.exchange(exchange)
      }
    })
  })

/** A handler that takes so long, or no time at all. */
const taking = (seen: Seen, duration: Duration.DurationInput | null) => () =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      seen.most = Math.max(seen.most, ++seen.performing)
    }),
    () => (duration === null ? Effect.void : Effect.sleep(duration)),
    () =>
      Effect.sync(() => {
        seen.performing--
        seen.performed++
      })
  )

const numbers = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const group = TaskGroup.make(Quick, Slow)

const serve = (seen: Seen, slow: Duration.DurationInput, options: TaskConsumer.Options) =>
  TaskConsumer.make(group, options).pipe(
    Effect.provide(group.toLayer({ Quick: taking(seen, null), Slow: taking(seen, slow) }))
  )

const places = 4

const rule = (
  name: string,
  body: (seen: Seen) => Effect.Effect<void, unknown, TaskManager.TaskManager | TaskEvents.TaskEvents | Backend.Backend>
) =>
  it.live(
    name,
    () => {
      const seen = makeSeen()
      return Effect.provide(body(seen), TaskManager.layer.pipe(Layer.provideMerge(watched(seen))))
    },
    { timeout: 30_000 }
  )

describe("claiming ahead", () => {
  rule("short runs are claimed beyond the free places, and performed in these all the same", (seen) =>
    Effect.gen(function* () {
      yield* Quick.queueAll(numbers(6_000))
      yield* serve(seen, 0, { maxConcurrentTasks: places })
      yield* eventually(Effect.sync(() => assert.strictEqual(seen.performed, 6_000)))
      assert.isAbove(Math.max(...seen.asked.map(({ limit }) => limit)), places)
      assert.isAtMost(Math.max(...seen.asked.map(({ limit }) => limit)), places + 500)
      assert.isAtMost(seen.most, places)
    }).pipe(Effect.scoped)
  )

  rule("a consumer that is told not to never does", (seen) =>
    Effect.gen(function* () {
      yield* Quick.queueAll(numbers(5_000))
      yield* serve(seen, 0, { maxConcurrentTasks: places, prefetch: 0 })
      yield* eventually(Effect.sync(() => assert.strictEqual(seen.performed, 5_000)))
      assert.isAtMost(Math.max(...seen.asked.map(({ limit }) => limit)), places)
    }).pipe(Effect.scoped)
  )

  rule("long runs are claimed for free places only", (seen) =>
    Effect.gen(function* () {
      yield* Slow.queueAll(numbers(12))
      yield* serve(seen, "300 millis", { maxConcurrentTasks: places })
      yield* eventually(Effect.sync(() => assert.strictEqual(seen.performed, 12)))
      for (const { limit, performing } of seen.asked) {
        assert.isAtMost(limit, places - performing)
      }
    }).pipe(Effect.scoped)
  )

  rule("what waits for a place too long is given back to others, as if it had not been claimed", (seen) =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* Quick.queueAll(numbers(10_000))
      yield* Slow.queueAll(numbers(50))
      const consumer = yield* serve(seen, "1 hour", { maxConcurrentTasks: places, grace: 0 })
      yield* eventually(
        Effect.map(manager.counts({ task: "Slow" }), ({ queued, running }) =>
          assert.deepStrictEqual({ queued, running }, { queued: 50 - places, running: places })
        )
      )
      const { items } = yield* manager.runs({ task: "Slow", state: ["queued"] })
      assert.isTrue(items.every(({ attempts, crashes }) => attempts.length === 0 && crashes === 0))
      const report = yield* consumer.gracefullyStop
      assert.strictEqual(report.givenBack.length, places)
    }).pipe(Effect.scoped)
  )

  rule("a consumer that stops gives back what it has not begun, and tells only of what it has", (seen) =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      yield* Quick.queueAll(numbers(10_000))
      yield* Slow.queueAll(numbers(50))
      const consumer = yield* serve(seen, "1 hour", { maxConcurrentTasks: places, grace: 0 })
      yield* eventually(Effect.sync(() => assert.strictEqual(seen.performing, places)))
      const report = yield* consumer.gracefullyStop
      assert.strictEqual(report.givenBack.length, places)
      assert.deepInclude(yield* manager.counts({ task: "Slow" }), { queued: 50, running: 0 })
    }).pipe(Effect.scoped)
  )
})

import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskError, TaskGroup, TaskMetrics } from "@effect-tasks/core"
import { Effect, Layer, Metric, type MetricState, Schedule, Schema } from "effect"
import { advance, type Family, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

let names = 0

/** A name that no other test has: all tests of a process share its metrics. */
const fresh = () => `measured-${++names}`

const makeTask = () =>
  Task.make(fresh(), {
    payload: { how: Schema.String },
    error: Oops,
    retry: Schedule.recurs(1),
    queue: fresh()
  })

type Labels = Record<string, string>

const read = (name: string, labels: Labels): MetricState.MetricState.Untyped | undefined =>
  Metric.unsafeSnapshot().find(
    ({ metricKey }) =>
      metricKey.name === `effect_tasks_${name}` &&
      Object.entries(labels).every(([key, value]) =>
        metricKey.tags.some((tag) => tag.key === key && tag.value === value)
      )
  )?.metricState

const count = (name: string, labels: Labels): number =>
  (read(name, labels) as MetricState.MetricState.Counter<number> | undefined)?.count ?? 0

const gauge = (name: string, labels: Labels): number | undefined =>
  (read(name, labels) as MetricState.MetricState.Gauge<number> | undefined)?.value

const histogram = (name: string, labels: Labels) => {
  const { count, sum } = (read(name, labels) ?? { count: 0, sum: 0 }) as MetricState.MetricState.Histogram
  return { count, sum }
}

/** What the runtime counts and measures. */
export const metrics: Family = (rule) => {
  rule("runs, attempts, retries and ends are counted", () =>
    Effect.gen(function* () {
      const task = makeTask()
      yield* serve(TaskGroup.make(task), {
        [task.name]: ({ how }: { readonly how: string }) =>
          Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
            how === "abort"
              ? CurrentRun.abort("no")
              : how === "retry" && attempt === 1
                ? Effect.fail(new Oops({ code: 1 }))
                : how === "wait"
                  ? Effect.sleep("1 second")
                  : Effect.void
          )
      })
      const runs = yield* task.queueAll(["wait", "retry", "abort"].map((how) => ({ how })))
      yield* becomes(runs[0]!, "running")
      yield* eventuallySync(() => assert.strictEqual(gauge("in_flight", { task: task.name }), 1))
      yield* advance("1 second")
      yield* Effect.forEach(runs.slice(0, 2), (run) => becomes(run, "success"))
      yield* quiet
      const of = { task: task.name }
      assert.strictEqual(count("queued_total", of), 3)
      assert.strictEqual(count("attempts_total", { ...of, outcome: "success" }), 2)
      assert.strictEqual(count("attempts_total", { ...of, outcome: "failure" }), 1)
      assert.strictEqual(count("attempts_total", { ...of, outcome: "aborted" }), 1)
      assert.strictEqual(count("retries_total", of), 1)
      assert.strictEqual(count("runs_ended_total", { ...of, state: "success" }), 2)
      assert.strictEqual(count("runs_ended_total", { ...of, state: "aborted" }), 1)
      assert.strictEqual(gauge("in_flight", of), 0)
    })
  )

  rule("a run that is cancelled while it waits, and one that is performed in place, are counted too", () =>
    Effect.gen(function* () {
      const task = makeTask()
      const run = yield* task.queue({ how: "" }, { delay: "1 hour" })
      yield* run.cancel()
      yield* task.execute({ how: "" }).pipe(Effect.provide(task.toLayer(() => Effect.void)))
      assert.strictEqual(count("runs_ended_total", { task: task.name, state: "cancelled" }), 1)
      assert.strictEqual(count("runs_ended_total", { task: task.name, state: "success" }), 1)
      assert.strictEqual(count("attempts_total", { task: task.name, outcome: "success" }), 1)
    })
  )

  rule("how long runs waited when they were due, and how long attempts took, is measured in seconds", () =>
    Effect.gen(function* () {
      const task = makeTask()
      const run = yield* task.queue({ how: "" }, { delay: "3 seconds" })
      yield* advance("8 seconds")
      yield* serve(TaskGroup.make(task), { [task.name]: () => Effect.sleep("2 seconds") })
      yield* advance("2 seconds")
      yield* becomes(run, "success")
      const of = { task: task.name }
      assert.deepStrictEqual(histogram("queue_latency_seconds", { ...of, queue: task.queueName }), {
        count: 1,
        sum: 5
      })
      assert.deepStrictEqual(histogram("attempt_duration_seconds", of), { count: 1, sum: 2 })
    })
  )

  rule("a lost claim and a takeover are counted once each", () =>
    Effect.gen(function* () {
      const task = makeTask()
      let isLost = true
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          extend: (extension) =>
            isLost
              ? Effect.succeed({ lost: extension.claims.map(({ id }) => id), cancelled: [] })
              : broker.extend(extension)
        })
      })
      yield* process.run(
        serve(TaskGroup.make(task), { [task.name]: () => Effect.sleep("2 seconds") }, { lease: "3 seconds" })
      )
      const run = yield* task.queue({ how: "" })
      yield* becomes(run, "running")
      yield* advance("1 second")
      isLost = false
      yield* advance("10 seconds")
      yield* becomes(run, "success")
      const of = { task: task.name }
      assert.strictEqual(count("leases_lost_total", of), 1)
      assert.strictEqual(count("takeovers_total", of), 1)
      assert.strictEqual(count("attempts_total", { ...of, outcome: "lost_claim" }), 1)
      assert.strictEqual(histogram("queue_latency_seconds", of).count, 1)
      assert.strictEqual(gauge("in_flight", of), 0)
    })
  )

  rule("exchanges and failures of the broker are measured, under the labels that the application gives", () =>
    Effect.gen(function* () {
      const task = makeTask()
      let isAway = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "exchange", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) => (isAway ? outage : broker.exchange(exchange))
        })
      })
      const runs = yield* task.queueAll([{ how: "" }, { how: "" }])
      yield* process.run(
        serve(TaskGroup.make(task), { [task.name]: () => Effect.void }).pipe(
          Effect.tagMetrics("application", task.name)
        )
      )
      isAway = false
      yield* advance("1 second")
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      const of = { application: task.name }
      assert.strictEqual(count("broker_failures_total", { ...of, operation: "exchange" }), 1)
      assert.strictEqual(histogram("exchange_claims", of).sum, 2)
      assert.strictEqual(histogram("exchange_settlements", of).sum, 2)
      assert.isAtLeast(histogram("exchange_duration_seconds", of).count, 1)
      assert.strictEqual(count("attempts_total", { ...of, task: task.name, outcome: "success" }), 2)
    })
  )

  rule("the depths of the queues are polled, and go to zero when a queue is empty", () =>
    Effect.gen(function* () {
      const task = makeTask()
      const { queueName: queue } = task
      yield* task.queue({ how: "" })
      yield* task.queue({ how: "" }, { delay: "2 minutes" })
      yield* advance("5 seconds")
      yield* Layer.build(TaskMetrics.layer({ every: "10 seconds" }))
      const depth = (state: string) => gauge("queue_depth", { queue, state })
      yield* eventuallySync(() => {
        assert.deepStrictEqual([depth("queued"), depth("scheduled"), depth("running")], [1, 1, 0])
        assert.strictEqual(gauge("queue_oldest_due_seconds", { queue }), 5)
      })
      yield* serve(TaskGroup.make(task), { [task.name]: () => Effect.sleep("1 minute") })
      yield* advance("10 seconds")
      yield* eventuallySync(() => {
        assert.deepStrictEqual([depth("queued"), depth("scheduled"), depth("running")], [0, 1, 1])
        assert.strictEqual(gauge("queue_oldest_due_seconds", { queue }), 0)
      })
      yield* advance("4 minutes")
      yield* eventuallySync(() =>
        assert.deepStrictEqual([depth("queued"), depth("scheduled"), depth("running")], [0, 0, 0])
      )
    })
  )
}

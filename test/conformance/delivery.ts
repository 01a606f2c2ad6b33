import { assert } from "@effect/vitest"
import {
  Broker,
  CurrentRun,
  Task,
  type TaskConsumer,
  TaskError,
  TaskGroup,
  TaskManager,
  type TaskRun
} from "@effect-tasks/core"
import { Clock, Deferred, Duration, Effect } from "effect"
import { servedTask } from "./encoded.js"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, Oops, recordEvents, statesOf } from "./observing.js"

const Work = Task.make("Work")
const Long = Task.make("Long")
const Snoozing = Task.make("Snoozing")
const short: TaskConsumer.Options = { lease: "3 seconds" }

/** Claims the next run of a task for a consumer that dies at once. */
const crash = (task: Task.Any, consumer: string) =>
  Effect.gen(function* () {
    const broker = yield* Broker.Broker
    const now = yield* broker.now
    const { runs } = yield* Broker.claim(broker, {
      consumer,
      queues: ["default"],
      queueLimits: [],
      tasks: [servedTask(task.name)],
      limit: 1,
      now,
      leaseUntil: now + 3_000
    })
    assert.strictEqual(runs.length, 1)
    return runs[0]!.run
  })

/** A broker that gives its consumer one run, and never another. */
const givingOnce = (broker: typeof Broker.Broker.Service): typeof Broker.Broker.Service => {
  let given = false
  return {
    ...broker,
    exchange: (exchange) =>
      Effect.tap(broker.exchange(given ? { ...exchange, claim: null } : exchange), ({ claimed }) =>
        Effect.sync(() => (given ||= claimed !== null && claimed.runs.length > 0))
      )
  }
}

/** A handler that notes when it starts and when it is interrupted, and ends with its gate. */
const noting = (steps: Array<readonly [string, number]>, work: Effect.Effect<void>) => () => {
  const note = (step: string) => Effect.map(Clock.currentTimeMillis, (now) => void steps.push([step, now]))
  return note("started").pipe(
    Effect.zipRight(work),
    Effect.zipRight(note("ended")),
    Effect.onInterrupt(() => note("interrupted"))
  )
}

/** Leases, crashes and lost claims, as consumers meet them. */
export const delivery: Family = (rule) => {
  rule("the lease of a long run is kept alive: nobody else takes it", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const steps: Array<readonly [string, number]> = []
      const handlers = { Work: noting(steps, Effect.sleep("8 seconds")) }
      yield* serve(TaskGroup.make(Work), handlers, short)
      yield* other.run(serve(TaskGroup.make(Work), handlers, short))
      const run = yield* Work.queue()
      yield* advance("8 seconds")
      assert.deepInclude(yield* becomes(run, "success"), { crashes: 0 })
      assert.deepStrictEqual(steps, [
        ["started", 0],
        ["ended", 8_000]
      ])
    })
  )

  rule("a run whose consumer died is performed by another one within two leases", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const steps: Array<readonly [string, number]> = []
      const run = yield* Work.queue()
      yield* crash(Work, "dead")
      yield* serve(TaskGroup.make(Work), { Work: noting(steps, Effect.void) }, short)
      yield* advance("2900 millis")
      assert.deepStrictEqual(steps, [])
      yield* advance("3100 millis")
      const { attempt, attempts, crashes } = yield* becomes(run, "success")
      assert.deepStrictEqual([attempt, crashes], [0, 1])
      assert.deepStrictEqual(
        attempts.map(({ consumer, outcome, startedAt }) => [outcome._tag, startedAt, consumer === "dead"]),
        [
          ["Crashed", 0, true],
          ["Success", 3_000, false]
        ]
      )
      yield* eventsBecome(events, run, "init", "queued", "queued", "running", "success")
    })
  )

  rule("a run that crashes its consumers too often ends as a failure, and is not performed again", () =>
    Effect.gen(function* () {
      const Poison = Task.make("Poison", { maxCrashes: 1, error: Oops })
      let performed = 0
      const run = yield* Poison.queue()
      yield* crash(Poison, "dead 1")
      yield* advance("3 seconds")
      yield* crash(Poison, "dead 2")
      yield* serve(TaskGroup.make(Poison), { Poison: () => Effect.sync(() => void performed++) }, short)
      yield* advance("3 seconds")
      const error = yield* Effect.flip(run.await)
      assert.deepStrictEqual(error, new TaskError.TooManyCrashes({ runId: run.id, task: "Poison", crashes: 2 }))
      assert.strictEqual(performed, 0)
      const record = yield* run.poll
      assert.strictEqual(record.state, "failure")
      const last = record.attempts[record.attempts.length - 1]
      assert.deepInclude(last, { consumer: "dead 2", startedAt: 3_000, outcome: { _tag: "Crashed" } })
    })
  )

  rule("a run may crash as often as its task allows; its handler knows how often, and a crash is no attempt", () =>
    Effect.gen(function* () {
      const Frail = Task.make("Frail", { maxCrashes: 2 })
      const seen: Array<readonly [number, number]> = []
      yield* Frail.queue()
      yield* crash(Frail, "dead 1")
      yield* advance("3 seconds")
      yield* crash(Frail, "dead 2")
      yield* serve(
        TaskGroup.make(Frail),
        {
          Frail: () => Effect.map(CurrentRun.CurrentRun, ({ attempt, crashes }) => void seen.push([attempt, crashes]))
        },
        short
      )
      yield* advance("3 seconds")
      yield* eventuallySync(() => assert.deepStrictEqual(seen, [[1, 2]]))
    })
  )

  rule("a consumer that learns that a claim is lost interrupts the handler, writes nothing and tells of nothing", () =>
    Effect.gen(function* () {
      const steps: Array<readonly [string, number]> = []
      let lost = false
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          extend: (extension) =>
            lost
              ? Effect.succeed({ lost: extension.claims.map(({ id }) => id), cancelled: [] })
              : broker.extend(extension)
        })
      })
      const events = yield* process.run(recordEvents)
      yield* process.run(serve(TaskGroup.make(Work), { Work: noting(steps, Effect.never) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      const before = yield* run.poll
      lost = true
      yield* advance("1 second")
      yield* eventuallySync(() =>
        assert.deepStrictEqual(steps, [
          ["started", 0],
          ["interrupted", 1_000]
        ])
      )
      yield* quiet
      assert.deepStrictEqual(yield* run.poll, before)
      assert.deepStrictEqual(statesOf(events, run.id), ["running"])
    })
  )

  rule("a consumer that cannot extend its leases stops its handlers before another one may start them", () =>
    Effect.gen(function* () {
      const here: Array<readonly [string, number]> = []
      const there: Array<readonly [string, number]> = []
      const outage = new TaskError.BackendError({ backend: "test", operation: "extend", transient: true })
      const process = yield* openProcessWith({ broker: (broker) => ({ ...givingOnce(broker), extend: () => outage }) })
      yield* process.run(serve(TaskGroup.make(Work), { Work: noting(here, Effect.never) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      yield* serve(TaskGroup.make(Work), { Work: noting(there, Effect.void) }, short)
      yield* advance("6 seconds")
      yield* becomes(run, "success")
      assert.strictEqual(here[1]?.[0], "interrupted")
      assert.isBelow(here[1]![1], 3_000)
      assert.isAtLeast(there[0]![1], 3_000)
      assert.strictEqual(here.length, 2)
    })
  )

  rule("an extension that never answers counts as one that failed", () =>
    Effect.gen(function* () {
      const steps: Array<readonly [string, number]> = []
      const process = yield* openProcessWith({ broker: (broker) => ({ ...broker, extend: () => Effect.never }) })
      yield* process.run(serve(TaskGroup.make(Work), { Work: noting(steps, Effect.never) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      yield* advance("3 seconds")
      yield* eventuallySync(() => assert.strictEqual(steps[1]?.[0], "interrupted"))
      assert.isBelow(steps[1]![1], 3_000)
    })
  )

  rule("a short outage of the extensions stops no handler", () =>
    Effect.gen(function* () {
      let down = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "extend", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({ ...broker, extend: (extension) => (down ? outage : broker.extend(extension)) })
      })
      const steps: Array<readonly [string, number]> = []
      yield* process.run(serve(TaskGroup.make(Work), { Work: noting(steps, Effect.sleep("5 seconds")) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      yield* advance("1200 millis")
      down = false
      yield* advance("3800 millis")
      assert.deepInclude(yield* becomes(run, "success"), { crashes: 0 })
      assert.deepStrictEqual(steps, [
        ["started", 0],
        ["ended", 5_000]
      ])
    })
  )

  rule("a consumer that has lost a claim performs the run again itself, when nobody else does", () =>
    Effect.gen(function* () {
      let lost = false
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          extend: (extension) =>
            lost
              ? Effect.succeed({ lost: extension.claims.map(({ id }) => id), cancelled: [] })
              : broker.extend(extension)
        })
      })
      const steps: Array<readonly [string, number]> = []
      yield* process.run(
        serve(
          TaskGroup.make(Work),
          {
            Work: () => noting(steps, steps.length === 0 ? Effect.never : Effect.void)()
          },
          short
        )
      )
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      lost = true
      yield* advance("1 second")
      lost = false
      yield* advance("5 seconds")
      assert.deepInclude(yield* becomes(run, "success"), { crashes: 1 })
    })
  )

  rule("a claim whose answer was lost is performed after its lease, by the same consumer too", () =>
    Effect.gen(function* () {
      let answers = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "claim", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.flatMap(broker.exchange(exchange), (answer) => (answers ? Effect.succeed(answer) : outage))
        })
      })
      yield* process.run(serve(TaskGroup.make(Work), { Work: () => Effect.void }, short))
      answers = false
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      answers = true
      yield* advance("6 seconds")
      yield* becomes(run, "success")
    })
  )

  rule("an end that was written, but whose answer was lost, is told of once, and the run is performed once", () =>
    Effect.gen(function* () {
      let answers = false
      const outage = new TaskError.BackendError({ backend: "test", operation: "exchange", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.flatMap(broker.exchange(exchange), (answer) => {
              const arrives = answers || exchange.settlements.length === 0
              answers ||= !arrives
              return arrives ? Effect.succeed(answer) : outage
            })
        })
      })
      const events = yield* process.run(recordEvents)
      let performed = 0
      yield* process.run(serve(TaskGroup.make(Work), { Work: () => Effect.sync(() => void performed++) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "success")
      yield* advance("6 seconds")
      yield* eventuallySync(() => assert.deepStrictEqual(statesOf(events, run.id), ["running", "success"]))
      yield* quiet
      assert.deepStrictEqual([statesOf(events, run.id), performed], [["running", "success"], 1])
    })
  )

  rule("a retry whose answer was lost tells of no end that somebody else has made meanwhile", () =>
    Effect.gen(function* () {
      let answers = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "exchange", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.flatMap(broker.exchange(exchange), (answer) => (answers ? Effect.succeed(answer) : outage))
        })
      })
      const events = yield* process.run(recordEvents)
      const handlers = {
        Snoozing: () => Effect.sync(() => (answers = false)).pipe(Effect.zipRight(CurrentRun.snooze("1 hour")))
      }
      yield* process.run(serve(TaskGroup.make(Snoozing), handlers, short))
      const run = yield* Snoozing.queue()
      yield* becomes(run, "scheduled")
      yield* advance("100 millis")
      assert.strictEqual(yield* run.cancel(), "cancelled")
      answers = true
      yield* advance("1 minute")
      assert.deepStrictEqual(statesOf(events, run.id), ["running"])
    })
  )

  rule("a claim whose answer was lost is performed after its lease, though the broker was slow at its end", () =>
    Effect.gen(function* () {
      let loses = false
      const outage = new TaskError.BackendError({ backend: "test", operation: "exchange", transient: true })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          pollInterval: Duration.infinity,
          exchange: (exchange) =>
            Effect.gen(function* () {
              const answer = yield* broker.exchange(exchange)
              if (exchange.settlements.length > 0) {
                yield* Effect.sleep("5 seconds")
              }
              const isLost = loses && answer.claimed !== null && answer.claimed.runs.length > 0
              loses &&= !isLost
              return isLost ? yield* outage : answer
            })
        })
      })
      const performed: Array<string> = []
      const handlers = {
        Long: () => Effect.sleep("1500 millis"),
        Work: () => Effect.sync(() => void performed.push("Work"))
      }
      yield* process.run(serve(TaskGroup.make(Work, Long), handlers, { ...short, maxConcurrentTasks: 2 }))
      const long = yield* Long.queue()
      yield* becomes(long, "running")
      loses = true
      const lost = yield* Work.queue()
      yield* becomes(lost, "running")
      yield* advance("1 minute")
      yield* becomes(lost, "success")
      assert.deepStrictEqual(performed, ["Work"])
    })
  )

  rule("a result whose writing fails for good is reached again after the lease", () =>
    Effect.gen(function* () {
      let broken = true
      const failure = new TaskError.BackendError({ backend: "test", operation: "settle", transient: false })
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.suspend(() => (broken && exchange.settlements.length > 0 ? failure : broker.exchange(exchange)))
        })
      })
      let performed = 0
      yield* process.run(serve(TaskGroup.make(Work), { Work: () => Effect.sync(() => void performed++) }, short))
      const run = yield* Work.queue()
      yield* eventuallySync(() => assert.strictEqual(performed, 1))
      yield* quiet
      broken = false
      yield* advance("6 seconds")
      yield* becomes(run, "success")
      assert.strictEqual(performed, 2)
    })
  )

  const lostTouch = {
    "that knows it, but cannot be stopped": new TaskError.BackendError({
      backend: "test",
      operation: "extend",
      transient: true
    }),
    "that does not know it": Effect.succeed({ lost: [], cancelled: [] })
  }
  for (const [how, answer] of Object.entries(lostTouch)) {
    rule(`a holder of a lost claim ${how} writes nothing and tells of nothing; the new holder's result stands`, () =>
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const Value = Task.make("Value")
        const old = yield* openProcessWith({ broker: (broker) => ({ ...givingOnce(broker), extend: () => answer }) })
        const events = yield* old.run(recordEvents)
        yield* old.run(
          serve(
            TaskGroup.make(Value),
            { Value: () => Effect.uninterruptible(Deferred.await(release)) },
            { ...short, name: "old" }
          )
        )
        const run = yield* Value.queue()
        yield* becomes(run, "running")
        yield* serve(TaskGroup.make(Value), { Value: () => Effect.void }, { ...short, name: "new" })
        yield* advance("4 seconds")
        const record = yield* becomes(run, "success")
        yield* Deferred.succeed(release, undefined)
        yield* quiet
        assert.deepStrictEqual(yield* run.poll, record)
        assert.isTrue(record.consumer?.startsWith("new"))
        assert.deepStrictEqual(statesOf(events, run.id), ["running"])
      })
    )
  }

  rule("the log of a run goes on after a crash, and no line is lost", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      let alive = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "extend", transient: true })
      const dying = yield* openProcessWith({
        broker: (broker) => ({
          ...givingOnce(broker),
          extend: (extension) => Effect.suspend(() => (alive ? broker.extend(extension) : outage))
        })
      })
      const logging = (who: string, end: Effect.Effect<void>) => () =>
        Effect.log(`${who} 1`).pipe(Effect.zipRight(Effect.log(`${who} 2`)), Effect.zipRight(end))
      yield* dying.run(serve(TaskGroup.make(Work), { Work: logging("old", Effect.never) }, short))
      const run = yield* Work.queue()
      yield* becomes(run, "running")
      yield* advance("2 seconds")
      alive = false
      yield* serve(TaskGroup.make(Work), { Work: logging("new", Effect.void) }, short)
      yield* advance("6 seconds")
      yield* becomes(run, "success")
      const lines = yield* manager.logs(run.id)
      assert.deepStrictEqual(
        lines.map(({ message, seq }) => [seq, message]),
        [
          [0, "old 1"],
          [1, "old 2"],
          [2, "new 1"],
          [3, "new 2"]
        ]
      )
    })
  )

  rule("nothing is lost and nothing is ended twice, when consumers come, go and die amid work", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      const ends = new Map<TaskRun.RunId, number>()
      const Many = Task.make("Many", { maxCrashes: 100 })
      const start = (name: string) =>
        Effect.gen(function* () {
          const process = yield* openProcess
          const noted = yield* process.run(recordEvents)
          yield* process.run(
            serve(
              TaskGroup.make(Many),
              { Many: () => Effect.sleep("300 millis") },
              { ...short, name, maxConcurrentTasks: 5 }
            )
          )
          return { process, noted }
        })
      yield* Effect.forEach(Array(60), () => Many.queue())
      const consumers = []
      for (let i = 0; i < 4; i++) {
        consumers.push(yield* start(`c${i}`))
        yield* crash(Many, `dead ${i}`)
        yield* advance("350 millis")
        yield* consumers[i >> 1]!.process.close
      }
      consumers.push(yield* start("last"))
      yield* advance("8 seconds")
      yield* eventually(
        Effect.map(manager.counts({ task: "Many" }), (counts) =>
          assert.deepInclude(counts, { success: 60, running: 0, queued: 0 })
        )
      )
      yield* quiet
      for (const { run, state } of consumers.flatMap(({ noted }) => noted).concat(events)) {
        if (state === "success") {
          ends.set(run.id, (ends.get(run.id) ?? 0) + 1)
        }
      }
      // processes that have ended do not tell of everything, but nobody tells of an end twice
      assert.isTrue(Array.from(ends.values()).every((count) => count === 1))
    })
  )
}

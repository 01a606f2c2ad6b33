import { assert } from "@effect/vitest"
import { CurrentRun, Store, Task, type TaskConsumer, TaskGroup } from "@effect-tasks/core"
import { Deferred, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { advance, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, recordEvents } from "./observing.js"

const Work = Task.make("Work", { payload: { seconds: Schema.Number } })
const Once = Task.make("Once", { requeueOnInterrupt: false })
const all = TaskGroup.make(Work, Once)

/** Starts a consumer of both tasks whose handlers note what happens to them. */
const serveAll = (steps: Array<string>, options: TaskConsumer.Options = {}) => {
  const noted = (name: string, work: Effect.Effect<void>) =>
    Effect.sync(() => steps.push(`${name} starts`)).pipe(
      Effect.zipRight(work),
      Effect.zipRight(Effect.sync(() => void steps.push(`${name} ends`))),
      Effect.onInterrupt(() => Effect.sync(() => steps.push(`${name} is interrupted`)))
    )
  const handlers = {
    Work: ({ seconds }: { readonly seconds: number }) => noted(`Work ${seconds}`, Effect.sleep(`${seconds} seconds`)),
    Once: () => noted("Once", Effect.never)
  }
  return serve(all, handlers, { grace: "30 seconds", ...options })
}

/** What a consumer does when it stops. */
export const shutdown: Family = (rule) => {
  rule("what ends within the grace is finished, and counted", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const consumer = yield* serveAll(steps)
      const runs = yield* Work.queueAll([{ seconds: 10 }, { seconds: 20 }])
      yield* Effect.forEach(runs, (run) => becomes(run, "running"))
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance("20 seconds")
      assert.deepStrictEqual(yield* Fiber.join(stopping), {
        finished: 2,
        givenBack: [],
        interrupted: [],
        overran: []
      })
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
    })
  )

  rule("a consumer that stops claims nothing more", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const consumer = yield* serveAll(steps, { maxConcurrentTasks: 1 })
      const first = yield* Work.queue({ seconds: 10 })
      const second = yield* Work.queue({ seconds: 10 })
      yield* becomes(first, "running")
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* quiet
      const third = yield* Work.queue({ seconds: 1 })
      yield* advance("10 seconds")
      yield* Fiber.join(stopping)
      yield* quiet
      assert.strictEqual((yield* first.poll).state, "success")
      assert.strictEqual((yield* second.poll).state, "queued")
      assert.strictEqual((yield* third.poll).state, "queued")
    })
  )

  rule("what does not end within the grace is interrupted, and given back with no attempt burned", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const events = yield* recordEvents
      const consumer = yield* serveAll(steps, { grace: "5 seconds" })
      const run = yield* Work.queue({ seconds: 60 })
      yield* becomes(run, "running")
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance(4_999)
      assert.deepStrictEqual(steps, ["Work 60 starts"])
      yield* advance(1)
      const report = yield* Fiber.join(stopping)
      assert.deepStrictEqual(steps, ["Work 60 starts", "Work 60 is interrupted"])
      assert.deepStrictEqual(report, {
        finished: 0,
        givenBack: [{ id: run.id, task: "Work" }],
        interrupted: [],
        overran: []
      })
      const record = yield* run.poll
      assert.deepInclude(record, { state: "queued", attempt: 0, crashes: 0, dueAt: 0, consumer: null })
      assert.deepStrictEqual(
        record.attempts.map(({ outcome }) => outcome._tag),
        ["Interrupted"]
      )
      yield* eventsBecome(events, run, "init", "queued", "running", "queued")
    })
  )

  rule("a run that was given back is performed by the next consumer at once, at its old place", () =>
    Effect.gen(function* () {
      const first = yield* openProcess
      yield* first.run(serveAll([], { grace: 0 }))
      const run = yield* Work.queue({ seconds: 2 })
      yield* becomes(run, "running")
      const later = yield* Work.queue({ seconds: 1 })
      yield* first.close
      const steps: Array<string> = []
      yield* serveAll(steps, { maxConcurrentTasks: 1 })
      yield* advance("2 seconds")
      yield* becomes(run, "success")
      assert.deepStrictEqual(steps.slice(0, 2), ["Work 2 starts", "Work 2 ends"])
      yield* advance("1 second")
      yield* becomes(later, "success")
    })
  )

  rule("a run that must not be given back ends as interrupted", () =>
    Effect.gen(function* () {
      const consumer = yield* serveAll([], { grace: 0 })
      const run = yield* Once.queue()
      yield* becomes(run, "running")
      const report = yield* consumer.gracefullyStop
      assert.deepStrictEqual(report.interrupted, [{ id: run.id, task: "Once" }])
      assert.deepStrictEqual(report.givenBack, [])
      assert.strictEqual((yield* run.poll).state, "interrupted")
      assert.deepInclude(yield* Effect.flip(run.await), { _tag: "TaskInterrupted", runId: run.id })
    })
  )

  rule("what ignores its interruption is reported as overrun after the second deadline, and left behind", () =>
    Effect.gen(function* () {
      const release = yield* Deferred.make<void>()
      const Stuck = Task.make("Stuck")
      const consumer = yield* serve(
        TaskGroup.make(Stuck),
        { Stuck: () => Effect.uninterruptible(Deferred.await(release)) },
        { grace: "3 seconds", cleanup: "2 seconds" }
      )
      const run = yield* Stuck.queue()
      yield* becomes(run, "running")
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance(4_999)
      assert.strictEqual((yield* stopping.poll)._tag, "None")
      yield* advance(1)
      const report = yield* Fiber.join(stopping)
      assert.deepStrictEqual(report, {
        finished: 0,
        givenBack: [],
        interrupted: [],
        overran: [{ id: run.id, task: "Stuck" }]
      })
      yield* Deferred.succeed(release, undefined)
    })
  )

  rule("slow finalizers get the time of the second deadline", () =>
    Effect.gen(function* () {
      const Tidy = Task.make("Tidy")
      let tidied = false
      const tidy = Effect.zipRight(
        Effect.sleep("1 second"),
        Effect.sync(() => (tidied = true))
      )
      const consumer = yield* serve(
        TaskGroup.make(Tidy),
        { Tidy: () => Effect.onInterrupt(Effect.never, () => tidy) },
        { grace: 0, cleanup: "2 seconds" }
      )
      const run = yield* Tidy.queue()
      yield* becomes(run, "running")
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance("1 second")
      const report = yield* Fiber.join(stopping)
      assert.isTrue(tidied)
      assert.deepStrictEqual(report.givenBack, [{ id: run.id, task: "Tidy" }])
    })
  )

  rule("stopping twice, also at the same time, gives the same report", () =>
    Effect.gen(function* () {
      const consumer = yield* serveAll([])
      const run = yield* Work.queue({ seconds: 10 })
      yield* becomes(run, "running")
      const [first, second] = yield* Effect.all([
        Effect.fork(consumer.gracefullyStop),
        Effect.fork(consumer.gracefullyStop)
      ])
      yield* advance("10 seconds")
      const report = yield* Fiber.join(first)
      assert.strictEqual(report.finished, 1)
      assert.deepStrictEqual(yield* Fiber.join(second), report)
      assert.deepStrictEqual(yield* consumer.gracefullyStop, report)
    })
  )

  rule("a stop cannot be stopped: whoever waits for it may leave", () =>
    Effect.gen(function* () {
      const consumer = yield* serveAll([])
      const run = yield* Work.queue({ seconds: 10 })
      yield* becomes(run, "running")
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* quiet
      const leaving = yield* Effect.fork(Fiber.interrupt(stopping))
      yield* advance("10 seconds")
      yield* Fiber.join(leaving)
      assert.strictEqual((yield* consumer.gracefullyStop).finished, 1)
      yield* becomes(run, "success")
    })
  )

  rule("the end of its Scope stops a consumer in the same way", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const scope = yield* Scope.make()
      const consumer = yield* Scope.extend(serveAll(steps), scope)
      const [quick, slow] = yield* Work.queueAll([{ seconds: 10 }, { seconds: 60 }])
      yield* becomes(slow!, "running")
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* advance("30 seconds")
      yield* Fiber.join(closing)
      const report = yield* consumer.gracefullyStop
      assert.deepInclude(report, { finished: 1, givenBack: [{ id: slow!.id, task: "Work" }] })
      yield* becomes(quick!, "success")
      assert.isFalse(yield* consumer.alive)
    })
  )

  rule("an orderly stop keeps its order: finish, interrupt, finalizers, give back, leave", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const note = (step: string) => Effect.sync(() => steps.push(step))
      const process = yield* openProcessWith({
        broker: (broker) => ({
          ...broker,
          exchange: (exchange) =>
            Effect.gen(function* () {
              yield* exchange.claim === null ? Effect.void : note("claim")
              const exchanged = yield* broker.exchange(exchange)
              yield* Effect.forEach(exchange.settlements, ({ run }) => note(`settled as ${run.state}`))
              return exchanged
            })
        }),
        store: (store) => ({
          ...store,
          removeConsumers: (ids) => Effect.zipLeft(store.removeConsumers(ids), note("left"))
        })
      })
      const consumer = yield* process.run(serveAll(steps, { grace: "5 seconds" }))
      yield* Work.queueAll([{ seconds: 3 }, { seconds: 60 }])
      yield* eventuallySync(() => assert.include(steps, "Work 60 starts"))
      yield* quiet
      steps.length = 0
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* quiet
      yield* Work.queue({ seconds: 1 })
      yield* advance("5 seconds")
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(steps, [
        "Work 3 ends",
        "settled as success",
        "Work 60 is interrupted",
        "settled as queued",
        "left"
      ])
    })
  )

  rule("the lease is kept alive during the grace", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const steps: Array<string> = []
      const consumer = yield* serveAll([], { lease: "3 seconds", grace: "20 seconds" })
      const run = yield* Work.queue({ seconds: 10 })
      yield* becomes(run, "running")
      yield* other.run(serveAll(steps, { grace: 0 }))
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance("10 seconds")
      yield* Fiber.join(stopping)
      assert.deepInclude(yield* becomes(run, "success"), { crashes: 0 })
      assert.deepStrictEqual(steps, [])
    })
  )

  rule("a run that is settled during the shutdown stores its lines and its progress", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const Talk = Task.make("Talk")
      const consumer = yield* serve(TaskGroup.make(Talk), {
        Talk: () =>
          Effect.log("last words").pipe(
            Effect.zipRight(CurrentRun.progress(0.5, "half")),
            Effect.zipRight(Effect.never)
          )
      })
      const run = yield* Talk.queue()
      yield* becomes(run, "running")
      yield* quiet
      yield* consumer.gracefullyStop
      const lines = yield* store.logs(run.id, { fromSeq: 0, limit: 10 })
      assert.deepStrictEqual(
        lines.map(({ message }) => message),
        ["last words"]
      )
      assert.deepStrictEqual((yield* run.poll).progress, { value: 0.5, message: "half" })
    })
  )

  rule("a consumer without work stops at once", () =>
    Effect.gen(function* () {
      const consumer = yield* serveAll([])
      assert.deepStrictEqual(yield* consumer.gracefullyStop, {
        finished: 0,
        givenBack: [],
        interrupted: [],
        overran: []
      })
    })
  )
}

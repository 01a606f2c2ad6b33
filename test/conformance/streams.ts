import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskError, TaskGroup, TaskRun } from "@effect-tasks/core"
import { Deferred, Effect, Fiber, Schedule, Schema, Stream } from "effect"
import { advance, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

const Talk = Task.make("Talk", { payload: { lines: Schema.Number }, error: Oops, retry: Schedule.recurs(1) })

/** Logs a line, then waits five seconds, as often as its payload says. */
const talk = ({ lines }: { readonly lines: number }) =>
  Effect.forEach(Array.from({ length: lines }), (_, i) => Effect.delay(Effect.log(`line ${i}`), i === 0 ? 0 : 5_000), {
    discard: true
  })

/** Follows a stream from now on; gives what has come, and the fiber that ends with the stream. */
const follow = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const fiber = yield* Effect.forkScoped(Stream.runForEach(stream, (item) => Effect.sync(() => seen.push(item))))
    yield* quiet
    return { seen, fiber }
  })

/** What handles let one see of a run while it is performed. */
export const streams: Family = (rule) => {
  rule("the log of a run that this process performs comes at once, and ends with the run", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(Talk), { Talk: talk })
      const run = yield* Talk.queue({ lines: 3 }, { delay: "1 second" })
      const { fiber, seen } = yield* follow(run.logs)
      yield* advance("1 second")
      yield* eventuallySync(() =>
        assert.deepStrictEqual(
          seen.map(({ message }) => message),
          ["line 0"]
        )
      )
      yield* advance("5 seconds")
      yield* eventuallySync(() =>
        assert.deepStrictEqual(
          seen.map(({ seq }) => seq),
          [0, 1]
        )
      )
      yield* advance("5 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        seen.map(({ seq }) => seq),
        [0, 1, 2]
      )
    })
  )

  rule("the log of a run that another process performs comes within two seconds, each line once", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(Talk), { Talk: talk }))
      const run = yield* Talk.queue({ lines: 3 })
      yield* becomes(run, "running")
      const { fiber, seen } = yield* follow(run.logs)
      yield* advance("2 seconds")
      yield* eventuallySync(() =>
        assert.deepStrictEqual(
          seen.map(({ message }) => message),
          ["line 0"]
        )
      )
      yield* advance("8 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        seen.map(({ seq }) => seq),
        [0, 1, 2]
      )
    })
  )

  rule(
    "a log that is followed from amid the run, or after its end, has all lines of all attempts once and in order",
    () =>
      Effect.gen(function* () {
        yield* serve(TaskGroup.make(Talk), {
          Talk: (payload) =>
            Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
              Effect.zipRight(talk(payload), attempt === 1 ? Effect.fail(new Oops({ code: 1 })) : Effect.void)
            )
        })
        const run = yield* Talk.queue({ lines: 3 })
        yield* advance("5500 millis")
        // one line is stored by now, and another one is not
        const amid = yield* follow(run.logs)
        yield* advance("30 seconds")
        yield* becomes(run, "success")
        yield* advance("1 second")
        yield* Fiber.join(amid.fiber)
        const after = Array.from(yield* Stream.runCollect(run.logs))
        for (const lines of [amid.seen, after]) {
          assert.deepStrictEqual(
            lines.map(({ attempt, message, seq }) => [seq, attempt, message]),
            [0, 1, 2, 3, 4, 5].map((seq) => [seq, seq < 3 ? 1 : 2, `line ${seq % 3}`])
          )
        }
      })
  )

  rule("where so much is logged that not all is kept, lines still come in order and once", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const other = yield* openProcess
      yield* other.run(
        serve(TaskGroup.make(Talk), {
          Talk: () =>
            Effect.zipRight(
              Deferred.await(gate),
              Effect.forEach(Array(1_500), (_, i) => Effect.log(`line ${i}`), { discard: true })
            )
        })
      )
      const run = yield* Talk.queue({ lines: 0 })
      const { fiber, seen } = yield* follow(run.logs)
      yield* Deferred.succeed(gate, undefined)
      yield* becomes(run, "success")
      yield* advance("1 second")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        seen.map(({ seq }) => seq),
        Array.from({ length: 1_000 }, (_, i) => (i < 900 ? i : i + 500))
      )
    })
  )

  rule("there is no log and no progress of a run that is not there", () =>
    Effect.gen(function* () {
      const run = yield* Talk.handle(TaskRun.RunId.make("00000000-0000-7000-8000-000000000999"))
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(run.logs)))._tag, "RunNotFound")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(run.progress)))._tag, "RunNotFound")
    })
  )

  rule("the progress of a run is told up to its end, here and in another process", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const Step = Task.make("Step")
      const run = yield* Step.queue(undefined, { delay: "1 second" })
      const there = yield* other.run(Step.handle(run.id))
      yield* serve(TaskGroup.make(Step), {
        Step: () =>
          Effect.gen(function* () {
            yield* CurrentRun.progress(0.1)
            yield* CurrentRun.progress(0.25, "begun")
            yield* Effect.sleep("10 seconds")
            yield* CurrentRun.progress(0.5)
            yield* Effect.sleep("10 seconds")
            yield* CurrentRun.progress(1, "done")
          })
      })
      const views = [yield* follow(run.progress), yield* follow(there.progress)]
      yield* advance("30 seconds")
      for (const { fiber, seen } of views) {
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(seen, [
          { value: 0.25, message: "begun" },
          { value: 0.5, message: null },
          { value: 1, message: "done" }
        ])
      }
    })
  )

  rule("an outage of the store only delays a log that is followed", () =>
    Effect.gen(function* () {
      let isAway = true
      const outage = new TaskError.BackendError({ backend: "test", operation: "logs", transient: true })
      const viewer = yield* openProcessWith({
        store: (store) => ({
          ...store,
          get: (ids) => Effect.suspend(() => (isAway ? outage : store.get(ids))),
          logs: (id, options) => Effect.suspend(() => (isAway ? outage : store.logs(id, options)))
        })
      })
      yield* serve(TaskGroup.make(Talk), { Talk: talk })
      const run = yield* Talk.queue({ lines: 2 })
      const { fiber, seen } = yield* follow((yield* viewer.run(Talk.handle(run.id))).logs)
      yield* advance("10 seconds")
      assert.deepStrictEqual(seen, [])
      isAway = false
      yield* advance("10 seconds")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        seen.map(({ message }) => message),
        ["line 0", "line 1"]
      )
    })
  )

  rule("the log of a run that is cancelled before it begins ends without a line", () =>
    Effect.gen(function* () {
      const run = yield* Talk.queue({ lines: 1 })
      const { fiber, seen } = yield* follow(run.logs)
      yield* run.cancel("not needed")
      yield* advance("1 second")
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(seen, [])
    })
  )
}

import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Fiber, Schedule, Schema } from "effect"
import { advance, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { eventsBecome, Oops, recordEvents } from "./observing.js"

const Half = Task.make("Half", {
  payload: { n: Schema.Number },
  success: Schema.Number,
  error: Oops,
  tags: ["half"],
  retry: Schedule.exponential("1 second").pipe(Schedule.intersect(Schedule.recurs(2)))
})

/** Halves a number; of an odd one only the third attempt, rounded. */
const HalfLive = Half.toLayer(({ n }) =>
  Effect.gen(function* () {
    const { attempt } = yield* CurrentRun.CurrentRun
    yield* Effect.log(`half of ${n}`)
    return n % 2 === 1 && attempt < 3 ? yield* new Oops({ code: attempt }) : Math.floor(n / 2)
  })
)

/** The only run that is recorded. */
const onlyRun = Effect.gen(function* () {
  const manager = yield* TaskManager.TaskManager
  const { items } = yield* manager.runs()
  assert.strictEqual(items.length, 1)
  return items[0]!
})

/** Runs that are performed in the caller's fiber. */
export const inPlace: Family = (rule) => {
  rule("a run performed in place gives its success, and is recorded like any other", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const events = yield* recordEvents
      assert.strictEqual(yield* Effect.provide(Half.execute({ n: 8 }, { tags: ["now"] }), HalfLive), 4)
      const run = yield* onlyRun
      assert.deepInclude(run, {
        task: "Half",
        state: "success",
        consumer: "inline",
        tags: ["half", "now"],
        payload: { n: 8 },
        outcome: { _tag: "Success", value: 4 }
      })
      assert.strictEqual(run.attempts.length, 1)
      assert.deepStrictEqual(
        (yield* manager.logs(run.id)).map(({ message }) => message),
        ["half of 8"]
      )
      yield* eventsBecome(events, run, "init", "queued", "running", "success")
    })
  )

  rule("it is retried as its task says, in the caller's fiber", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const fiber = yield* Effect.fork(Effect.provide(Half.execute({ n: 7 }), HalfLive))
      yield* advance(2_999)
      assert.strictEqual((yield* fiber.poll)._tag, "None")
      yield* advance(1)
      assert.strictEqual(yield* Fiber.join(fiber), 3)
      const run = yield* onlyRun
      assert.deepStrictEqual(
        run.attempts.map(({ startedAt }) => startedAt),
        [0, 1_000, 3_000]
      )
      const again = ["scheduled", "queued", "running"] as const
      yield* eventsBecome(events, run, "init", "queued", "running", ...again, ...again, "success")
    })
  )

  rule("it is not retried where the caller wants that", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.provide(Half.execute({ n: 7 }, { retry: false }), HalfLive))
      assert.deepStrictEqual(error, new Oops({ code: 1 }))
      assert.strictEqual((yield* onlyRun).state, "failure")
    })
  )

  rule("a payload that does not fit is refused, and nothing is recorded", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const error = yield* Effect.flip(Effect.provide(Half.execute({ n: "x" as never }), HalfLive))
      assert.strictEqual(error._tag, "ParseError")
      assert.deepStrictEqual((yield* manager.runs()).items, [])
    })
  )

  rule("its ways to end are those of a consumer's runs", () =>
    Effect.gen(function* () {
      const Ends = Task.make("Ends", { payload: { how: Schema.String }, timeout: "2 seconds" })
      const EndsLive = Ends.toLayer(({ how }) =>
        how === "abort" ? CurrentRun.abort("no") : how === "die" ? Effect.die("no") : Effect.never
      )
      const end = (how: string) =>
        Effect.map(Effect.flip(Effect.provide(Ends.execute({ how }), EndsLive)), ({ _tag }) => _tag)
      assert.strictEqual(yield* end("abort"), "TaskAborted")
      assert.strictEqual(yield* end("die"), "TaskDefect")
      const fiber = yield* Effect.fork(end("hang"))
      yield* advance("2 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "TaskTimeout")
      const manager = yield* TaskManager.TaskManager
      assert.deepInclude(yield* manager.counts(), { aborted: 1, failure: 2 })
    })
  )

  rule("it may snooze: its caller's fiber sleeps meanwhile", () =>
    Effect.gen(function* () {
      let calls = 0
      const Wait = Task.make("Wait")
      const WaitLive = Wait.toLayer(() =>
        Effect.suspend(() => (++calls < 2 ? CurrentRun.snooze("5 seconds") : Effect.void))
      )
      const fiber = yield* Effect.fork(Effect.provide(Wait.execute(), WaitLive))
      yield* advance("4 seconds")
      assert.strictEqual(calls, 1)
      yield* advance("1 second")
      yield* Fiber.join(fiber)
      assert.deepInclude(yield* onlyRun, { state: "success", attempt: 0 })
    })
  )

  rule("when its caller is interrupted, it is recorded as interrupted", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const Hang = Task.make("Hang")
      const fiber = yield* Effect.fork(
        Effect.provide(
          Hang.execute(),
          Hang.toLayer(() => Effect.never)
        )
      )
      yield* quiet
      yield* Fiber.interrupt(fiber)
      const run = yield* onlyRun
      assert.strictEqual(run.state, "interrupted")
      yield* eventsBecome(events, run, "init", "queued", "running", "interrupted")
    })
  )

  rule("what it queues is its child", () =>
    Effect.gen(function* () {
      const Parent = Task.make("Parent", { success: Schema.String })
      const Child = Task.make("Child")
      const ParentLive = Parent.toLayer(() => Effect.map(Effect.orDie(Child.queue()), ({ id }) => id))
      const id = yield* Effect.provide(Parent.execute(), ParentLive)
      const manager = yield* TaskManager.TaskManager
      const [child, parent] = (yield* manager.runs()).items
      assert.strictEqual(child!.id, id)
      assert.deepInclude(child!, { parentId: parent!.id, rootId: parent!.id })
    })
  )

  rule("a run performed in place inside a handler is the handler's child", () =>
    Effect.gen(function* () {
      const Outer = Task.make("Outer")
      yield* serve(TaskGroup.make(Outer), {
        Outer: () => Effect.asVoid(Effect.orDie(Effect.provide(Half.execute({ n: 2 }), HalfLive)))
      })
      const outer = yield* Outer.queue()
      yield* outer.await
      const manager = yield* TaskManager.TaskManager
      const [inner] = (yield* manager.runs({ task: "Half" })).items
      assert.deepInclude(inner!, { parentId: outer.id, rootId: outer.id, state: "success" })
    })
  )

  rule("no consumer sees it, but every process sees its record", () =>
    Effect.gen(function* () {
      let elsewhere = 0
      const other = yield* openProcess
      yield* other.run(
        serve(TaskGroup.make(Half), {
          Half: () =>
            Effect.as(
              Effect.sync(() => elsewhere++),
              0
            )
        })
      )
      assert.strictEqual(yield* Effect.provide(Half.execute({ n: 8 }), HalfLive), 4)
      const { id } = yield* onlyRun
      const handle = yield* other.run(Half.handle(id))
      assert.strictEqual(yield* handle.await, 4)
      assert.strictEqual(elsewhere, 0)
    })
  )

  rule("a record that cannot be written is an error of the call", () =>
    Effect.gen(function* () {
      const failure = new TaskError.BackendError({ backend: "test", operation: "record", transient: true })
      const process = yield* openProcessWith({ store: (store) => ({ ...store, record: () => failure }) })
      const error = yield* Effect.flip(process.run(Effect.provide(Half.execute({ n: 8 }), HalfLive)))
      assert.deepStrictEqual(error, failure)
    })
  )
}

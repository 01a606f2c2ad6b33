import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Cause, Effect, Logger, LogLevel, Schedule, Schema } from "effect"
import { advance, type Family, quiet, serve } from "./harness.js"
import { becomes, Oops } from "./observing.js"

const logOf = (run: { readonly id: TaskManager.Page["items"][number]["id"] }) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) => manager.logs(run.id))

/** What handlers say: their lines and their progress. */
export const logs: Family = (rule) => {
  rule("what a handler logs is kept with its run: level, message, annotations, spans, attempt and time", () =>
    Effect.gen(function* () {
      const Talk = Task.make("Talk", { payload: { name: Schema.String } })
      yield* serve(TaskGroup.make(Talk), {
        Talk: ({ name }) =>
          Effect.gen(function* () {
            yield* Effect.log("hello", name, { n: 1 }).pipe(Effect.annotateLogs({ name, size: 3 }))
            yield* Effect.sleep("1 second")
            yield* Effect.logWarning("slow").pipe(Effect.withLogSpan("inner"), Effect.withLogSpan("outer"))
            yield* Effect.logError("bad", Cause.fail("reason"))
          })
      })
      yield* advance("5 seconds")
      const run = yield* Talk.queue({ name: "Ada" })
      yield* advance("1 second")
      yield* becomes(run, "success")
      const [first, second, third] = yield* logOf(run)
      assert.deepEqual(
        { ...first, message: "" },
        {
          runId: run.id,
          seq: 0,
          attempt: 1,
          at: 5_000,
          level: "INFO",
          message: "",
          annotations: { name: "Ada", size: 3 },
          spans: []
        }
      )
      assert.match(first!.message, /^hello Ada \{\s*"n":\s*1\s*\}$/)
      assert.deepInclude(second, { seq: 1, at: 6_000, level: "WARN", message: "slow", annotations: {} })
      assert.sameMembers([...second!.spans], ["inner", "outer"])
      assert.deepInclude(third, { seq: 2, level: "ERROR" })
      assert.include(third!.message, "reason")
    })
  )

  rule("lines of all attempts, and of the fibers that a handler starts, stand in one log", () =>
    Effect.gen(function* () {
      const Twice = Task.make("Twice", { error: Oops, retry: Schedule.recurs(1) })
      yield* serve(TaskGroup.make(Twice), {
        Twice: () =>
          Effect.gen(function* () {
            const { attempt } = yield* CurrentRun.CurrentRun
            yield* Effect.all([Effect.log("a"), Effect.log("b")], { concurrency: "unbounded" })
            return attempt === 1 ? yield* new Oops({ code: 1 }) : undefined
          })
      })
      const run = yield* Twice.queue()
      yield* becomes(run, "success")
      assert.deepStrictEqual(
        (yield* logOf(run)).map(({ attempt, message, seq }) => [seq, attempt, message]),
        [
          [0, 1, "a"],
          [1, 1, "b"],
          [2, 2, "a"],
          [3, 2, "b"]
        ]
      )
    })
  )

  rule("runs that are performed at one time have each their own log", () =>
    Effect.gen(function* () {
      const Talk = Task.make("Talk", { payload: { name: Schema.String } })
      yield* serve(TaskGroup.make(Talk), {
        Talk: ({ name }) =>
          Effect.forEach([1, 2, 3], (n) => Effect.zipLeft(Effect.log(`${name} ${n}`), Effect.yieldNow()), {
            discard: true
          })
      })
      const runs = yield* Talk.queueAll(["x", "y", "z"].map((name) => ({ name })))
      for (const [i, run] of runs.entries()) {
        yield* becomes(run, "success")
        const name = ["x", "y", "z"][i]
        assert.deepStrictEqual(
          (yield* logOf(run)).map(({ message }) => message),
          [`${name} 1`, `${name} 2`, `${name} 3`]
        )
      }
    })
  )

  rule("the application's own logger sees the lines too", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const Talk = Task.make("Talk")
      const own = Logger.make(({ message }) => void seen.push(message))
      yield* serve(TaskGroup.make(Talk), { Talk: () => Effect.log("hello") }).pipe(Effect.provide(Logger.add(own)))
      const run = yield* Talk.queue()
      yield* becomes(run, "success")
      assert.deepStrictEqual(seen, [["hello"]])
      assert.strictEqual((yield* logOf(run)).length, 1)
    })
  )

  rule("lines below the application's level are not kept", () =>
    Effect.gen(function* () {
      const Talk = Task.make("Talk")
      yield* serve(TaskGroup.make(Talk), {
        Talk: () =>
          Effect.logDebug("hidden").pipe(
            Effect.zipRight(Effect.log("hidden too")),
            Effect.zipRight(Effect.logWarning("shown")),
            Logger.withMinimumLogLevel(LogLevel.Warning)
          )
      })
      const run = yield* Talk.queue()
      yield* becomes(run, "success")
      assert.deepStrictEqual(
        (yield* logOf(run)).map(({ message }) => message),
        ["shown"]
      )
    })
  )

  rule("lines and progress of a long run can be read about a second after they were reported", () =>
    Effect.gen(function* () {
      const Slow = Task.make("Slow")
      yield* serve(TaskGroup.make(Slow), {
        Slow: () =>
          CurrentRun.progress(0.25, "begun").pipe(
            Effect.zipRight(Effect.log("working")),
            Effect.zipRight(Effect.sleep("5 seconds")),
            Effect.zipRight(CurrentRun.progress(0.75)),
            Effect.zipRight(Effect.never)
          )
      })
      const run = yield* Slow.queue()
      yield* becomes(run, "running")
      yield* quiet
      yield* advance("1 second")
      assert.deepStrictEqual((yield* run.poll).progress, { value: 0.25, message: "begun" })
      assert.deepStrictEqual(
        (yield* logOf(run)).map(({ message }) => message),
        ["working"]
      )
      yield* advance("5 seconds")
      assert.deepStrictEqual((yield* run.poll).progress, { value: 0.75, message: null })
    })
  )

  rule("the last progress of a run stays with its record", () =>
    Effect.gen(function* () {
      const Quick = Task.make("Quick")
      yield* serve(TaskGroup.make(Quick), {
        Quick: () => Effect.zipRight(CurrentRun.progress(0.5), CurrentRun.progress(1, "done"))
      })
      const run = yield* Quick.queue()
      assert.deepStrictEqual((yield* becomes(run, "success")).progress, { value: 1, message: "done" })
    })
  )

  rule("of more than 1,000 lines the first 900 and the last 100 are kept, and a line says how many were left out", () =>
    Effect.gen(function* () {
      const Chatty = Task.make("Chatty")
      yield* serve(TaskGroup.make(Chatty), {
        Chatty: () => Effect.forEach(Array(1_500), (_, i) => Effect.log(`line ${i}`), { discard: true })
      })
      const run = yield* Chatty.queue()
      yield* becomes(run, "success")
      const lines = yield* logOf(run)
      assert.strictEqual(lines.length, 1_000)
      assert.deepInclude(lines[899], { seq: 899, message: "line 899" })
      assert.strictEqual(lines[900]!.message, "… 500 lines were left out …\nline 1400")
      assert.deepInclude(lines[999], { seq: 1_499, message: "line 1499" })
    })
  )

  rule("a log is read from a place on, in portions", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const Chatty = Task.make("Chatty")
      yield* serve(TaskGroup.make(Chatty), {
        Chatty: () => Effect.forEach(Array(10), (_, i) => Effect.log(`line ${i}`), { discard: true })
      })
      const run = yield* Chatty.queue()
      yield* becomes(run, "success")
      const lines = yield* manager.logs(run.id, { fromSeq: 4, limit: 2 })
      assert.deepStrictEqual(
        lines.map(({ message }) => message),
        ["line 4", "line 5"]
      )
    })
  )

  rule("what a run logged is kept, however it ends", () =>
    Effect.gen(function* () {
      const Ends = Task.make("Ends", { payload: { how: Schema.String }, error: Oops, timeout: "1 second" })
      yield* serve(TaskGroup.make(Ends), {
        Ends: ({ how }) =>
          Effect.zipRight(
            Effect.log(how),
            how === "fail"
              ? new Oops({ code: 1 })
              : how === "die"
                ? Effect.die("no")
                : how === "abort"
                  ? CurrentRun.abort("no")
                  : Effect.never
          )
      })
      const hows = ["fail", "die", "abort", "time out", "cancel"]
      const runs = yield* Ends.queueAll(hows.map((how) => ({ how })))
      yield* becomes(runs[4]!, "running")
      yield* runs[4]!.cancel()
      yield* becomes(runs[4]!, "cancelled")
      yield* advance("1 second")
      yield* becomes(runs[3]!, "failure")
      for (const [i, run] of runs.entries()) {
        assert.deepStrictEqual(
          (yield* logOf(run)).map(({ message }) => message),
          [hows[i]!]
        )
      }
    })
  )
}

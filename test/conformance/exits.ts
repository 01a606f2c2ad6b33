import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskError, TaskGroup } from "@effect-tasks/core"
import { Deferred, Effect, Schedule, Schema } from "effect"
import { advance, type Family, openProcess, quiet, serve } from "./harness.js"
import { becomes, eventsBecome, eventuallySync, Oops, recordEvents } from "./observing.js"

/** What each way in which an attempt can end does to the run. */
export const exits: Family = (rule) => {
  rule("a success is kept with its value", () =>
    Effect.gen(function* () {
      const When = Task.make("When", { success: Schema.Struct({ at: Schema.Date }) })
      yield* serve(TaskGroup.make(When), { When: () => Effect.succeed({ at: new Date(5) }) })
      const run = yield* When.queue()
      assert.deepStrictEqual(yield* run.await, { at: new Date(5) })
      assert.deepInclude(yield* run.poll, {
        state: "success",
        attempt: 0,
        endedAt: 0,
        outcome: { _tag: "Success", value: { at: "1970-01-01T00:00:00.005Z" } }
      })
    })
  )

  rule("a typed failure is kept encoded, with its rendered cause, and given back decoded", () =>
    Effect.gen(function* () {
      const Fails = Task.make("Fails", { error: Oops })
      yield* serve(TaskGroup.make(Fails), { Fails: () => new Oops({ code: 7 }) })
      const run = yield* Fails.queue()
      assert.deepStrictEqual(yield* Effect.flip(run.await), new Oops({ code: 7 }))
      const { outcome } = yield* run.poll
      assert.deepInclude(outcome, { _tag: "Failure", error: { _tag: "Oops", code: 7 } })
      assert.include(outcome?._tag === "Failure" ? outcome.cause : "", "Oops")
    })
  )

  rule("a timeout interrupts the attempt: its finalizers run, its place is free, and the error is typed", () =>
    Effect.gen(function* () {
      const finalized: Array<string> = []
      const Slow = Task.make("Slow", { timeout: "5 seconds" })
      const consumer = yield* serve(TaskGroup.make(Slow), {
        Slow: () =>
          Effect.acquireRelease(Effect.void, () => Effect.sync(() => finalized.push("scope"))).pipe(
            Effect.zipRight(Effect.never),
            Effect.onInterrupt(() => Effect.sync(() => finalized.push("interrupted")))
          )
      })
      const run = yield* Slow.queue()
      yield* advance(4_999)
      assert.deepStrictEqual(finalized, [])
      yield* advance(1)
      const error = yield* Effect.flip(run.await)
      assert.deepStrictEqual(
        error,
        new TaskError.TaskTimeout({ runId: run.id, task: "Slow", attempt: 1, timeoutMillis: 5_000 })
      )
      assert.deepStrictEqual(finalized, ["interrupted", "scope"])
      yield* quiet
      assert.strictEqual(yield* consumer.running, 0)
    })
  )

  rule("a timeout is retried as the schedule says", () =>
    Effect.gen(function* () {
      const Slow = Task.make("Slow", { timeout: "5 seconds", retry: Schedule.spaced("1 second") })
      yield* serve(TaskGroup.make(Slow), {
        Slow: () => Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => (attempt === 1 ? Effect.never : Effect.void))
      })
      const run = yield* Slow.queue()
      yield* advance("6 seconds")
      const { attempts } = yield* becomes(run, "success")
      assert.deepStrictEqual(
        attempts.map(({ endedAt, outcome }) => [endedAt, outcome._tag]),
        [
          [5_000, "Timeout"],
          [6_000, "Success"]
        ]
      )
    })
  )

  rule("the time limit holds for each attempt, not for all together", () =>
    Effect.gen(function* () {
      const Slow = Task.make("Slow", { error: Oops, timeout: "5 seconds", retry: Schedule.recurs(2) })
      yield* serve(TaskGroup.make(Slow), {
        Slow: () =>
          Effect.zipRight(
            Effect.sleep("4 seconds"),
            Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => (attempt < 3 ? new Oops({ code: 1 }) : Effect.void))
          )
      })
      const run = yield* Slow.queue()
      yield* advance("12 seconds")
      yield* becomes(run, "success")
    })
  )

  rule("a handler that ignores its interruption takes one place, and the others go on", () =>
    Effect.gen(function* () {
      const release = yield* Deferred.make<void>()
      const Stuck = Task.make("Stuck", { timeout: "1 second" })
      const Quick = Task.make("Quick")
      const stuck = Effect.uninterruptible(Deferred.await(release))
      yield* serve(
        TaskGroup.make(Stuck, Quick),
        { Stuck: () => stuck, Quick: () => Effect.void },
        { maxConcurrentTasks: 2 }
      )
      const run = yield* Stuck.queue()
      yield* advance("10 seconds")
      yield* Quick.queueAndWait()
      assert.strictEqual((yield* run.poll).state, "running")
      yield* Deferred.succeed(release, undefined)
      yield* becomes(run, "failure")
    })
  )

  rule("a run that aborts itself ends as aborted, and is not retried", () =>
    Effect.gen(function* () {
      let finalized = 0
      const Stop = Task.make("Stop", { error: Oops, retry: Schedule.recurs(5) })
      yield* serve(TaskGroup.make(Stop), {
        Stop: () =>
          CurrentRun.abort("nothing to do").pipe(
            // neither of these holds it up
            Effect.zipRight(new Oops({ code: 1 })),
            Effect.catchAll(() => Effect.void),
            Effect.retry(Schedule.recurs(3)),
            Effect.ensuring(Effect.sync(() => finalized++))
          )
      })
      const run = yield* Stop.queue()
      const error = yield* Effect.flip(run.await)
      assert.deepStrictEqual(error, new TaskError.TaskAborted({ runId: run.id, task: "Stop", reason: "nothing to do" }))
      assert.deepInclude(yield* run.poll, { state: "aborted", attempt: 0 })
      assert.strictEqual(finalized, 1)
    })
  )

  rule("a run that aborts in one of several fibers ends as aborted too", () =>
    Effect.gen(function* () {
      const Stop = Task.make("Stop")
      yield* serve(TaskGroup.make(Stop), {
        Stop: () =>
          Effect.all([Effect.never, Effect.sleep("1 second"), CurrentRun.abort("enough")], {
            concurrency: "unbounded",
            discard: true
          })
      })
      const run = yield* Stop.queue()
      yield* becomes(run, "aborted")
    })
  )

  rule("a snoozed run is performed again later, under the same id, and no attempt is burned", () =>
    Effect.gen(function* () {
      const attempts: Array<[number, number]> = []
      const Wait = Task.make("Wait")
      const events = yield* recordEvents
      yield* serve(TaskGroup.make(Wait), {
        Wait: () =>
          Effect.flatMap(CurrentRun.CurrentRun, ({ attempt, startedAt }) => {
            attempts.push([startedAt, attempt])
            return attempts.length < 3 ? CurrentRun.snooze("10 seconds") : Effect.void
          })
      })
      const run = yield* Wait.queue()
      assert.deepInclude(yield* becomes(run, "scheduled"), { dueAt: 10_000, attempt: 0 })
      yield* advance("20 seconds")
      const record = yield* becomes(run, "success")
      assert.deepStrictEqual(attempts, [
        [0, 1],
        [10_000, 1],
        [20_000, 1]
      ])
      assert.strictEqual(record.attempt, 0)
      yield* eventsBecome(
        events,
        run,
        ...(["init", "queued", "running", "scheduled", "queued", "running", "scheduled"] as const),
        ...(["queued", "running", "success"] as const)
      )
    })
  )

  rule("a snoozed run does not hold back the others of its task", () =>
    Effect.gen(function* () {
      const Wait = Task.make("Wait", { payload: { snoozes: Schema.Boolean } })
      yield* serve(TaskGroup.make(Wait), {
        Wait: ({ snoozes }) => (snoozes ? CurrentRun.snooze("10 seconds") : Effect.void)
      })
      const snoozing = yield* Wait.queue({ snoozes: true })
      yield* becomes(snoozing, "scheduled")
      yield* Wait.queueAndWait({ snoozes: false })
      assert.strictEqual((yield* snoozing.poll).state, "scheduled")
    })
  )

  rule("a rate-limited run holds its whole task back, and no other; no attempt is burned", () =>
    Effect.gen(function* () {
      const performed: Array<string> = []
      const Call = Task.make("Call", { payload: { name: Schema.String } })
      const Other = Task.make("Other")
      let refused = false
      yield* serve(
        TaskGroup.make(Call, Other),
        {
          Call: ({ name }) =>
            Effect.suspend(() => {
              if (!refused) {
                refused = true
                return CurrentRun.rateLimited("30 seconds")
              }
              performed.push(name)
              return Effect.void
            }),
          Other: () => Effect.sync(() => void performed.push("other"))
        },
        { maxConcurrentTasks: 1 }
      )
      const runs = yield* Call.queueAll(["a", "b"].map((name) => ({ name })))
      yield* Other.queueAndWait()
      const late = yield* Call.queue({ name: "c" }, { priority: "high" })
      yield* advance(29_999)
      assert.deepStrictEqual(performed, ["other"])
      yield* advance(1)
      yield* Effect.forEach([...runs, late], (run) => becomes(run, "success"))
      assert.deepStrictEqual(performed, ["other", "c", "b", "a"])
      assert.strictEqual((yield* runs[0]!.poll).attempt, 0)
    })
  )

  rule("a task that is held back is held back for consumers of other processes too", () =>
    Effect.gen(function* () {
      const Call = Task.make("Call", { payload: { first: Schema.Boolean } })
      const startedAt: Array<number> = []
      const handlers = {
        Call: ({ first }: { readonly first: boolean }) =>
          Effect.flatMap(CurrentRun.CurrentRun, (run) => {
            startedAt.push(run.startedAt)
            return first && startedAt.length === 1 ? CurrentRun.rateLimited("5 seconds") : Effect.void
          })
      }
      yield* serve(TaskGroup.make(Call), handlers)
      const held = yield* Call.queue({ first: true })
      yield* becomes(held, "scheduled")
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(Call), handlers))
      const second = yield* Call.queue({ first: false })
      yield* advance("5 seconds")
      yield* becomes(second, "success")
      yield* becomes(held, "success")
      assert.deepStrictEqual(startedAt, [0, 5_000, 5_000])
    })
  )

  for (const [how, broken] of [
    ["dies", () => Effect.die(new TypeError("no such thing"))],
    [
      "throws while it is called",
      (): Effect.Effect<void> => {
        throw new TypeError("no such thing")
      }
    ]
  ] as const) {
    rule(`a handler that ${how} fails the run with a typed defect, and the consumer goes on`, () =>
      Effect.gen(function* () {
        const Broken = Task.make("Broken")
        const Fine = Task.make("Fine")
        yield* serve(TaskGroup.make(Broken, Fine), { Broken: broken, Fine: () => Effect.void })
        const run = yield* Broken.queue()
        const error = yield* Effect.flip(run.await)
        assert.instanceOf(error, TaskError.TaskDefect)
        assert.deepInclude(error, { runId: run.id, task: "Broken", attempt: 1 })
        assert.include(error._tag === "TaskDefect" ? error.cause : "", "TypeError: no such thing")
        assert.deepInclude((yield* run.poll).outcome, { _tag: "Defect", name: "TypeError", message: "no such thing" })
        yield* Fine.queueAndWait()
      })
    )
  }

  rule("a defect is retried as the schedule says", () =>
    Effect.gen(function* () {
      const Broken = Task.make("Broken", { retry: Schedule.recurs(2) })
      yield* serve(TaskGroup.make(Broken), {
        Broken: () =>
          Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) => (attempt < 3 ? Effect.die("no") : Effect.void))
      })
      yield* Broken.queueAndWait()
    })
  )

  rule("a handler that interrupts itself has failed with a defect", () =>
    Effect.gen(function* () {
      const Odd = Task.make("Odd")
      yield* serve(TaskGroup.make(Odd), { Odd: () => Effect.interrupt })
      const run = yield* Odd.queue()
      assert.strictEqual((yield* Effect.flip(run.await))._tag, "TaskDefect")
    })
  )

  rule("a stored payload that no longer decodes fails the run, unretried, and the consumer goes on", () =>
    Effect.gen(function* () {
      const Old = Task.make("Import", { payload: { url: Schema.String } })
      const New = Task.make("Import", { payload: { file: Schema.String }, retry: Schedule.forever })
      const files: Array<string> = []
      yield* serve(TaskGroup.make(New), { Import: ({ file }) => Effect.sync(() => void files.push(file)) })
      const old = yield* Old.queue({ url: "u" })
      const error = yield* Effect.flip(old.await)
      assert.deepInclude(error, { _tag: "PayloadInvalid", runId: old.id, task: "Import" })
      assert.include(error.message, "file")
      yield* New.queueAndWait({ file: "f" })
      assert.deepStrictEqual(files, ["f"])
      assert.strictEqual((yield* old.poll).state, "failure")
    })
  )

  rule("a value that does not fit the success schema fails the run", () =>
    Effect.gen(function* () {
      const Count = Task.make("Count", { success: Schema.Positive, retry: Schedule.recurs(1) })
      yield* serve(TaskGroup.make(Count), { Count: () => Effect.succeed(-1) })
      const run = yield* Count.queue()
      assert.strictEqual((yield* Effect.flip(run.await))._tag, "ResultInvalid")
      assert.strictEqual((yield* run.poll).state, "failure")
    })
  )

  rule("the Scope of an attempt is closed before the run has ended", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const Open = Task.make("Open")
      yield* serve(TaskGroup.make(Open), {
        Open: () =>
          Effect.acquireRelease(
            Effect.sync(() => steps.push("open")),
            () =>
              Effect.zipRight(
                Effect.sleep("1 second"),
                Effect.sync(() => steps.push("close"))
              )
          )
      })
      const run = yield* Open.queue()
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["open"]))
      assert.strictEqual((yield* run.poll).state, "running")
      yield* advance("1 second")
      yield* run.await
      assert.deepStrictEqual(steps, ["open", "close"])
    })
  )

  rule("a run of a task that no consumer here knows is left for one that does", () =>
    Effect.gen(function* () {
      const Known = Task.make("Known")
      const Unknown = Task.make("Unknown")
      yield* serve(TaskGroup.make(Known), { Known: () => Effect.void })
      const run = yield* Unknown.queue(undefined, { priority: "high" })
      yield* Known.queueAndWait()
      assert.strictEqual((yield* run.poll).state, "queued")
      yield* serve(TaskGroup.make(Unknown), { Unknown: () => Effect.void })
      yield* becomes(run, "success")
    })
  )
}

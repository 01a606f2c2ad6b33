import { assert } from "@effect/vitest"
import {
  Broker,
  CurrentRun,
  type ScheduleError,
  Store,
  Task,
  TaskError,
  TaskGroup,
  TaskManager,
  type TaskRun,
  TaskSchedule,
  TaskScheduler
} from "@effect-tasks/core"
import { Cause, Clock, Deferred, Effect, Logger, LogLevel, Option, Schema } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"

/** Without a consumer no run ends, so ticks may overlap where a test says nothing else. */
const every = (options: TaskSchedule.EveryOptions = {}) =>
  TaskSchedule.every("10 seconds", { overlap: "allow", ...options })

const scheduled = (schedule: TaskSchedule.TaskSchedule) => Task.make("Tick", { schedule })

const Plain = Task.make("Plain", { payload: { n: Schema.Number } })
const none = TaskGroup.make()

/** Starts a scheduler in this scope. */
const start = <Tasks extends Task.Any>(group: TaskGroup.TaskGroup<Tasks>, options: TaskScheduler.Options = {}) =>
  Effect.tap(TaskScheduler.make(group, options), quiet)

/** The operations without the firing. */
const client = Effect.scoped(
  Effect.flatMap(TaskManager.TaskManager, () => Effect.provide(TaskScheduler.TaskScheduler, TaskScheduler.client))
)

/** What a scheduler warns of. */
const recordWarnings = <A, E, R>(self: Effect.Effect<A, E, R>, warnings: Array<string>): Effect.Effect<A, E, R> =>
  Effect.provide(
    self,
    Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ cause, logLevel, message }) => {
        if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) {
          warnings.push(`${[message].flat().join(" ")}${Cause.isEmpty(cause) ? "" : Cause.pretty(cause)}`)
        }
      })
    )
  )

/** The runs of a schedule, oldest first. */
const runsOf = (name: string) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) =>
    Effect.map(manager.runs({ tag: `schedule:${name}`, limit: 1_000 }), ({ items }) => items.slice().reverse())
  )

const tickTag = ({ tags }: TaskRun.TaskRun): number =>
  Date.parse(tags.find((tag) => tag.startsWith("tick:"))?.slice("tick:".length) ?? "")

/** The ticks, in seconds, for which there are runs. */
const ticksOf = (name = "Tick") =>
  Effect.map(runsOf(name), (runs) => runs.map((run) => tickTag(run) / 1_000).sort((a, b) => a - b))

const statesOf = (name = "Tick") => Effect.map(runsOf(name), (runs) => runs.map(({ state }) => state))

/** A handler whose runs last until they are let go. */
const gated = Effect.map(Deferred.make<void>(), (gate) => ({
  handlers: { Tick: () => Deferred.await(gate) },
  open: Effect.zipRight(Deferred.succeed(gate, undefined), quiet)
}))

/** Ticks, and when they are fired. */
const firing: Family = (rule) => {
  rule("each tick is fired at its time, and its run knows the schedule and the tick", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      yield* serve(TaskGroup.make(scheduled(every())), {
        Tick: () =>
          Effect.gen(function* () {
            const { schedule, scheduledFor } = yield* CurrentRun.CurrentRun
            seen.push([schedule, scheduledFor, yield* Clock.currentTimeMillis])
          })
      })
      const scheduler = yield* start(TaskGroup.make(scheduled(every())))
      assert.deepInclude(yield* scheduler.get("Tick"), { source: "code", nextTick: 10_000, lastTick: null })
      yield* advance("30 seconds")
      yield* eventually(
        Effect.sync(() =>
          assert.deepStrictEqual(seen, [
            ["Tick", 10_000, 10_000],
            ["Tick", 20_000, 20_000],
            ["Tick", 30_000, 30_000]
          ])
        )
      )
      assert.deepInclude(yield* scheduler.get("Tick"), { nextTick: 40_000, lastTick: 30_000 })
    })
  )

  rule("two schedulers on one backend fire each tick once", () =>
    Effect.gen(function* () {
      const group = TaskGroup.make(
        scheduled(every()),
        Task.make("Other", { schedule: TaskSchedule.every("15 seconds", { overlap: "allow" }) })
      )
      yield* start(group)
      const other = yield* openProcess
      yield* other.run(start(group))
      yield* advance("60 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20, 30, 40, 50, 60])
      assert.deepStrictEqual(yield* ticksOf("Other"), [15, 30, 45, 60])
    })
  )

  rule("a restart fires no tick again, neither a cron minute nor an interval that begins at once", () =>
    Effect.gen(function* () {
      const group = TaskGroup.make(
        scheduled(every({ immediately: true })),
        Task.make("Minute", { schedule: TaskSchedule.cron("* * * * *") })
      )
      yield* advance("58 seconds")
      for (let restarts = 0; restarts < 3; restarts++) {
        const process = yield* openProcess
        yield* process.run(start(group))
        yield* advance("1 second")
        yield* process.close
      }
      assert.deepStrictEqual(yield* ticksOf(), [58, 60])
      assert.deepStrictEqual(yield* ticksOf("Minute"), [60])
    })
  )

  rule("an interval does not drift, however late its runs are", () =>
    Effect.gen(function* () {
      yield* serve(TaskGroup.make(scheduled(every())), { Tick: () => Effect.sleep("3333 millis") })
      yield* start(TaskGroup.make(scheduled(every())))
      yield* advance("45 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20, 30, 40])
    })
  )

  rule("an interval from completion begins when the run has ended, wherever it is performed", () =>
    Effect.gen(function* () {
      const task = scheduled(every({ anchor: "completion", immediately: true }))
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(task), { Tick: () => Effect.sleep("7 seconds") }))
      yield* start(TaskGroup.make(task))
      yield* advance("7 seconds")
      const [first] = yield* runsOf("Tick")
      assert.deepInclude(first, { state: "success" })
      yield* eventually(
        Effect.flatMap(client, (scheduler) =>
          Effect.map(scheduler.get("Tick"), ({ nextTick }) =>
            assert.strictEqual(nextTick, (first!.endedAt ?? 0) + 10_000)
          )
        )
      )
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [0, 17])
    })
  )

  rule("no tick comes before startAt or after endAt", () =>
    Effect.gen(function* () {
      const scheduler = yield* start(
        TaskGroup.make(scheduled(every({ startAt: 15_000, endAt: 36_000, overlap: "allow" })))
      )
      yield* advance("60 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [15, 25, 35])
      assert.deepInclude(yield* scheduler.get("Tick"), { nextTick: null, nextAt: null, lastTick: 35_000 })
    })
  )

  rule("jitter makes a tick later, the same for every scheduler, and never as late as the next", () =>
    Effect.gen(function* () {
      const task = scheduled(every({ jitter: "1 minute", overlap: "allow" }))
      const scheduler = yield* start(TaskGroup.make(task))
      const other = yield* openProcess
      yield* other.run(start(TaskGroup.make(task)))
      const { nextAt } = yield* scheduler.get("Tick")
      assert.isTrue(nextAt !== null && nextAt >= 10_000 && nextAt < 20_000)
      yield* advance(nextAt! - 1)
      assert.deepStrictEqual(yield* ticksOf(), [])
      yield* advance("1 millis")
      assert.deepStrictEqual(yield* ticksOf(), [10])
      yield* advance(60_000 - nextAt!)
      const runs = yield* runsOf("Tick")
      assert.deepStrictEqual(runs.map(tickTag), [10_000, 20_000, 30_000, 40_000, 50_000])
      assert.isTrue(runs.every((run) => run.createdAt >= tickTag(run) && run.createdAt < tickTag(run) + 10_000))
      assert.isAbove(new Set(runs.map((run) => run.createdAt - tickTag(run))).size, 1)
    })
  )

  rule("a schedule whose scheduler has closed fires no more", () =>
    Effect.gen(function* () {
      const process = yield* openProcess
      yield* process.run(start(TaskGroup.make(scheduled(every()))))
      yield* advance("10 seconds")
      yield* process.close
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10])
    })
  )

  rule("a scheduler survives an outage of the backend, from its start on", () =>
    Effect.gen(function* () {
      const outage = { on: true }
      const unless =
        <Args extends ReadonlyArray<unknown>, A, E>(call: (...args: Args) => Effect.Effect<A, E>) =>
        (...args: Args) =>
          Effect.suspend(
            (): Effect.Effect<A, E | TaskError.BackendError> =>
              outage.on
                ? new TaskError.BackendError({ backend: "test", operation: "fire", transient: true })
                : call(...args)
          )
      const process = yield* openProcessWith({
        broker: (broker) => ({ ...broker, fire: unless(broker.fire), putSchedules: unless(broker.putSchedules) }),
        store: (store) => ({ ...store, schedules: Effect.suspend(unless(() => store.schedules)) })
      })
      const warnings: Array<string> = []
      const scheduler = yield* process.run(
        recordWarnings(start(TaskGroup.make(scheduled(every({ catchUp: "all", overlap: "allow" })))), warnings)
      )
      yield* advance("1 second")
      assert.deepInclude((yield* scheduler.status)[0], { name: "ticks", state: "backingOff" })
      outage.on = false
      yield* advance("24 seconds")
      outage.on = true
      yield* advance("20 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20])
      outage.on = false
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20, 30, 40, 50])
      assert.deepInclude((yield* scheduler.status)[0], { name: "ticks", state: "working", failures: 0 })
      assert.deepStrictEqual(
        warnings.filter((warning) => warning.startsWith(`the scheduler's loop "ticks" failed`)).length,
        2
      )
    })
  )
}

/** What becomes of ticks while a run has not ended, and of those that nobody fired. */
const policies: Family = (rule) => {
  rule("overlap skip: a tick is left out while a run has not ended, with a warning", () =>
    Effect.gen(function* () {
      const { handlers, open } = yield* gated
      const warnings: Array<string> = []
      const task = scheduled(every({ overlap: "skip" }))
      yield* serve(TaskGroup.make(task), handlers)
      yield* recordWarnings(start(TaskGroup.make(task)), warnings)
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10])
      yield* open
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 40])
      assert.deepStrictEqual(warnings.length, 2)
      assert.match(warnings[1]!, /the schedule Tick \(every 10s\) skipped a tick.*00:00:30.*overlap: skip/)
    })
  )

  rule("overlap skip counts a run that waits for a consumer, too", () =>
    Effect.gen(function* () {
      yield* start(TaskGroup.make(scheduled(every({ overlap: "skip" }))))
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* statesOf(), ["queued"])
    })
  )

  rule("overlap allow: every tick has its run", () =>
    Effect.gen(function* () {
      const { handlers } = yield* gated
      const task = scheduled(every({ overlap: "allow" }))
      yield* serve(TaskGroup.make(task), handlers)
      yield* start(TaskGroup.make(task))
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* statesOf(), ["running", "running", "running"])
    })
  )

  rule("overlap queueOne: one tick waits until the run has ended, and is fired then", () =>
    Effect.gen(function* () {
      const { handlers, open } = yield* gated
      const task = scheduled(every({ overlap: "queueOne" }))
      yield* serve(TaskGroup.make(task), handlers)
      const scheduler = yield* start(TaskGroup.make(task))
      yield* advance("45 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10])
      assert.deepInclude(yield* scheduler.get("Tick"), { waitingTick: 20_000, lastTick: 40_000 })
      yield* open
      yield* eventually(Effect.map(ticksOf(), (ticks) => assert.deepStrictEqual(ticks, [10, 20])))
      assert.deepInclude(yield* scheduler.get("Tick"), { waitingTick: null })
      yield* advance("5 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20, 50])
    })
  )

  rule("overlap cancelRunning: the run is cancelled, and the newest tick begins when it has ended", () =>
    Effect.gen(function* () {
      const task = scheduled(every({ overlap: "cancelRunning" }))
      const gate = yield* Deferred.make<void>()
      let running = 0
      let most = 0
      yield* serve(TaskGroup.make(task), {
        Tick: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            () => Effect.never,
            // its finalizer takes longer than the next ticks
            () =>
              Effect.zipRight(
                Deferred.await(gate),
                Effect.sync(() => running--)
              )
          )
      })
      const scheduler = yield* start(TaskGroup.make(task))
      yield* advance("41 seconds")
      assert.deepStrictEqual(yield* statesOf(), ["running"])
      assert.deepInclude(yield* scheduler.get("Tick"), { waitingTick: 40_000 })
      yield* Deferred.succeed(gate, undefined)
      yield* eventually(Effect.map(statesOf(), (states) => assert.deepStrictEqual(states, ["cancelled", "running"])))
      assert.deepStrictEqual(yield* ticksOf(), [10, 40])
      assert.strictEqual(most, 1)
    })
  )

  rule("overlap cancelRunning: a run that waits is cancelled at once", () =>
    Effect.gen(function* () {
      yield* start(TaskGroup.make(scheduled(every({ overlap: "cancelRunning" }))))
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* statesOf(), ["cancelled", "cancelled", "queued"])
      assert.deepStrictEqual(yield* ticksOf(), [10, 20, 30])
    })
  )

  const catchUps: Record<TaskSchedule.CatchUp, ReadonlyArray<number>> = {
    none: [10, 50],
    last: [10, 40, 50],
    all: [10, 20, 30, 40, 50]
  }
  for (const catchUp of ["none", "last", "all"] as const) {
    rule(`catchUp ${catchUp} after a time without a scheduler`, () =>
      Effect.gen(function* () {
        const group = TaskGroup.make(
          Task.make("Tick", { schedule: every({ catchUp, overlap: "allow", startAt: 10_000 }) }),
          // the last tick is still in time
          Task.make("Punctual", { schedule: TaskSchedule.every("8 seconds", { catchUp, overlap: "allow" }) })
        )
        const first = yield* openProcess
        yield* first.run(start(group))
        yield* advance("10 seconds")
        yield* first.close
        yield* advance("39500 millis")
        const warnings: Array<string> = []
        yield* recordWarnings(start(group), warnings)
        yield* advance("500 millis")
        const expected = catchUp === "none" ? catchUps.last : catchUps[catchUp]
        assert.deepStrictEqual(yield* ticksOf(), expected)
        assert.deepStrictEqual(yield* ticksOf("Punctual"), catchUp === "all" ? [8, 16, 24, 32, 40, 48] : [8, 48])
        assert.deepStrictEqual(
          warnings.map((warning) => warning.replace(/ \([^)]*\)(?= missed)/, "")),
          catchUp === "all"
            ? []
            : [
                `the schedule Punctual missed 4 ticks, for no scheduler was there (catchUp: ${catchUp})`,
                `the schedule Tick missed 2 ticks, for no scheduler was there (catchUp: ${catchUp})`
              ]
        )
      })
    )
  }

  rule("catchUp none leaves the last tick out, too, when it is late", () =>
    Effect.gen(function* () {
      const group = TaskGroup.make(
        Task.make("Tick", { schedule: TaskSchedule.every("30 seconds", { catchUp: "none" }) })
      )
      const first = yield* openProcess
      yield* first.run(start(group))
      yield* first.close
      yield* advance("71 seconds")
      yield* start(group)
      assert.deepStrictEqual(yield* ticksOf(), [])
      yield* advance("19 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [90])
    })
  )

  rule("catchUp all is bounded: the newest are fired", () =>
    Effect.gen(function* () {
      const group = TaskGroup.make(
        Task.make("Tick", { schedule: TaskSchedule.every("10 millis", { catchUp: "all", overlap: "allow" }) })
      )
      const first = yield* openProcess
      yield* first.run(start(group))
      yield* first.close
      yield* advance("20 seconds")
      yield* start(group)
      const ticks = yield* ticksOf()
      assert.strictEqual(ticks.length, TaskSchedule.mostCaughtUp)
      assert.deepStrictEqual([ticks[0], ticks[ticks.length - 1]], [10.01, 20])
    })
  )
}

/** What people and programs do to schedules. */
const operating: Family = (rule) => {
  rule("a schedule is added, edited and removed at runtime, from anywhere", () =>
    Effect.gen(function* () {
      yield* start(none)
      const other = yield* openProcess
      const scheduler = yield* other.run(client)
      yield* scheduler.add("a", { task: Plain, payload: { n: 1 }, schedule: every(), tags: ["mine"], group: "g" })
      assert.deepInclude(yield* scheduler.get("a"), {
        task: "Plain",
        payload: { n: 1 },
        source: "runtime",
        scope: null,
        nextTick: 10_000
      })
      yield* advance("10 seconds")
      const [run] = yield* runsOf("a")
      assert.deepInclude(run, { task: "Plain", payload: { n: 1 }, group: "g" })
      assert.include(run!.tags, "mine")
      yield* scheduler.edit("a", { task: Plain, payload: { n: 2 } })
      yield* scheduler.edit("a", { schedule: TaskSchedule.every("25 seconds", { overlap: "allow" }) })
      assert.deepInclude(yield* scheduler.get("a"), { payload: { n: 2 }, nextTick: 25_000, lastTick: 10_000 })
      yield* advance("30 seconds")
      assert.deepStrictEqual(
        (yield* runsOf("a")).map((run) => [tickTag(run), run.payload]),
        [
          [10_000, { n: 1 }],
          [25_000, { n: 2 }]
        ]
      )
      yield* scheduler.remove("a")
      yield* advance("30 seconds")
      assert.deepStrictEqual(yield* ticksOf("a"), [10, 25])
      assert.deepStrictEqual(yield* scheduler.list, [])
    })
  )

  rule("what cannot be is refused, and nothing is changed", () =>
    Effect.gen(function* () {
      const scheduler = yield* start(none)
      const tagOf = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.flip(self), ({ _tag }) => _tag)
      yield* scheduler.add("a", { task: Plain, payload: { n: 1 }, schedule: every() })
      const wish = { task: Plain, payload: { n: 1 }, schedule: every() }
      assert.strictEqual(yield* tagOf(scheduler.add("a", wish)), "ScheduleExists")
      assert.strictEqual(yield* tagOf(scheduler.add("\n", wish)), "InvalidOption")
      assert.strictEqual(yield* tagOf(scheduler.add("b", { ...wish, payload: { n: "1" as never } })), "ParseError")
      assert.strictEqual(
        yield* tagOf(scheduler.add("b", { ...wish, schedule: TaskSchedule.cron("0 0 31 2 *") })),
        "InvalidSchedule"
      )
      assert.strictEqual(
        yield* tagOf(scheduler.edit("a", { schedule: TaskSchedule.every(Number.POSITIVE_INFINITY) })),
        "InvalidSchedule"
      )
      assert.strictEqual(yield* tagOf(scheduler.edit("b", { schedule: every() })), "ScheduleNotFound")
      assert.strictEqual(yield* tagOf(scheduler.preview("a", 0)), "InvalidOption")
      for (const call of [scheduler.remove, scheduler.pause, scheduler.resume, scheduler.trigger, scheduler.get]) {
        assert.strictEqual(
          yield* tagOf(call("b") as Effect.Effect<unknown, ScheduleError.ScheduleNotFound>),
          "ScheduleNotFound"
        )
      }
      assert.deepStrictEqual(
        (yield* scheduler.list).map(({ name }) => name),
        ["a"]
      )
      const never = TaskScheduler.make(TaskGroup.make(scheduled(TaskSchedule.cron("x"))))
      assert.strictEqual(yield* tagOf(never), "InvalidSchedule")
    })
  )

  rule("a paused schedule fires nothing, and what passes meanwhile is not missed", () =>
    Effect.gen(function* () {
      const warnings: Array<string> = []
      const scheduler = yield* recordWarnings(
        start(TaskGroup.make(scheduled(every({ catchUp: "all", overlap: "allow" })))),
        warnings
      )
      yield* advance("10 seconds")
      yield* scheduler.pause("Tick")
      assert.deepInclude(yield* scheduler.get("Tick"), { paused: true, nextAt: null })
      yield* advance("25 seconds")
      yield* scheduler.resume("Tick")
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 40])
      assert.deepStrictEqual(warnings, [])
    })
  )

  rule("trigger queues a run beside the ticks, and overlap counts it", () =>
    Effect.gen(function* () {
      const { handlers, open } = yield* gated
      const task = scheduled(every({ overlap: "skip" }))
      yield* serve(TaskGroup.make(task), handlers)
      const scheduler = yield* start(TaskGroup.make(task))
      yield* advance("5 seconds")
      const id = yield* scheduler.trigger("Tick")
      yield* advance("10 seconds")
      const [run, ...others] = yield* runsOf("Tick")
      assert.deepStrictEqual([run!.id, run!.state, run!.tags, others], [id, "running", ["schedule:Tick"], []])
      assert.deepInclude(yield* scheduler.get("Tick"), { lastRunId: id, lastTick: 10_000, nextTick: 20_000 })
      yield* open
      yield* advance("5 seconds")
      assert.deepStrictEqual((yield* runsOf("Tick")).length, 2)
      yield* scheduler.pause("Tick")
      yield* scheduler.trigger("Tick")
      assert.deepStrictEqual((yield* runsOf("Tick")).length, 3)
    })
  )

  rule("preview tells the next ticks", () =>
    Effect.gen(function* () {
      const scheduler = yield* start(TaskGroup.make(scheduled(every({ endAt: 35_000 }))))
      assert.deepStrictEqual(yield* scheduler.preview("Tick", 2), [10_000, 20_000])
      yield* advance("10 seconds")
      assert.deepStrictEqual(yield* scheduler.preview("Tick", 9), [20_000, 30_000])
    })
  )

  rule("what is declared is reconciled at the start: added, changed, removed, each in its scope", () =>
    Effect.gen(function* () {
      const startWith = (scope: string, ...tasks: ReadonlyArray<Task.Any>) =>
        Effect.scoped(start(TaskGroup.make(...tasks), { scope }))
      const a = (schedule: TaskSchedule.TaskSchedule, priority = 0) => Task.make("A", { schedule, priority })
      const b = Task.make("B", { schedule: every(), payload: { n: Schema.Number }, schedulePayload: { n: 1 } })
      const scheduler = yield* client
      const names = Effect.map(scheduler.list, (all) => all.map(({ name }) => name))
      yield* scheduler.add("mine", { task: Plain, payload: { n: 1 }, schedule: every() })
      yield* startWith("one", a(every()), b, Task.make("NotScheduled"))
      yield* startWith("two", Task.make("C", { schedule: every() }))
      assert.deepStrictEqual(yield* names, ["A", "B", "C", "mine"])
      assert.deepInclude(yield* scheduler.get("B"), { payload: { n: 1 }, scope: "one", source: "code" })
      yield* scheduler.pause("A")
      yield* advance("10 seconds")

      yield* startWith("one", a(TaskSchedule.every("1 hour")))
      assert.deepStrictEqual(yield* names, ["A", "C", "mine"])
      assert.deepInclude(yield* scheduler.get("A"), { paused: true, nextTick: 3_600_000 })

      // what was edited at runtime stays, until the code says something new
      yield* scheduler.edit("A", { schedule: TaskSchedule.every("2 hours") })
      yield* startWith("one", a(TaskSchedule.every("1 hour")))
      assert.deepInclude(yield* scheduler.get("A"), { nextTick: 7_200_000 })
      yield* startWith("one", a(TaskSchedule.every("3 hours")))
      assert.deepInclude(yield* scheduler.get("A"), { nextTick: 10_800_000 })
    })
  )

  rule("a changed schedule keeps its last tick; one that has other runs only keeps its next tick, too", () =>
    Effect.gen(function* () {
      const startWith = (task: Task.Any) =>
        Effect.scoped(Effect.zipRight(start(TaskGroup.make(task)), advance("10 seconds")))
      yield* startWith(scheduled(every()))
      yield* startWith(Task.make("Tick", { schedule: every(), tags: ["new"] }))
      const scheduler = yield* client
      assert.deepInclude(yield* scheduler.get("Tick"), { lastTick: 20_000, nextTick: 30_000 })
      yield* Effect.scoped(start(TaskGroup.make(scheduled(TaskSchedule.every("7 seconds")))))
      assert.deepInclude(yield* scheduler.get("Tick"), { lastTick: 20_000, nextTick: 21_000 })
    })
  )

  rule("ten that start at once declare the same", () =>
    Effect.gen(function* () {
      const process = yield* openProcess
      yield* Effect.forEach(
        Array.from({ length: 10 }, (_, i) => i),
        (i) =>
          i % 2 === 0
            ? start(TaskGroup.make(scheduled(every())))
            : process.run(start(TaskGroup.make(scheduled(every())))),
        { concurrency: "unbounded", discard: true }
      )
      yield* advance("20 seconds")
      assert.deepStrictEqual(yield* ticksOf(), [10, 20])
      assert.deepStrictEqual((yield* Effect.flatMap(client, ({ list }) => list)).length, 1)
    })
  )

  rule("a record of another version is left out, and the others are fired", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const minutely = TaskSchedule.every("1 minute", { overlap: "allow" })
      const scheduler = yield* start(TaskGroup.make(scheduled(minutely)))
      yield* scheduler.add("a", { task: Plain, payload: { n: 1 }, schedule: minutely })
      const stranger = { ...(yield* storedOf("a")), name: "stranger", spec: '{"_tag":"Moon"}' }
      const warnings: Array<string> = []
      const other = yield* openProcess
      yield* other.run(recordWarnings(start(TaskGroup.make(scheduled(minutely))), warnings))
      yield* broker.putSchedules([{ schedule: stranger, expected: null, runs: [] }])
      // where only the fact of a change is heard, the schedules are read again after a while
      yield* eventually(
        Effect.zipRight(
          advance("5 millis"),
          Effect.sync(() => assert.match(warnings[0] ?? "", /stranger.*another version/s))
        )
      )
      yield* advance("2 minutes")
      assert.deepStrictEqual(yield* ticksOf(), [60, 120])
      assert.strictEqual(warnings.filter((warning) => warning.includes("stranger")).length, 1)
      assert.strictEqual((yield* Effect.flip(scheduler.get("stranger")))._tag, "InvalidSchedule")
    })
  )
}

const storedOf = (name: string) =>
  Effect.flatMap(Store.Store, (store) =>
    Effect.flatMap(store.schedules, (all) => Option.fromNullable(all.find((one) => one.name === name)))
  )

/** One-shots under a key. */
const oneShots: Family = (rule) => {
  rule("a one-shot is performed at its moment, once", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      yield* serve(TaskGroup.make(Plain), { Plain: ({ n }) => Effect.sync(() => void seen.push(n)) })
      const scheduler = yield* client
      yield* scheduler.once("k", { task: Plain, payload: { n: 1 }, at: 10_000 })
      yield* advance("9 seconds")
      assert.deepStrictEqual(seen, [])
      yield* advance("20 seconds")
      assert.deepStrictEqual(seen, [1])
    })
  )

  rule("a later call with the key replaces payload and moment", () =>
    Effect.gen(function* () {
      const scheduler = yield* client
      const first = yield* scheduler.once("k", { task: Plain, payload: { n: 1 }, at: 10_000 })
      const second = yield* scheduler.once("k", { task: Plain, payload: { n: 2 }, at: new Date(5_000) })
      const other = yield* scheduler.once("l", { task: Plain, payload: { n: 3 }, at: 4_000 })
      assert.strictEqual(second, first)
      assert.deepStrictEqual(
        (yield* scheduler.listOnce).map((one) => ({ ...one })),
        [
          { key: "l", task: "Plain", at: 4_000, payload: { n: 3 }, runId: other },
          { key: "k", task: "Plain", at: 5_000, payload: { n: 2 }, runId: first }
        ]
      )
    })
  )

  rule("a one-shot that waits is cancelled, and its key is free", () =>
    Effect.gen(function* () {
      const scheduler = yield* client
      const first = yield* scheduler.once("k", { task: Plain, payload: { n: 1 }, at: 10_000 })
      assert.isTrue(yield* scheduler.cancelOnce("k"))
      assert.isFalse(yield* scheduler.cancelOnce("k"))
      assert.deepStrictEqual(yield* scheduler.listOnce, [])
      assert.notStrictEqual(yield* scheduler.once("k", { task: Plain, payload: { n: 1 }, at: 10_000 }), first)
    })
  )
}

/** Schedules, from the code and at runtime. */
export const scheduling: Family = (rule) => {
  firing(rule)
  policies(rule)
  operating(rule)
  oneShots(rule)
}

import { assert, describe, it } from "@effect/vitest"
import { CurrentRun, RetryPolicy, Task, TaskGroup, TaskTest } from "@effect-tasks/core"
import { Clock, Effect, Exit, Layer, Schema, TestClock } from "effect"

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const Mail = Task.make("Mail", {
  payload: { to: Schema.String, at: Schema.Date },
  success: Schema.Number,
  error: Refused,
  retry: RetryPolicy.make({ retries: 2, delay: "1 hour" }),
  tags: ["mail"]
})
const Parent = Task.make("Parent", { payload: { children: Schema.Number } })
const Child = Task.make("Child", { payload: { place: Schema.Number }, queue: "small" })
const Slow = Task.make("Slow")
const Endless = Task.make("Endless")
const Unserved = Task.make("Unserved")

const group = TaskGroup.make(Mail, Parent, Child, Slow, Endless)

const Handlers = group.toLayer({
  Mail: ({ to }) => (to === "nobody" ? new Refused({ why: "no such box" }) : Effect.succeed(to.length)),
  Parent: ({ children }) =>
    Effect.asVoid(
      Child.queueAll(
        Array.from({ length: children }, (_, place) => ({ place })),
        { group: "family" }
      )
    ),
  Child: () => Effect.log("born"),
  Slow: () => Effect.sleep("1 minute"),
  Endless: () => Effect.asVoid(Endless.queue())
})

const Kit = TaskTest.consumer(group).pipe(Layer.provide(Handlers), Layer.provideMerge(TaskTest.layer))

const noon = new Date(12 * 3_600_000)

const test = (name: string, body: () => Effect.Effect<void, unknown, Layer.Layer.Success<typeof Kit>>) =>
  it.effect(name, () => Effect.provide(body(), Kit))

describe("TaskTest: what was queued", () => {
  test("gives the runs in order, with their decoded payloads and their states", () =>
    Effect.gen(function* () {
      yield* Mail.queue({ to: "ada", at: noon }, { delay: "1 day", priority: "high", tags: ["now"], group: "a" })
      yield* Mail.queue({ to: "bob", at: noon }, { idempotencyKey: "once" })
      yield* Mail.queue({ to: "bob", at: noon }, { idempotencyKey: "once" })
      const [first, second, ...rest] = yield* TaskTest.queued(Mail)
      assert.deepInclude(first, {
        task: "Mail",
        payload: { to: "ada", at: noon },
        state: "scheduled",
        queue: "default",
        dueAt: 86_400_000,
        tags: ["mail", "now"],
        group: "a"
      })
      assert.deepInclude(second, { payload: { to: "bob", at: noon }, idempotencyKey: "once", createdAt: 0 })
      assert.isEmpty(rest)
      yield* TaskTest.drain()
      assert.deepStrictEqual(
        (yield* TaskTest.queued(Mail)).map(({ state }) => state),
        ["scheduled", "success"]
      )
      assert.isEmpty(yield* TaskTest.queued(Child))
    }))

  test("does not give what was performed in place", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.provide(Mail.execute({ to: "ada", at: noon }), Handlers), 3)
      assert.isEmpty(yield* TaskTest.queued(Mail))
    }))

  test("gives what handlers queued, with their parents", () =>
    Effect.gen(function* () {
      const parent = yield* Parent.queue({ children: 3 })
      yield* TaskTest.drain()
      const children = yield* TaskTest.queued(Child)
      assert.deepStrictEqual(
        children.map(({ group, parentId, payload, queue }) => [payload.place, queue, group, parentId]),
        [0, 1, 2].map((place) => [place, "small", "family", parent.id])
      )
    }))

  test("gives the typed ends", () =>
    Effect.gen(function* () {
      yield* Mail.queueAll([
        { to: "ada", at: noon },
        { to: "nobody", at: noon }
      ])
      yield* TaskTest.drain({ scheduled: true })
      const [sent, refused] = yield* TaskTest.ended(Mail)
      assert.deepStrictEqual(sent?.exit, Exit.succeed(3))
      assert.deepStrictEqual(refused?.exit, Exit.fail(new Refused({ why: "no such box" })))
      assert.deepStrictEqual([refused?.state, refused?.attempt, refused?.endedAt], ["failure", 3, 7_200_000])
    }))

  test("asserts, and says what there was instead", () =>
    Effect.gen(function* () {
      yield* TaskTest.assertNotQueued(Mail)
      const none = yield* Effect.flip(TaskTest.assertQueued(Mail))
      assert.strictEqual(none.message, "expected a queued run of Mail that fits, found none")
      yield* Mail.queue({ to: "ada", at: noon }, { delay: "1 hour" })
      const [run] = yield* TaskTest.assertQueued(Mail, ({ to }, { dueAt }) => to === "ada" && dueAt === 3_600_000)
      assert.strictEqual(run?.payload.to, "ada")
      yield* TaskTest.assertNotQueued(Mail, ({ to }) => to === "bob")
      const other = yield* Effect.flip(TaskTest.assertQueued(Mail, ({ to }) => to === "bob"))
      assert.include(other.message, `found 1:\n  scheduled, due at 3600000: {"to":"ada"`)
      const such = yield* Effect.flip(TaskTest.assertNotQueued(Mail, ({ to }) => to === "ada"))
      assert.include(such.message, "expected no such queued run of Mail, found 1:")
    }))
})

describe("TaskTest: time", () => {
  test("drain performs what is due and what follows, and lets no time pass", () =>
    Effect.gen(function* () {
      yield* Parent.queue({ children: 40 })
      yield* Mail.queue({ to: "nobody", at: noon })
      assert.deepStrictEqual(yield* TaskTest.drain(), { performed: 42, waiting: 1, running: 0 })
      assert.strictEqual(yield* Clock.currentTimeMillis, 0)
      assert.lengthOf(yield* TaskTest.lines, 40)
      assert.lengthOf(
        (yield* TaskTest.events).filter(({ state }) => state === "success"),
        41
      )
      assert.deepStrictEqual(yield* TaskTest.drain(), { performed: 0, waiting: 1, running: 0 })
    }))

  test("drain leaves a handler that waits for virtual time waiting", () =>
    Effect.gen(function* () {
      yield* Slow.queue()
      assert.deepStrictEqual(yield* TaskTest.drain(), { performed: 1, waiting: 0, running: 1 })
      assert.deepStrictEqual(yield* TaskTest.drain({ scheduled: true }), { performed: 0, waiting: 0, running: 0 })
      assert.strictEqual(yield* Clock.currentTimeMillis, 60_000)
    }))

  test("a scheduled drain performs everything at its own time", () =>
    Effect.gen(function* () {
      yield* Mail.queue({ to: "nobody", at: noon }, { delay: "30 days" })
      yield* Mail.queue({ to: "ada", at: noon }, { delay: "1 day" })
      yield* TaskTest.drain({ scheduled: true })
      const ended = yield* TaskTest.ended(Mail)
      assert.deepStrictEqual(
        ended.map(({ endedAt }) => endedAt),
        [30 * 86_400_000 + 2 * 3_600_000, 86_400_000]
      )
    }))

  test("a drain that has no end says what keeps coming back", () =>
    Effect.gen(function* () {
      yield* Endless.queue()
      const error = yield* Effect.flip(TaskTest.drain({ limit: 100 }))
      assert.strictEqual(error.comesBack[0]?.task, "Endless")
      assert.isAbove(error.performed, 100)
      assert.include(error.message, "Endless (")
    }))

  test("a scheduled drain of what nobody performs comes to an end", () =>
    Effect.gen(function* () {
      yield* Unserved.queue()
      assert.deepStrictEqual(yield* TaskTest.drain({ scheduled: true }), { performed: 0, waiting: 1, running: 0 })
      yield* Effect.forkScoped(Effect.forever(Effect.sleep("1 second")))
      const error = yield* Effect.flip(TaskTest.drain({ scheduled: true }))
      assert.include(error.message, "is there a consumer")
    }).pipe(Effect.scoped))

  test("advance lets everything happen at its own time, and stops at the end", () =>
    Effect.gen(function* () {
      yield* Mail.queue({ to: "nobody", at: noon })
      yield* TaskTest.advance("90 minutes")
      assert.strictEqual(yield* Clock.currentTimeMillis, 5_400_000)
      const [waiting] = yield* TaskTest.queued(Mail)
      assert.deepStrictEqual([waiting?.attempt, waiting?.dueAt], [2, 7_200_000])
      yield* TaskTest.advance("30 minutes")
      assert.strictEqual((yield* TaskTest.queued(Mail))[0]?.state, "failure")
    }))

  it.effect("lets a handler that waits for a lock have it when it is free", () => {
    const Alone = Task.make("Alone")
    const Main = TaskTest.consumer(TaskGroup.make(Alone)).pipe(
      Layer.provide(Alone.toLayer(() => Effect.zipRight(CurrentRun.lock(), Effect.sleep("10 seconds")))),
      Layer.provideMerge(TaskTest.layer)
    )
    return Effect.gen(function* () {
      yield* Alone.queueAll([undefined, undefined])
      yield* TaskTest.advance("20 seconds")
      const ended = yield* TaskTest.ended(Alone)
      assert.deepStrictEqual(
        ended.map(({ endedAt }) => endedAt),
        [10_000, 20_000]
      )
    }).pipe(Effect.provide(Main))
  })

  it.live("needs a TestClock", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(TaskTest.advance("1 second"))
      assert.isTrue(Exit.isFailure(exit) && String(exit.cause).includes("TestClock"))
    }).pipe(Effect.provide(TaskTest.layer))
  )

  test("goes together with TestClock.adjust", () =>
    Effect.gen(function* () {
      yield* Slow.queue()
      yield* TaskTest.advance("30 seconds")
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* TaskTest.queued(Slow))[0]?.state, "success")
    }))

  it.effect("knows of no run that a handler has put off as ended", () => {
    const Later = Task.make("Later")
    const Snoozing = TaskTest.consumer(TaskGroup.make(Later)).pipe(
      Layer.provide(
        Later.toLayer(() =>
          Effect.flatMap(CurrentRun.CurrentRun, ({ createdAt }) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) =>
              now - createdAt < 5 * 86_400_000 ? CurrentRun.snooze("1 day") : Effect.void
            )
          )
        )
      ),
      Layer.provideMerge(TaskTest.layer)
    )
    return Effect.gen(function* () {
      yield* Later.queue()
      assert.deepStrictEqual(yield* TaskTest.drain({ scheduled: true }), { performed: 6, waiting: 0, running: 0 })
    }).pipe(Effect.provide(Snoozing))
  })
})

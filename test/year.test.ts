import { assert, it } from "@effect/vitest"
import { CurrentRun, Task, TaskGroup, TaskTest } from "@effect-tasks/core"
import { Clock, Effect, Layer, Schedule, Schema } from "effect"

/*
 * A year of a small business in virtual time: a report every day, which fails now and then and is tried again over days; an
 * invoice every month, which waits for a working day; a reminder for each, weeks later.
 */

const day = 86_400_000
const days = 365

const Report = Task.make("Report", {
  payload: { day: Schema.Number },
  error: Schema.String,
  retry: Schedule.exponential("12 hours").pipe(Schedule.intersect(Schedule.recurs(4)))
})
const Invoice = Task.make("Invoice", { payload: { month: Schema.Number } })
const Remind = Task.make("Remind", { payload: { month: Schema.Number } })

const isWorkingDay = (now: number) => Math.floor(now / day) % 7 < 5

const Handlers = Layer.mergeAll(
  Report.toLayer(({ day }) =>
    Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
      day % 5 === 0 && attempt <= 3 ? Effect.fail("no figures yet") : Effect.void
    )
  ),
  Invoice.toLayer(({ month }) =>
    Effect.gen(function* () {
      if (!isWorkingDay(yield* Clock.currentTimeMillis)) {
        return yield* CurrentRun.snooze("1 day")
      }
      yield* Remind.queue({ month }, { delay: "3 weeks" })
    })
  ),
  Remind.toLayer(() => Effect.sleep("5 minutes"))
)

const Kit = TaskTest.consumer(TaskGroup.make(Report, Invoice, Remind)).pipe(
  Layer.provide(Handlers),
  Layer.provideMerge(TaskTest.layer)
)

it.effect(
  "a year passes within five seconds",
  () =>
    Effect.gen(function* () {
      // of the processor, as other tests may hold it up
      const before = process.cpuUsage()
      for (let i = 0; i < days; i++) {
        yield* Report.queue({ day: i })
        if (i % 30 === 0) {
          yield* Invoice.queue({ month: i / 30 })
        }
        yield* TaskTest.advance("1 day")
      }
      yield* TaskTest.drain({ scheduled: true })

      const reports = yield* TaskTest.ended(Report)
      assert.lengthOf(reports, days)
      // tried again after 12, 24 and 48 hours
      assert.deepStrictEqual(
        reports.map(({ endedAt, payload }) => endedAt - payload.day * day),
        reports.map(({ payload }) => (payload.day % 5 === 0 ? 3.5 * day : 0))
      )
      const invoices = yield* TaskTest.ended(Invoice)
      assert.isTrue(invoices.every(({ endedAt }) => isWorkingDay(endedAt)))
      const reminders = yield* TaskTest.ended(Remind)
      assert.deepStrictEqual(
        reminders.map(({ endedAt }) => endedAt),
        invoices.map(({ endedAt }) => endedAt + 21 * day + 300_000)
      )
      assert.lengthOf(reminders, 13)
      const { system, user } = process.cpuUsage(before)
      assert.isBelow(system + user, 5_000_000)
    }).pipe(Effect.provide(Kit)),
  { timeout: 30_000 }
)

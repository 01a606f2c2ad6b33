/* The ticks of schedules: pure arithmetic. */
import { assert, describe, it } from "@effect/vitest"
import { TaskSchedule } from "@effect-tasks/core"
import { Either, FastCheck as fc, Option, Schema } from "effect"

const ticksOf = (schedule: TaskSchedule.TaskSchedule, from: string, count: number): ReadonlyArray<string> =>
  Either.getOrThrow(TaskSchedule.preview(schedule, { from: new Date(from), count })).map((tick) =>
    new Date(tick).toISOString().replace(":00.000Z", "Z")
  )

const nextOf = (schedule: TaskSchedule.TaskSchedule, after: number): number | null =>
  Option.getOrNull(Either.getOrThrow(TaskSchedule.next(schedule, after)))

const reasonOf = (schedule: TaskSchedule.TaskSchedule): string => {
  const checked = TaskSchedule.validate(schedule)
  return Either.isLeft(checked) ? checked.left.message : "in order"
}

describe("cron", () => {
  it("takes five and six fields, names, ranges, steps and lists", () => {
    const from = "2026-01-01T00:00Z"
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("*/20 9-10 * JAN MON,TUE"), from, 7), [
      "2026-01-05T09:00Z",
      "2026-01-05T09:20Z",
      "2026-01-05T09:40Z",
      "2026-01-05T10:00Z",
      "2026-01-05T10:20Z",
      "2026-01-05T10:40Z",
      "2026-01-06T09:00Z"
    ])
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("15,45 0 0 1 * *"), from, 2), [
      "2026-01-01T00:00:15.000Z",
      "2026-01-01T00:00:45.000Z"
    ])
  })

  it("what cannot be used is told, never thrown", () => {
    assert.match(reasonOf(TaskSchedule.cron("61 * * * *")), /61 \* \* \* \*.*between 0 and 59/)
    assert.match(reasonOf(TaskSchedule.cron("* * *")), /cannot be used/)
    assert.match(reasonOf(TaskSchedule.cron("22-2 * * * *")), /range/)
    assert.match(reasonOf(TaskSchedule.cron("0 0 31 2 *")), /never comes/)
    assert.match(reasonOf(TaskSchedule.cron("0 0 * * *", { timeZone: "Mars/Base" })), /no time zone "Mars\/Base"/)
    assert.match(reasonOf(TaskSchedule.cron("0 0 * * *", { startAt: Number.NaN })), /valid dates/)
    assert.match(reasonOf(TaskSchedule.cron("0 0 * * *", { startAt: 2, endAt: 1 })), /before startAt/)
    assert.match(reasonOf(TaskSchedule.cron("0 0 * * *", { jitter: Number.POSITIVE_INFINITY })), /jitter/)
    assert.match(reasonOf(TaskSchedule.every(0)), /at least a millisecond/)
    assert.match(reasonOf(TaskSchedule.every(Number.POSITIVE_INFINITY)), /at least a millisecond/)
    assert.strictEqual(reasonOf(TaskSchedule.cron("0 0 29 2 *")), "in order")
  })

  it("ends with endAt and begins with startAt, both included", () => {
    const schedule = TaskSchedule.cron("0 * * * *", {
      startAt: new Date("2026-05-01T10:00Z"),
      endAt: new Date("2026-05-01T12:00Z")
    })
    assert.deepStrictEqual(ticksOf(schedule, "2026-01-01T00:00Z", 9), [
      "2026-05-01T10:00Z",
      "2026-05-01T11:00Z",
      "2026-05-01T12:00Z"
    ])
  })
})

describe("changes of the clock", () => {
  const london = { timeZone: "Europe/London" }
  const newYork = { timeZone: "America/New_York" }
  const lordHowe = { timeZone: "Australia/Lord_Howe" }

  it("a wall time that is left out comes as much later", () => {
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("30 1 * * *", london), "2026-03-28T00:00Z", 3), [
      "2026-03-28T01:30Z",
      "2026-03-29T01:30Z",
      "2026-03-30T00:30Z"
    ])
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("30 2 * * *", newYork), "2026-03-07T00:00Z", 3), [
      "2026-03-07T07:30Z",
      "2026-03-08T07:30Z",
      "2026-03-09T06:30Z"
    ])
    // from 02:00 to 02:30
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("15 2 * * *", lordHowe), "2026-10-02T12:00Z", 3), [
      "2026-10-02T15:45Z",
      "2026-10-03T15:45Z",
      "2026-10-04T15:15Z"
    ])
  })

  it("one that falls on another one comes once", () => {
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("*/30 1,2 * * *", london), "2026-03-29T00:00Z", 3), [
      "2026-03-29T01:00Z",
      "2026-03-29T01:30Z",
      "2026-03-30T00:00Z"
    ])
  })

  it("a wall time that comes twice is taken the first time", () => {
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("30 1 * * *", london), "2026-10-24T12:00Z", 2), [
      "2026-10-25T00:30Z",
      "2026-10-26T01:30Z"
    ])
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("30 1 * * *", newYork), "2026-10-31T12:00Z", 2), [
      "2026-11-01T05:30Z",
      "2026-11-02T06:30Z"
    ])
    // from 02:00 back to 01:30
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("*/15 1 * * *", lordHowe), "2026-04-04T12:00Z", 5), [
      "2026-04-04T14:00Z",
      "2026-04-04T14:15Z",
      "2026-04-04T14:30Z",
      "2026-04-04T14:45Z",
      "2026-04-05T14:30Z"
    ])
  })

  it("what comes every hour goes on through both", () => {
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("*/30 * * * *", london), "2026-10-24T23:59Z", 6), [
      "2026-10-25T00:00Z",
      "2026-10-25T00:30Z",
      "2026-10-25T01:00Z",
      "2026-10-25T01:30Z",
      "2026-10-25T02:00Z",
      "2026-10-25T02:30Z"
    ])
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("0 * * * *", newYork), "2026-11-01T04:30Z", 4), [
      "2026-11-01T05:00Z",
      "2026-11-01T06:00Z",
      "2026-11-01T07:00Z",
      "2026-11-01T08:00Z"
    ])
    assert.deepStrictEqual(ticksOf(TaskSchedule.cron("45 * * * *", lordHowe), "2026-04-04T14:00Z", 4), [
      "2026-04-04T14:45Z",
      "2026-04-04T15:15Z",
      "2026-04-04T16:15Z",
      "2026-04-04T17:15Z"
    ])
  })
})

describe("every", () => {
  it("has a grid of its own, whoever asks when", () => {
    const schedule = TaskSchedule.every("10 seconds")
    assert.strictEqual(nextOf(schedule, 3), 10_000)
    assert.strictEqual(nextOf(schedule, 9_999), 10_000)
    assert.strictEqual(nextOf(schedule, 10_000), 20_000)
    assert.strictEqual(nextOf(TaskSchedule.every("10 seconds", { startAt: 4 }), 4), 10_004)
    assert.strictEqual(nextOf(TaskSchedule.every("10 seconds", { startAt: 4 }), 3), 4)
  })

  it("is counted from the completion where it says so", () => {
    const schedule = TaskSchedule.every("10 seconds", { anchor: "completion", startAt: 100_000, endAt: 120_000 })
    assert.strictEqual(nextOf(schedule, 3), 100_000)
    assert.strictEqual(nextOf(schedule, 101_234), 111_234)
    assert.isNull(nextOf(schedule, 119_000))
  })
})

const zones = ["UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]

const expressions = [
  "30 1 * * *",
  "0,45 1-3 * * *",
  "*/7 * * * *",
  "15 2 29 2 *",
  "0 0 1 * *",
  "0 12 * * SUN",
  "20 */10 0-2 * * *",
  "59 23 31 12 *"
]

const schedules: fc.Arbitrary<TaskSchedule.TaskSchedule> = fc.oneof(
  fc
    .record({ expression: fc.constantFrom(...expressions), timeZone: fc.constantFrom(...zones) })
    .map(({ expression, timeZone }) => TaskSchedule.cron(expression, { timeZone })),
  fc
    .record({ millis: fc.integer({ min: 1, max: 1e9 }), startAt: fc.option(fc.integer({ min: 0, max: 2e12 })) })
    .map(({ millis, startAt }) => TaskSchedule.every(millis, startAt === null ? {} : { startAt }))
)

const assertAll = <Ts>(property: fc.IProperty<Ts>, numRuns = 100): void => fc.assert(property, { numRuns })

/** Mostly near a change of some clock, where mistakes are. */
const moments = fc.oneof(
  fc.integer({ min: 0, max: 4e12 }),
  fc
    .tuple(
      fc.constantFrom(
        "2026-03-29T01:00Z",
        "2026-10-25T01:00Z",
        "2026-11-01T06:00Z",
        "2026-04-04T15:00Z",
        "2026-10-03T15:30Z"
      ),
      fc.integer({ min: -9e6, max: 9e6 })
    )
    .map(([at, more]) => Date.parse(at) + more)
)

describe("the next tick", () => {
  it("is strictly after, and no tick lies between", () => {
    assertAll(
      fc.property(schedules, moments, fc.double({ min: 0, max: 1, noNaN: true }), (schedule, after, part) => {
        const tick = nextOf(schedule, after)
        assert.isNotNull(tick)
        assert.isAbove(tick!, after)
        const between = after + Math.floor((tick! - after - 1) * part)
        assert.strictEqual(nextOf(schedule, between), tick)
      }),
      150
    )
  })

  it("is monotone", () => {
    assertAll(
      fc.property(schedules, moments, fc.integer({ min: 0, max: 1e8 }), (schedule, after, more) => {
        assert.isAtMost(nextOf(schedule, after)!, nextOf(schedule, after + more)!)
      }),
      150
    )
  })

  it("asked for again and again is the preview", () => {
    assertAll(
      fc.property(schedules, moments, (schedule, from) => {
        const expected: Array<number> = []
        for (let tick = from; expected.length < 5; ) {
          tick = nextOf(schedule, tick)!
          expected.push(tick)
        }
        assert.deepStrictEqual(Either.getOrThrow(TaskSchedule.preview(schedule, { from, count: 5 })), expected)
      }),
      50
    )
  })
})

describe("a schedule", () => {
  it("is stored and read back as it was", () => {
    assertAll(
      fc.property(schedules, (schedule) => {
        const codec = Schema.parseJson(TaskSchedule.TaskSchedule)
        assert.deepStrictEqual(Schema.decodeSync(codec)(Schema.encodeSync(codec)(schedule)), schedule)
      })
    )
  })

  it("tells in words what it is", () => {
    assert.strictEqual(
      TaskSchedule.describe(TaskSchedule.cron("0 3 * * *", { timeZone: "Europe/London", jitter: "1 minute" })),
      '"0 3 * * *" in Europe/London, up to 1m later'
    )
    assert.strictEqual(
      TaskSchedule.describe(TaskSchedule.every("90 seconds", { anchor: "completion", startAt: 0 })),
      "every 1m 30s after the run before has ended, from 1970-01-01T00:00:00.000Z"
    )
  })
})

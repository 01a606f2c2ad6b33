import { Task, TaskSchedule, type TaskScheduler } from "@effect-tasks/core"
import { Schema } from "effect"
import { describe, expect, it } from "tstyche"

const schedule = TaskSchedule.every("1 minute")

declare const scheduler: typeof TaskScheduler.TaskScheduler.Service

describe("the schedule of a task", () => {
  it("needs no payload where that can be nothing", () => {
    expect(Task.make("A", { schedule })).type.not.toRaiseError()
    expect(Task.make("A", { schedule, payload: {} })).type.not.toRaiseError()
    expect(Task.make("A", { schedule, payload: { n: Schema.optional(Schema.Number) } })).type.not.toRaiseError()
    expect(Task.make("A", { schedule, payload: Schema.UndefinedOr(Schema.String) })).type.not.toRaiseError()
  })

  it("needs one where the task does", () => {
    expect(Task.make("A", { schedule, payload: { n: Schema.Number } })).type.toRaiseError("schedulePayload")
    expect(Task.make("A", { schedule, payload: Schema.String })).type.toRaiseError("schedulePayload")
    expect(
      Task.make("A", { schedule, payload: { n: Schema.Number }, schedulePayload: { n: 1 } })
    ).type.not.toRaiseError()
    expect(Task.make("A", { schedule, payload: { n: Schema.Number }, schedulePayload: { n: "1" } })).type.toRaiseError()
  })

  it("is a schedule", () => {
    expect(Task.make("A", { schedule: "* * * * *" })).type.toRaiseError()
    expect(TaskSchedule.cron).type.not.toBeCallableWith("* * * * *", { overlap: "sometimes" })
    expect(TaskSchedule.cron).type.not.toBeCallableWith("* * * * *", { anchor: "completion" })
  })
})

describe("a schedule at runtime", () => {
  const A = Task.make("A", { payload: { n: Schema.Number } })
  const B = Task.make("B")

  it("has the payload of its task", () => {
    expect(scheduler.add("a", { task: A, payload: { n: 1 }, schedule })).type.not.toRaiseError()
    expect(scheduler.add("a", { task: B, schedule })).type.not.toRaiseError()
    expect(scheduler.add("a", { task: A, schedule })).type.toRaiseError("payload")
    expect(scheduler.add("a", { task: A, payload: { n: "1" }, schedule })).type.toRaiseError()
    expect(scheduler.once("k", { task: A, payload: { n: 1 }, at: 0 })).type.not.toRaiseError()
    expect(scheduler.once("k", { task: A, at: 0 })).type.toRaiseError("payload")
  })

  it("is edited with a task, or with another schedule only", () => {
    expect(scheduler.edit("a", { schedule })).type.not.toRaiseError()
    expect(scheduler.edit("a", { task: A, payload: { n: 1 } })).type.not.toRaiseError()
    expect(scheduler.edit("a", { task: A })).type.toRaiseError()
    expect(scheduler.edit("a", {})).type.toRaiseError()
  })
})

import { Task, TaskGroup, TaskSchedule } from "@effect-tasks/core"
import { Schema } from "effect"
import { isLong } from "./form.js"
import { Orders } from "./orders.js"

/** What a scheduler process is told, as its only argument. */
export const Beating = Schema.Struct({ backend: Orders.fields.backend })

/** How many ticks there are, and how far apart. */
export const count = isLong ? 20_000 : 1_000
export const millis = 10

/** The task whose schedule is watched: none of its ticks may be lost, whoever is dead at the time. */
export const beats = (startAt: number) =>
  TaskGroup.make(
    Task.make("Beat", {
      schedule: TaskSchedule.every(millis, {
        startAt,
        endAt: startAt + (count - 1) * millis,
        overlap: "allow",
        catchUp: "all"
      })
    })
  )

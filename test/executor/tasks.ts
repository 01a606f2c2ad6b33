/** Tasks that are performed in threads and processes: what the tests and the workers know of them. */
import * as Task from "@effect-tasks/core/Task"
import * as TaskGroup from "@effect-tasks/core/TaskGroup"
import { Schedule, Schema } from "effect"

export class Refused extends Schema.TaggedError<Refused>()("Refused", { code: Schema.Number }) {}

/** What a run is to do. */
export const Deed = Schema.Union(
  Schema.TaggedStruct("Add", { a: Schema.NumberFromString, b: Schema.Number }),
  Schema.TaggedStruct("Refuse", { code: Schema.Number }),
  Schema.TaggedStruct("Die", {}),
  Schema.TaggedStruct("Interrupt", {}),
  Schema.TaggedStruct("Facts", {}),
  Schema.TaggedStruct("Talk", {}),
  Schema.TaggedStruct("Tell", {}),
  Schema.TaggedStruct("Abort", {}),
  Schema.TaggedStruct("Snooze", {}),
  Schema.TaggedStruct("RateLimit", {}),
  Schema.TaggedStruct("Unfit", {}),
  Schema.TaggedStruct("Spin", { file: Schema.String }),
  Schema.TaggedStruct("Wait", {}),
  Schema.TaggedStruct("Exit", {}),
  Schema.TaggedStruct("Throw", {}),
  Schema.TaggedStruct("Fill", {}),
  Schema.TaggedStruct("Hang", { file: Schema.String }),
  Schema.TaggedStruct("Environment", { name: Schema.String })
)

export type Deed = typeof Deed.Type

const options = { payload: { deed: Deed }, success: Schema.Unknown, error: Refused, version: 1 } as const

export const InThread = Task.make("InThread", { ...options, executor: "thread" })

export const InProcess = Task.make("InProcess", { ...options, executor: "process" })

export const InTime = Task.make("InTime", { ...options, executor: "thread", timeout: "200 millis" })

export const Again = Task.make("Again", { ...options, executor: "thread", retry: Schedule.recurs(1) })

export const Group = TaskGroup.make(InThread, InProcess, InTime, Again)

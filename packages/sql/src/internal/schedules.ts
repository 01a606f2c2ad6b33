import type { EncodedSchedule } from "@effect-tasks/core/Store"

/** The columns of a schedule, in the order of `scheduleValues`. */
export const scheduleColumnNames = [
  "name",
  "revision",
  "created_at",
  "paused",
  "next_tick",
  "waiting_tick",
  "last_tick",
  "last_run_id",
  "task",
  "scope",
  "unfinished",
  "spec",
  "run",
  "declared"
] as const

/** A schedule as the driver gives it. SQLite has no booleans. */
export type ScheduleRow = readonly [
  name: string,
  revision: number,
  createdAt: number,
  paused: number | boolean,
  nextTick: number | null,
  waitingTick: number | null,
  lastTick: number | null,
  lastRunId: EncodedSchedule["lastRunId"],
  task: string,
  scope: string | null,
  unfinished: string,
  spec: string,
  run: string,
  declared: string | null
]

export const scheduleValues = (schedule: EncodedSchedule): ScheduleRow => [
  schedule.name,
  schedule.revision,
  schedule.createdAt,
  schedule.paused,
  schedule.nextTick,
  schedule.waitingTick,
  schedule.lastTick,
  schedule.lastRunId,
  schedule.task,
  schedule.scope,
  JSON.stringify(schedule.unfinished),
  schedule.spec,
  schedule.run,
  schedule.declared
]

export const toSchedule = ([
  name,
  revision,
  createdAt,
  paused,
  nextTick,
  waitingTick,
  lastTick,
  lastRunId,
  task,
  scope,
  unfinished,
  spec,
  run,
  declared
]: ScheduleRow): EncodedSchedule => ({
  name,
  revision,
  createdAt,
  paused: paused === true || paused === 1,
  nextTick,
  waitingTick,
  lastTick,
  lastRunId,
  task,
  scope,
  unfinished: JSON.parse(unfinished),
  spec,
  run,
  declared
})

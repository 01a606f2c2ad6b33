import { ConsumerRecord } from "@effect-tasks/core/Store"
import * as Insert from "./insert.js"

export const insertConsumers = (table: string): Insert.Insert<ConsumerRecord> =>
  Insert.make({
    into: table,
    columns: "id, started_at, seen_at, queues, tasks, max_concurrent_tasks, running, stopping",
    values: (consumer) => [
      consumer.id,
      consumer.startedAt,
      consumer.seenAt,
      JSON.stringify(consumer.queues),
      JSON.stringify(consumer.tasks),
      consumer.maxConcurrentTasks,
      consumer.running,
      consumer.stopping ? 1 : 0
    ],
    onConflict: `ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at,
  queues = excluded.queues, tasks = excluded.tasks, max_concurrent_tasks = excluded.max_concurrent_tasks,
  running = excluded.running, stopping = excluded.stopping`
  })

export interface ConsumerRow {
  readonly id: string
  readonly started_at: number
  readonly seen_at: number
  readonly queues: string
  readonly tasks: string
  readonly max_concurrent_tasks: number
  readonly running: number
  readonly stopping: number
}

export const toConsumer = (row: ConsumerRow): ConsumerRecord =>
  new ConsumerRecord(
    {
      id: row.id,
      startedAt: row.started_at,
      seenAt: row.seen_at,
      queues: JSON.parse(row.queues),
      tasks: JSON.parse(row.tasks),
      maxConcurrentTasks: row.max_concurrent_tasks,
      running: row.running,
      stopping: row.stopping === 1
    },
    true
  )

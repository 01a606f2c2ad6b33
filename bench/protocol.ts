/** The backends that are measured, in the order of the report. */
export const backends = ["memory", "sqlite", "pg"] as const

export type Backend = (typeof backends)[number]

/** What a subject's process can be asked to measure. One job may answer several measures: a latency gives two quantiles. */
const jobs = [
  "enqueue-single",
  "enqueue-bulk",
  "drain-c10",
  "drain-c100",
  "latency-idle",
  "latency-half",
  "memory-100k",
  "cpu-idle",
  "executor-inline",
  "executor-thread",
  "executor-cancel",
  "claim-1k",
  "claim-100k",
  "claim-1m",
  "claim-history-0",
  "claim-history-100k",
  "claim-history-1m",
  "claim-beside-none",
  "claim-beside-task",
  "claim-beside-key",
  "claim-beside-queue"
] as const

export type Job = (typeof jobs)[number]

/** How much is done in one round. */
export interface Size {
  /** Single enqueues. */
  readonly single: number
  /** Runs enqueued in bulk. */
  readonly bulk: number
  /** Runs waiting when the consumer starts. */
  readonly drain: number
  /** How long latencies are sampled. */
  readonly latencySeconds: number
  /** How long an idle consumer is watched. */
  readonly idleSeconds: number
}

/** Asks for one round of a job. */
export interface Request {
  readonly job: Job
  readonly size: Size
}

/** One round: a value per measure, or why there is none. */
export type Answer =
  | { readonly _tag: "Measured"; readonly values: Readonly<Record<string, number>> }
  | { readonly _tag: "Failed"; readonly message: string }

/** What a process is told to leave behind nothing, and what it says when that is done. */
export const remove = "remove"

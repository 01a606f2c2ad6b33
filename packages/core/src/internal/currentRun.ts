import { Effect } from "effect"
import type { CurrentRun } from "../CurrentRun.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import * as completing from "./completing.js"
import { attach, type RunLog } from "./runLog.js"

/** What a handler sees of a run; `report` takes its encoded progress, `complete` ends the run in a transaction. */
export const make = (
  run: EncodedRun,
  log: RunLog,
  report: (progress: string) => void,
  complete: completing.Complete
): typeof CurrentRun.Service => {
  const current: typeof CurrentRun.Service = {
    id: run.id,
    task: run.task,
    queue: run.queue,
    attempt: run.attempt + 1,
    crashes: run.crashes,
    consumer: run.consumer ?? "",
    createdAt: run.createdAt,
    dueAt: run.dueAt,
    startedAt: run.startedAt ?? run.createdAt,
    tags: run.tags,
    group: run.group,
    parentId: run.parentId,
    rootId: run.rootId ?? run.id,
    retryOf: run.retryOf,
    progress: (value, message) => Effect.sync(() => report(JSON.stringify({ value, message: message ?? null })))
  }
  attach(current, log)
  completing.attach(current, complete)
  return current
}

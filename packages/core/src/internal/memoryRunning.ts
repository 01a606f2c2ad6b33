import type { RunningCount } from "../Admission.js"
import type { Entry } from "./memoryWaiting.js"
import type { RunId } from "./run.js"

/** The runs of one task that are being performed. */
class RunningOfTask {
  readonly entries = new Map<RunId, Entry>()
  readonly byConsumer = new Map<string, number>()
  /** No lease ends before this. */
  firstLease = Number.POSITIVE_INFINITY
}

const countOf = (of: RunningOfTask, entry: Entry, change: 1 | -1): void => {
  const consumer = entry.run.consumer ?? ""
  const count = (of.byConsumer.get(consumer) ?? 0) + change
  if (count === 0) {
    of.byConsumer.delete(consumer)
  } else {
    of.byConsumer.set(consumer, count)
  }
}

/** The runs that are being performed, task by task. Leases are looked at only when one may have ended. */
export class Running {
  private readonly byTask = new Map<string, RunningOfTask>()

  sizeOf(task: string): number {
    return this.byTask.get(task)?.entries.size ?? 0
  }

  /** How many runs of a task are being performed, by their limit keys. */
  countsOf(task: string): ReadonlyArray<RunningCount> {
    const counts = new Map<string | null, number>()
    for (const { run } of this.byTask.get(task)?.entries.values() ?? []) {
      counts.set(run.limitKeys, (counts.get(run.limitKeys) ?? 0) + 1)
    }
    return Array.from(counts, ([limitKeys, runs]) => ({ task, limitKeys, runs }))
  }

  /** How many runs of a queue are being performed. */
  sizeOfQueue(queue: string): number {
    let size = 0
    for (const { entries } of this.byTask.values()) {
      for (const { run } of entries.values()) {
        size += run.queue === queue ? 1 : 0
      }
    }
    return size
  }

  add(entry: Entry): void {
    let of = this.byTask.get(entry.run.task)
    if (of === undefined) {
      of = new RunningOfTask()
      this.byTask.set(entry.run.task, of)
    }
    of.entries.set(entry.run.id, entry)
    of.firstLease = Math.min(of.firstLease, entry.run.leaseUntil ?? of.firstLease)
    countOf(of, entry, 1)
  }

  remove(entry: Entry): void {
    const of = this.byTask.get(entry.run.task)
    if (of?.entries.delete(entry.run.id)) {
      countOf(of, entry, -1)
    }
  }

  /** The runs of a task whose lease has ended. */
  expired(task: string, now: number): ReadonlyArray<Entry> {
    const of = this.byTask.get(task)
    if (of === undefined || of.firstLease > now) {
      return []
    }
    const expired: Array<Entry> = []
    of.firstLease = Number.POSITIVE_INFINITY
    for (const entry of of.entries.values()) {
      const leaseUntil = entry.run.leaseUntil ?? 0
      of.firstLease = Math.min(of.firstLease, leaseUntil)
      if (leaseUntil <= now) {
        expired.push(entry)
      }
    }
    return expired
  }

  /** When the next lease of another consumer on a run of this task ends. */
  nextLeaseOfOthers(task: string, consumer: string, now: number): number {
    const of = this.byTask.get(task)
    let next = Number.POSITIVE_INFINITY
    if (of === undefined || of.byConsumer.get(consumer) === of.entries.size) {
      return next
    }
    for (const { run } of of.entries.values()) {
      if (run.consumer !== consumer && run.leaseUntil !== null && run.leaseUntil > now) {
        next = Math.min(next, run.leaseUntil)
      }
    }
    return next
  }
}

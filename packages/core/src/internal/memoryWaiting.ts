import { rank } from "../TaskPriority.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { TaskState } from "../TaskState.js"
import * as Heap from "./heap.js"

/** An unfinished run. `wasScheduled`: it waited for its due time before it was queued. */
export interface Entry {
  run: EncodedRun
  readonly rank: number
  readonly wasScheduled: boolean
  cancelReason: string | null
  /** Whether it has left the place where it waited, though a queue may still hold it. */
  isGone: boolean
}

export const makeEntry = (run: EncodedRun): Entry => ({
  run,
  rank: rank(run.dueAt, run.priority),
  wasScheduled: run.state === "scheduled",
  cancelReason: null,
  isGone: false
})

const claimedSooner = (a: Entry, b: Entry): boolean => a.rank < b.rank || (a.rank === b.rank && a.run.id < b.run.id)

/** How many more runs of a task may be taken; its lanes share it. */
export interface Quota {
  readonly task: string
  free: number
}

/** A lane from which runs may be taken. */
export interface Lane {
  readonly quota: Quota
  readonly entries: Heap.Heap<Entry>
}

/** The first entry that still stands for its run; others were left behind by a change of the run. */
const head = (entries: Heap.Heap<Entry>, state: TaskState): Entry | undefined => {
  for (let entry = entries.peek(); entry !== undefined; entry = entries.peek()) {
    if (!entry.isGone && entry.run.state === state) {
      return entry
    }
    entries.pop()
  }
  return undefined
}

/** Takes the first run of these lanes, in the order of claiming. */
export const takeFirst = (lanes: ReadonlyArray<Lane>): { readonly entry: Entry; readonly quota: Quota } | undefined => {
  let first: Entry | undefined
  let from: Lane | undefined
  for (const lane of lanes) {
    const entry = lane.quota.free > 0 ? head(lane.entries, "queued") : undefined
    if (entry !== undefined && (first === undefined || claimedSooner(entry, first))) {
      first = entry
      from = lane
    }
  }
  if (first === undefined || from === undefined) {
    return undefined
  }
  from.entries.pop()
  return { entry: first, quota: from.quota }
}

/** The runs that wait: the due ones lane by lane, a lane being the queue of a task; the others by their due time. */
export class Waiting {
  private readonly byTask = new Map<string, Map<string, Heap.Heap<Entry>>>()
  private readonly scheduled = Heap.make<Entry>((a, b) => a.run.dueAt < b.run.dueAt)

  add(entry: Entry): void {
    const entries = entry.wasScheduled ? this.scheduled : this.lane(entry.run)
    entries.push(entry)
  }

  private lane({ queue, task }: EncodedRun): Heap.Heap<Entry> {
    let byQueue = this.byTask.get(task)
    if (byQueue === undefined) {
      byQueue = new Map()
      this.byTask.set(task, byQueue)
    }
    let lane = byQueue.get(queue)
    if (lane === undefined) {
      lane = Heap.make(claimedSooner)
      byQueue.set(queue, lane)
    }
    return lane
  }

  /** The lanes of these tasks in these queues. */
  lanes(queues: ReadonlyArray<string>, quotas: ReadonlyArray<Quota>): ReadonlyArray<Lane> {
    const lanes: Array<Lane> = []
    for (const quota of quotas) {
      const byQueue = this.byTask.get(quota.task)
      for (const queue of byQueue === undefined ? [] : queues) {
        const entries = byQueue?.get(queue)
        if (entries !== undefined) {
          lanes.push({ quota, entries })
        }
      }
    }
    return lanes
  }

  /** Moves what has become due to its lanes. */
  promoteDue(now: number): void {
    for (
      let entry = head(this.scheduled, "scheduled");
      entry !== undefined && entry.run.dueAt <= now;
      entry = head(this.scheduled, "scheduled")
    ) {
      this.scheduled.pop()
      entry.run = { ...entry.run, state: "queued" }
      this.lane(entry.run).push(entry)
    }
  }

  /** When the next run becomes due. */
  get nextDue(): number {
    return head(this.scheduled, "scheduled")?.run.dueAt ?? Number.POSITIVE_INFINITY
  }
}

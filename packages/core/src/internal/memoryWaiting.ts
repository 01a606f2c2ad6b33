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

/** The runs of a task that wait in a queue: those in a lane of their own group or keys, and the others in one. */
export interface Place {
  readonly task: string
  readonly queue: string
  readonly plain: Heap.Heap<Entry>
  /** In the order in which claims look at them. Empty ones are taken out when one does. */
  readonly lanes: Map<string, SpecialLane>
  /** How many runs wait, those that are not due yet included. */
  size: number
}

/** The due runs with one group and one set of limit keys. */
export interface SpecialLane {
  readonly group: string | null
  readonly limitKeys: string | null
  readonly entries: Heap.Heap<Entry>
}

/** The first entry that still stands for its run; others were left behind by a change of the run. */
export const head = (entries: Heap.Heap<Entry>, state: TaskState = "queued"): Entry | undefined => {
  for (let entry = entries.peek(); entry !== undefined; entry = entries.peek()) {
    if (!entry.isGone && entry.run.state === state) {
      return entry
    }
    entries.pop()
  }
  return undefined
}

/** The runs that wait: the due ones lane by lane, the others by their due time. */
export class Waiting {
  private readonly byTask = new Map<string, Map<string, Place>>()
  private readonly scheduled = Heap.make<Entry>((a, b) => a.run.dueAt < b.run.dueAt)

  add(entry: Entry): void {
    this.place(entry.run).size++
    const entries = entry.wasScheduled ? this.scheduled : this.lane(entry.run)
    entries.push(entry)
  }

  /** Notes that the run of an entry waits no longer. Its entry is passed over where it still stands. */
  left(run: EncodedRun): void {
    this.place(run).size--
  }

  /** How many runs of the task wait in the queue. */
  sizeOf(task: string, queue: string): number {
    return this.byTask.get(task)?.get(queue)?.size ?? 0
  }

  private place({ queue, task }: EncodedRun): Place {
    let byQueue = this.byTask.get(task)
    if (byQueue === undefined) {
      byQueue = new Map()
      this.byTask.set(task, byQueue)
    }
    let place = byQueue.get(queue)
    if (place === undefined) {
      place = { task, queue, plain: Heap.make(claimedSooner), lanes: new Map(), size: 0 }
      byQueue.set(queue, place)
    }
    return place
  }

  private lane(run: EncodedRun): Heap.Heap<Entry> {
    const { lanes, plain } = this.place(run)
    const { group, limitKeys } = run
    if (group === null && limitKeys === null) {
      return plain
    }
    const name = JSON.stringify([group, limitKeys])
    let lane = lanes.get(name)
    if (lane === undefined) {
      lane = { group, limitKeys, entries: Heap.make(claimedSooner) }
      lanes.set(name, lane)
    }
    return lane.entries
  }

  /** Where the runs of this task wait in this queue. */
  placeOf(task: string, queue: string): Place | undefined {
    return this.byTask.get(task)?.get(queue)
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

/**
 * Some of a place's lanes, from the one on at which the claim before has stopped. They go to the end of the order: whoever
 * has many of them looks at the others next.
 */
export const nextLanes = (place: Place, most: number): ReadonlyArray<SpecialLane> => {
  const seen: Array<SpecialLane> = []
  const names: Array<string> = []
  for (const [name, lane] of place.lanes) {
    if (seen.length === most) {
      break
    }
    names.push(name)
    if (head(lane.entries) !== undefined) {
      seen.push(lane)
    }
  }
  const isAll = names.length === place.lanes.size
  for (const name of names) {
    const lane = place.lanes.get(name)!
    if (head(lane.entries) === undefined) {
      place.lanes.delete(name)
    } else if (!isAll) {
      place.lanes.delete(name)
      place.lanes.set(name, lane)
    }
  }
  return seen
}

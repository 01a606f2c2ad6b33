import * as Admission from "../Admission.js"
import type { ClaimRequest, ServedTask } from "../Broker.js"
import type * as Limit from "../Limit.js"
import type { Controls } from "./memoryControls.js"
import type { Running } from "./memoryRunning.js"
import { type Entry, head, nextLanes, type Place, type Waiting } from "./memoryWaiting.js"

/** A run that is to be claimed, unless a rate refuses it. */
export interface Chosen {
  readonly entry: Entry
  readonly refusedFor: number | null
}

/** What a claim has chosen, and when the next run may pass a rate. */
interface Choice {
  readonly chosen: ReadonlyArray<Chosen>
  readonly nextAt: number
}

/** How many more runs of a task may be taken; its places share it. */
interface Quota {
  readonly task: string
  free: number
}

/** After so many rates are kept, those that nothing counts for any more are forgotten. */
const manyRates = 1_000

/** Chooses the due runs that a claim takes. */
export class Chooser {
  private readonly waiting: Waiting
  private readonly running: Running
  private readonly controls: Controls
  private readonly turns = new Admission.Turns()
  private readonly rates = new Map<string, Limit.RateState>()
  private ratesKept = manyRates
  /** The tasks, and queues, whose next end lets another run begin (see `Admission.Limits.full`). */
  readonly full = new Set<string>()

  constructor(waiting: Waiting, running: Running, controls: Controls) {
    this.waiting = waiting
    this.running = running
    this.controls = controls
  }

  choose(request: ClaimRequest, limit: number): Choice {
    const tasks = request.tasks.filter(({ name }) => !this.controls.isShut(name, request.now))
    const queues = this.controls.queues(request)
    const places = tasks.flatMap((task) =>
      queues.flatMap((queue) => {
        const place = this.waiting.placeOf(task.name, queue)
        return place === undefined ? [] : [{ task, place }]
      })
    )
    const isPlain =
      request.queueLimits.length === 0 &&
      places.every(({ place, task }) => place.lanes.size === 0 && Admission.isPlain(task))
    return isPlain
      ? { chosen: this.choosePlain(places, limit), nextAt: none }
      : this.chooseAmong(request, places, limit)
  }

  /** The first runs by their rank, where no more than a number of each task limits them. */
  private choosePlain(
    places: ReadonlyArray<{ readonly task: ServedTask; readonly place: Place }>,
    limit: number
  ): ReadonlyArray<Chosen> {
    const quotas = new Map<string, Quota>()
    const open: Array<{ readonly quota: Quota; readonly place: Place }> = []
    for (const { place, task } of places) {
      const quota = quotas.get(task.name) ?? this.quotaOf(task)
      quotas.set(task.name, quota)
      if (quota.free > 0) {
        open.push({ quota, place })
      }
    }
    const chosen: Array<Chosen> = []
    while (chosen.length < limit) {
      const next = takeFirst(open)
      if (next === undefined) {
        break
      }
      if (--next.quota.free === 0) {
        this.full.add(next.quota.task)
      }
      chosen.push({ entry: next.entry, refusedFor: null })
    }
    return chosen
  }

  private quotaOf({ maxConcurrency, name }: ServedTask): Quota {
    const free = maxConcurrency === null ? none : Math.max(0, maxConcurrency - this.running.sizeOf(name))
    if (free === 0) {
      this.full.add(name)
    }
    return { task: name, free }
  }

  /** The runs that all limits let pass, the groups in turn. */
  private chooseAmong(
    request: ClaimRequest,
    places: ReadonlyArray<{ readonly task: ServedTask; readonly place: Place }>,
    limit: number
  ): Choice {
    const { now } = request
    const limits = new Admission.Limits(request, {
      running: request.tasks.flatMap(({ limits, maxConcurrency, name }) =>
        limits.length > 0 || maxConcurrency !== null ? this.running.countsOf(name) : []
      ),
      runningOfQueues: new Map(request.queueLimits.map(({ queue }) => [queue, this.running.sizeOfQueue(queue)])),
      rates: this.rates
    })
    const unseen = new Map(places.map(({ place }) => [place, place.lanes.size]))
    const chosen: Array<Chosen> = []
    let isLeft = true
    for (let looks = 0; isLeft && chosen.length < limit && looks < Admission.mostLooks; looks++) {
      const lanes = places.flatMap(({ place }) => this.lanesOf(place, unseen, now))
      for (const { head, refusedFor } of Admission.admit(lanes, limits, this.turns, {
        limit: limit - chosen.length,
        now
      })) {
        chosen.push({ entry: head.entry, refusedFor })
      }
      isLeft = Array.from(unseen.values()).some((left) => left > 0)
    }
    limits.changed.forEach((rate) => this.rates.set(rate.name, rate))
    limits.full.forEach((name) => this.full.add(name))
    this.forgetRates(now)
    return { chosen, nextAt: isLeft ? Math.min(limits.nextAt, now + Admission.lookAgainMillis) : limits.nextAt }
  }

  /** The next lanes of a place that may be looked at. */
  private lanesOf(place: Place, unseen: Map<Place, number>, now: number): ReadonlyArray<MemoryLane> {
    const left = unseen.get(place) ?? 0
    unseen.set(place, left - Admission.lanesSeen)
    const { queue, task } = place
    const plain = { group: null, limitKeys: null, entries: place.plain }
    return (left > 0 ? [plain, ...nextLanes(place, Math.min(left, Admission.lanesSeen))] : [plain])
      .filter(({ limitKeys }) => limitKeys === null || !this.controls.isHeld(task, limitKeys, now))
      .map(({ entries, group, limitKeys }) => {
        const peek = () => asHead(head(entries))
        return { task, queue, group, limitKeys, peek, next: () => void entries.pop() }
      })
  }

  private forgetRates(now: number): void {
    if (this.rates.size > this.ratesKept) {
      for (const [name, { until }] of this.rates) {
        if (until <= now) {
          this.rates.delete(name)
        }
      }
      this.ratesKept = manyRates + 2 * this.rates.size
    }
  }
}

const none = Number.POSITIVE_INFINITY

interface EntryHead extends Admission.Head {
  readonly entry: Entry
}

type MemoryLane = Admission.Lane<EntryHead>

const asHead = (entry: Entry | undefined): EntryHead | undefined =>
  entry === undefined
    ? undefined
    : { id: entry.run.id, rank: entry.rank, priority: entry.run.priority, dueAt: entry.run.dueAt, entry }

/** Takes the first run of these places, in the order of claiming. */
const takeFirst = (
  open: ReadonlyArray<{ readonly quota: Quota; readonly place: Place }>
): { readonly entry: Entry; readonly quota: Quota } | undefined => {
  let first: Entry | undefined
  let from: (typeof open)[number] | undefined
  for (const one of open) {
    const entry = one.quota.free > 0 ? head(one.place.plain) : undefined
    if (
      entry !== undefined &&
      (first === undefined || entry.rank < first.rank || (entry.rank === first.rank && entry.run.id < first.run.id))
    ) {
      first = entry
      from = one
    }
  }
  if (first === undefined || from === undefined) {
    return undefined
  }
  from.place.plain.pop()
  return { entry: first, quota: from.quota }
}

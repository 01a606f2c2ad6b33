import type { SqlError } from "@effect/sql/SqlError"
import * as Admission from "@effect-tasks/core/Admission"
import type { ClaimRequest, ServedTask } from "@effect-tasks/core/Broker"
import type { RateState } from "@effect-tasks/core/Limit"
import { Effect } from "effect"
import { kindOf, laneOf } from "../rows.js"
import { makeAdmissionTexts } from "./claimTexts.js"
import { heldName } from "./controls.js"
import type { Run } from "./database.js"
import * as Insert from "./insert.js"
import type { Tables } from "./schema.js"

/** Of all lanes together about so many heads are read at first, yet two of each. */
const headsRead = 400

type Texts = ReturnType<typeof makeAdmissionTexts>

interface Head extends Admission.Head {
  readonly rowid: number
}

/** A lane, as far as its heads have been read. */
class Lane implements Admission.Lane<Head> {
  readonly task: string
  readonly queue: string
  readonly group: string | null
  readonly limitKeys: string | null
  readonly name: string
  private heads: ReadonlyArray<Head> = []
  private at = 0
  /** Whether more runs may stand behind the heads. */
  isCut = false

  constructor(name: string) {
    const { group, limitKeys, queue, task } = kindOf(name)
    this.name = name
    this.task = task
    this.queue = queue
    this.group = group
    this.limitKeys = limitKeys
  }

  read(heads: ReadonlyArray<Head>, most: number): void {
    this.heads = heads
    this.at = 0
    this.isCut = heads.length === most
  }

  readonly peek = (): Head | undefined => this.heads[this.at]

  readonly next = (): void => {
    this.at++
  }

  /** Where to go on when all heads are used and more may follow. */
  get usedUpAfter(): Head | undefined {
    return this.isCut && this.at === this.heads.length ? this.heads[this.at - 1] : undefined
  }
}

const claimedSooner = (a: Head, b: Head): number => a.rank - b.rank || (a.id < b.id ? -1 : 1)

/** A queue of a task, from which the claim may take. `isMoreDue`: not all that is due stands in its lanes yet. */
interface Place {
  readonly task: ServedTask
  readonly queue: string
  readonly isMoreDue: boolean
}

/** How far a claim has come in the lanes of a place: it begins behind `start`, and goes round once. */
interface Walk {
  readonly plain: string
  readonly start: string
  from: string
  isRound: boolean
  isOver: boolean
}

/** All lanes of a task in a queue stand before this. */
const endOf = (plain: string): string => `${plain} `

/** What stands directly behind a lane. */
const behind = (lane: string): string => `${lane}\u0000`

/** What one claim has read. */
interface Reading {
  readonly tasks: ReadonlyMap<string, ServedTask>
  readonly rates: Map<string, RateState>
  readonly limits: Admission.Limits
  readonly now: number
  heldUntil: number
}

/** The rowids of the runs that a claim takes, in order; which of them a rate refuses; and when to ask again for more. */
export interface Admitted {
  readonly rowids: ReadonlyArray<number>
  readonly refused: ReadonlyMap<number, number>
  readonly nextAt: number
}

/** Counts what is running of the tasks and queues that have limits. */
const usageOf = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  { queueLimits }: ClaimRequest,
  places: ReadonlyArray<Place>,
  rates: ReadonlyMap<string, RateState>
): Effect.fn.Return<Admission.Usage, SqlError> {
  const limited = new Set(
    places.flatMap(({ task }) => (task.limits.length > 0 || task.maxConcurrency !== null ? [task.name] : []))
  )
  const running =
    limited.size === 0
      ? []
      : yield* run<Admission.RunningCount>(texts.running, [{ tasks: JSON.stringify(Array.from(limited)) }])
  const runningOfQueues = new Map<string, number>()
  if (queueLimits.length > 0) {
    const queues = JSON.stringify(queueLimits.map(({ queue }) => queue))
    for (const row of yield* run<{ readonly queue: string; readonly runs: number }>(texts.runningOfQueues, [
      { queues }
    ])) {
      runningOfQueues.set(row.queue, row.runs)
    }
  }
  return { running, runningOfQueues, rates }
})

/** The next special lanes of a place. */
const nextLanes = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  walk: Walk
): Effect.fn.Return<ReadonlyArray<string>, SqlError> {
  const found: Array<string> = []
  while (!walk.isOver && found.length < Admission.lanesSeen) {
    const most = Admission.lanesSeen - found.length
    const end = walk.isRound ? behind(walk.start) : endOf(walk.plain)
    const rows = yield* run<{ readonly lane: string }>(texts.lanes, [{ from: walk.from, end, most }])
    for (const { lane } of rows) {
      found.push(lane)
      walk.from = lane
    }
    if (rows.length < most) {
      walk.isOver = walk.isRound || walk.start === walk.plain
      walk.isRound = true
      walk.from = walk.plain
    }
  }
  return found
})

/** Reads the rates of these lanes; those whose keys are held are left out. */
const unheld = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  reading: Reading,
  lanes: ReadonlyArray<Lane>
): Effect.fn.Return<ReadonlyArray<Lane>, SqlError> {
  const names = new Set<string>()
  for (const lane of lanes) {
    Admission.rateNames(reading.tasks.get(lane.task)!, lane).forEach((name) => names.add(name))
    if (lane.limitKeys !== null) {
      names.add(heldName(lane.task, lane.limitKeys))
    }
  }
  if (names.size === 0) {
    return lanes
  }
  for (const { name, until, used } of yield* run<Admission.NamedRate>(texts.rates, [
    { names: JSON.stringify(Array.from(names)) }
  ])) {
    reading.rates.set(name, { until, used })
  }
  return lanes.filter(({ limitKeys, task }) => {
    const until = limitKeys === null ? 0 : (reading.rates.get(heldName(task, limitKeys))?.until ?? 0)
    if (until > reading.now) {
      reading.heldUntil = Math.min(reading.heldUntil, until)
    }
    return until <= reading.now
  })
})

/** Reads the first heads of lanes that are new to the claim. */
const readHeads = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  lanes: ReadonlyArray<Lane>,
  limit: number
): Effect.fn.Return<void, SqlError> {
  if (lanes.length === 0) {
    return
  }
  const most = Math.min(limit, Math.max(2, Math.ceil(headsRead / lanes.length)))
  const heads = new Map<string, Array<Head>>(lanes.map(({ name }) => [name, []]))
  for (const head of yield* run<Head & { readonly lane: string }>(texts.heads, [
    { lanes: JSON.stringify(lanes.map(({ name }) => name)), most }
  ])) {
    heads.get(head.lane)!.push(head)
  }
  for (const lane of lanes) {
    lane.read(heads.get(lane.name)!.sort(claimedSooner), most)
  }
})

/** Reads on in lanes whose heads are used up; gives these lanes. */
const readOn = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  lanes: ReadonlyArray<Lane>,
  limit: number
): Effect.fn.Return<ReadonlyArray<Lane>, SqlError> {
  const usedUp = lanes.filter((lane) => lane.usedUpAfter !== undefined)
  for (const lane of usedUp) {
    const { id, rank } = lane.usedUpAfter!
    lane.read(yield* run<Head>(texts.moreHeads, [{ lane: lane.name, rank, id, most: limit }]), limit)
  }
  return usedUp
})

/**
 * Makes the part of a claim that chooses under limits, and among groups (see core's `Admission`). It sees a window of the
 * lanes of each place, and remembers, for this process, where the next claim goes on.
 */
export const make = (t: Tables, turns: Admission.Turns) => {
  const texts = makeAdmissionTexts(t)
  const cursors = new Map<string, string>()
  const keepRates = Insert.make<Admission.NamedRate>({
    into: t.rate,
    columns: "name, until, used",
    values: ({ name, until, used }) => [name, until, used],
    onConflict: "ON CONFLICT (name) DO UPDATE SET until = excluded.until, used = excluded.used"
  })

  const walkOf = ({ queue, task }: Place): Walk => {
    const plain = laneOf(queue, task.name)
    const start = cursors.get(plain) ?? plain
    return { plain, start, from: start, isRound: false, isOver: false }
  }

  return Effect.fnUntraced(function* (
    run: Run,
    request: ClaimRequest,
    { limit, places }: { readonly limit: number; readonly places: ReadonlyArray<Place> }
  ): Effect.fn.Return<Admitted, SqlError> {
    const { now } = request
    const rates = new Map<string, RateState>()
    const limits = new Admission.Limits(request, yield* usageOf(run, texts, request, places, rates))
    const tasks = new Map(places.map(({ task }) => [task.name, task]))
    const reading: Reading = { tasks, rates, limits, now, heldUntil: Number.POSITIVE_INFINITY }
    const walks = places.map(walkOf)
    const rowids: Array<number> = []
    const refused = new Map<number, number>()
    let seen: ReadonlyArray<Lane> = []
    for (let looks = 0; rowids.length < limit && looks < Admission.mostLooks; looks++) {
      const names: Array<string> = looks === 0 ? walks.map(({ plain }) => plain) : []
      for (const walk of walks) {
        names.push(...(yield* nextLanes(run, texts, walk)))
      }
      const left = limit - rowids.length
      const lanes = yield* unheld(
        run,
        texts,
        reading,
        names.map((name) => new Lane(name))
      )
      yield* readHeads(run, texts, lanes, left)
      seen = [...(yield* readOn(run, texts, seen, left)), ...lanes]
      if (seen.length === 0 && walks.every(({ isOver }) => isOver)) {
        break
      }
      for (const { head, refusedFor } of Admission.admit(seen, limits, turns, { limit: left, now })) {
        rowids.push(head.rowid)
        if (refusedFor !== null) {
          refused.set(head.rowid, refusedFor)
        }
      }
    }
    for (const { from, isOver, plain } of walks) {
      isOver ? cursors.delete(plain) : cursors.set(plain, from)
    }
    yield* keepRates(run, limits.changed)
    const isLeft =
      rowids.length < limit &&
      (walks.some(({ isOver }) => !isOver) ||
        places.some(({ isMoreDue }) => isMoreDue) ||
        seen.some(({ usedUpAfter }) => usedUpAfter !== undefined))
    const again = isLeft ? now + Admission.lookAgainMillis : Number.POSITIVE_INFINITY
    return { rowids, refused, nextAt: Math.min(limits.nextAt, reading.heldUntil, again) }
  })
}

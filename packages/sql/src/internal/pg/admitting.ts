import * as Admission from "@effect-tasks/core/Admission"
import type { Claimed, ClaimedRun, ClaimRequest } from "@effect-tasks/core/Broker"
import type * as Limit from "@effect-tasks/core/Limit"
import { Effect } from "effect"
import { kindOf } from "../rows.js"
import { type ExchangeRow, type OpenPlaces, readExchange, startStatement } from "./claims.js"
import type { Run } from "./database.js"
import type { DriverError } from "./errors.js"
import { type Cursors, Segments } from "./lanes.js"
import { keepRates } from "./looking.js"
import type { Names } from "./names.js"
import { texts, uuids, whole } from "./values.js"

/** A claim that has to look further: what it wishes, the plain lanes of that, and what it has until now. */
interface Claim {
  readonly request: ClaimRequest
  readonly lanes: ReadonlyArray<string>
  readonly open: OpenPlaces
  readonly claimed: Claimed
}

type HeadRow = readonly [id: string, rank: number, priority: number, dueAt: number]
type LaneRow = readonly [
  segment: number,
  name: string,
  heldUntil: number | null,
  heads: ReadonlyArray<HeadRow> | null,
  read: number
]
type LookRow = readonly [running: string | null, queues: string | null, lanes: string | null]

const parsed = <A>(rows: string | null): ReadonlyArray<A> => (rows === null ? [] : JSON.parse(rows))

/** The first runs of a lane, as they were read. */
class HeadsOfLane implements Admission.Lane<Admission.Head> {
  readonly task: string
  readonly queue: string
  readonly group: string | null
  readonly limitKeys: string | null
  private readonly heads: ReadonlyArray<HeadRow>
  private readonly isCut: boolean
  private at = 0

  constructor([, name, , heads, read]: LaneRow) {
    const { group, limitKeys, queue, task } = kindOf(name)
    this.task = task
    this.queue = queue
    this.group = group
    this.limitKeys = limitKeys
    this.heads = heads ?? []
    this.isCut = this.heads.length === read
  }

  readonly peek = (): Admission.Head | undefined => {
    const head = this.heads[this.at]
    return head === undefined ? undefined : { id: head[0], rank: head[1], priority: head[2], dueAt: head[3] }
  }

  readonly next = (): void => {
    this.at++
  }

  /** Whether all that was read is taken, and there may be more. */
  get isUsedUp(): boolean {
    return this.isCut && this.at === this.heads.length
  }
}

const makeStatements = (t: Names) => ({
  look: {
    name: `${t.prefix}look`,
    text: `SELECT running, queues, lanes FROM ${t.look}($1, $2, $3, $4, $5, $6, $7, $8, $9)`
  },
  rates: { name: `${t.prefix}rates`, text: `SELECT name, until, used FROM ${t.rate} WHERE name = ANY ($1)` },
  start: startStatement(t),
  keep: { name: `${t.prefix}keep_rates`, text: keepRates(t, "$1") }
})

type Statements = ReturnType<typeof makeStatements>

/** What a claim has found, look by look. */
interface Found {
  readonly lanes: Array<HeadsOfLane>
  readonly rates: Map<string, Limit.RateState>
  readonly usage: Admission.Usage
  readonly limits: Admission.Limits
  heldUntil: number
}

type Admitted = Admission.Admitted<Admission.Head>

/**
 * What the claims of others must not change while this one looks: the tasks that have limits, and those whose finer lanes it
 * looks at, as others would choose the same runs; and, behind a separator, the queues that have one.
 */
const locksOf = ({ lanes, open: [places, areSpecial], request }: Claim): ReadonlyArray<string> => {
  const tasks = new Map(request.tasks.map((task) => [task.name, task]))
  const limited = new Set(request.queueLimits.map(({ queue }) => queue))
  return places.flatMap((place, i) => {
    const { queue, task } = kindOf(lanes[place - 1]!)
    const served = tasks.get(task)
    const ofTask = areSpecial[i] === true || served?.maxConcurrency !== null || served.limits.length > 0
    return [...(ofTask ? [task] : []), ...(limited.has(queue) ? [Admission.fullQueue(queue)] : [])]
  })
}

/** The tasks of which it has to be known how many runs are performed. */
const countedOf = ({ tasks }: ClaimRequest): ReadonlyArray<string> =>
  tasks.flatMap(({ limits, maxConcurrency, name }) =>
    maxConcurrency !== null || limits.some(({ _tag }) => _tag === "Concurrency") ? [name] : []
  )

const makeLook = (statements: Statements) => {
  const usageOf = (running: string | null, queues: string | null, rates: Found["rates"]): Admission.Usage => ({
    running: parsed<readonly [task: string, limitKeys: string | null, runs: number]>(running).map(
      ([task, limitKeys, runs]) => ({ task, limitKeys, runs })
    ),
    runningOfQueues: new Map(parsed<readonly [queue: string, runs: number]>(queues)),
    rates
  })

  /** Reads the states of the rates that these lanes have to pass. */
  const readRates = (run: Run, request: ClaimRequest, lanes: ReadonlyArray<HeadsOfLane>, rates: Found["rates"]) => {
    const rated = new Map(
      request.tasks.flatMap((task) =>
        task.limits.some(({ _tag }) => _tag !== "Concurrency") ? [[task.name, task] as const] : []
      )
    )
    const names = new Set<string>()
    for (const lane of rated.size === 0 ? [] : lanes) {
      const task = rated.get(lane.task)
      if (task !== undefined) {
        Admission.rateNames(task, lane).forEach((name) => !rates.has(name) && names.add(name))
      }
    }
    return names.size === 0
      ? Effect.void
      : Effect.map(
          run<readonly [name: string, until: number, used: number]>(statements.rates, [texts(Array.from(names))]),
          (rows) => rows.forEach(([name, until, used]) => rates.set(name, { until, used }))
        )
  }

  /** Looks at the next finer lanes; at first also at the plain ones, and at what is performed. */
  return Effect.fnUntraced(function* (
    run: Run,
    claim: Claim,
    segments: Segments,
    before: Found | undefined
  ): Effect.fn.Return<Found, DriverError> {
    const { open, request } = claim
    const isFirst = before === undefined
    const { left } = segments
    const [row] = yield* run<LookRow>(statements.look, [
      isFirst ? texts(locksOf(claim)) : null,
      texts(isFirst ? countedOf(request) : []),
      texts(isFirst ? request.queueLimits.map(({ queue }) => queue) : []),
      texts(isFirst ? open[0].map((place) => claim.lanes[place - 1]!) : []),
      texts(left.map(({ from }) => from)),
      texts(left.map(({ upto }) => upto)),
      Admission.lanesSeen,
      request.limit - claim.claimed.runs.length,
      whole(request.now)
    ])
    const rows = parsed<LaneRow>(row?.[2] ?? null)
    segments.found(
      left,
      rows.map(([segment, name]) => [segment, name])
    )
    const more = rows.flatMap((lane) => (lane[2] === null ? [new HeadsOfLane(lane)] : []))
    const rates = before?.rates ?? new Map<string, Limit.RateState>()
    yield* readRates(run, request, more, rates)
    const usage = before?.usage ?? usageOf(row?.[0] ?? null, row?.[1] ?? null, rates)
    return {
      lanes: [...(before?.lanes ?? []), ...more],
      rates,
      usage,
      limits: before?.limits ?? new Admission.Limits(request, usage),
      heldUntil: rows.reduce(
        (first, [, , heldUntil]) => Math.min(first, heldUntil ?? first),
        before?.heldUntil ?? Number.POSITIVE_INFINITY
      )
    }
  })
}

/** The states of the rates after those of the chosen runs that were started. */
const ratesAfter = (claim: Claim, { usage }: Found, started: ReadonlyArray<Admitted>) => {
  const limits = new Admission.Limits(claim.request, usage)
  for (const { kind, refusedFor } of started) {
    if (refusedFor === null) {
      limits.pass(limits.gates(kind), kind)
    }
  }
  return limits.changed
}

const makeStart = (statements: Statements) =>
  Effect.fnUntraced(function* (
    run: Run,
    claim: Claim,
    found: Found,
    chosen: ReadonlyArray<Admitted>
  ): Effect.fn.Return<ReadonlyArray<ClaimedRun>, DriverError> {
    if (chosen.length === 0) {
      return []
    }
    const { consumer, leaseUntil, now } = claim.request
    const { changed } = found.limits
    const rows = yield* run<ExchangeRow>(statements.start, [
      uuids(chosen.map(({ head }) => head.id)),
      changed.length === 0 ? null : JSON.stringify(changed),
      consumer,
      whole(now),
      whole(leaseUntil)
    ])
    const { runs } = readExchange(rows, null).claimed
    if (runs.length < chosen.length && changed.length > 0) {
      const ids = new Set<string>(runs.map(({ run }) => run.id))
      const rates = ratesAfter(
        claim,
        found,
        chosen.filter(({ head }) => ids.has(head.id))
      )
      yield* run(statements.keep, [JSON.stringify(rates)])
    }
    const refused = new Map(chosen.map(({ head, refusedFor }) => [head.id, refusedFor]))
    return runs.map((claimed) => ({ ...claimed, refusedFor: refused.get(claimed.run.id) ?? null }))
  })

/**
 * Makes what goes on with a claim under limits of any kind, in a transaction: it looks at lanes, `Admission` chooses among their
 * first runs, and those that nobody else has taken meanwhile are started.
 */
export const makeAdmit = (t: Names) => {
  const statements = makeStatements(t)
  const look = makeLook(statements)
  const start = makeStart(statements)
  const turns = new Admission.Turns()
  const cursors: Cursors = new Map()

  return Effect.fnUntraced(function* (run: Run, claim: Claim): Effect.fn.Return<Claimed, DriverError> {
    const { claimed, lanes, open, request } = claim
    const wanted = request.limit - claimed.runs.length
    const [places, areSpecial] = open
    const segments = new Segments(
      places.flatMap((place, i) => (areSpecial[i] === true ? [lanes[place - 1]!] : [])),
      cursors
    )
    const chosen: Array<Admitted> = []
    let found: Found | undefined
    for (let looks = 0; looks < Admission.mostLooks; looks++) {
      found = yield* look(run, claim, segments, found)
      const { limits } = found
      chosen.push(...Admission.admit(found.lanes, limits, turns, { limit: wanted - chosen.length, now: request.now }))
      if (chosen.length === wanted || segments.left.length === 0) {
        break
      }
    }
    segments.remember()
    if (found === undefined) {
      return claimed
    }
    const started = yield* start(run, claim, found, chosen)
    // nobody gives a signal for what was not seen, or was taken by others
    const isCut =
      started.length < chosen.length || (chosen.length < wanted && found.lanes.some(({ isUsedUp }) => isUsedUp))
    const nextAt = Math.min(
      claimed.nextAt ?? Number.POSITIVE_INFINITY,
      found.limits.nextAt,
      found.heldUntil,
      isCut ? request.now + 1 : Number.POSITIVE_INFINITY,
      segments.left.length > 0 ? request.now + Admission.lookAgainMillis : Number.POSITIVE_INFINITY
    )
    return {
      ...claimed,
      runs: [...claimed.runs, ...started],
      nextAt: Number.isFinite(nextAt) ? nextAt : null
    }
  })
}

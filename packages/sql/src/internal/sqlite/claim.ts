import type { SqlError } from "@effect/sql/SqlError"
import { isPlain, type Turns } from "@effect-tasks/core/Admission"
import type { Claimed, ClaimedRun, ClaimRequest, ServedTask } from "@effect-tasks/core/Broker"
import { crashed } from "@effect-tasks/core/RunRecord"
import { Cause, Effect, FiberRef } from "effect"
import { laneOf, type RunRow, toRun } from "../rows.js"
import * as Admission from "./admission.js"
import { makeTexts } from "./claimTexts.js"
import { makeOpen, type Open } from "./controls.js"
import type { Run } from "./database.js"
import type { Tables } from "./schema.js"

/**
 * So many runs of a task in a queue, or as many as are claimed, are moved from `scheduled` to `queued` at once: a million that
 * become due in one moment are moved in portions, and no task waits for another's.
 */
const portion = 200

/** What the two halves of a claim work with. */
interface Parts {
  readonly texts: ReturnType<typeof makeTexts>
  readonly open: ReturnType<typeof makeOpen>
  readonly admit: ReturnType<typeof Admission.make>
}

/** How many more runs of a task may be taken. The queues of one task share it. */
interface Quota {
  readonly task: ServedTask
  free: number
}

/** What may be claimed, and of which tasks how many runs; a task without a free place is missing. */
interface Allowed extends Open {
  readonly quotas: ReadonlyMap<string, Quota>
}

/**
 * Where runs of a task wait in a queue: the last of the lanes with due ones, if there is one, and when the first of those is
 * due that do not stand in a lane yet.
 */
interface Place {
  readonly task: string
  readonly queue: string
  readonly lastLane: string | null
  readonly dueAt: number | null
}

/** What was seen without a transaction, or in the one in which the claim is made. */
interface Seen {
  readonly allowed: Allowed
  readonly places: ReadonlyArray<Place>
  readonly expired: boolean
  readonly nextAt: number
}

interface Head {
  readonly rowid: number
  readonly rank: number
  readonly id: string
}

/** A row that is to be claimed, as it was before. */
type Row = readonly [...RunRow, wasScheduled: 0 | 1, rowid: number]

/** Rows that are to be claimed, which of them a rate refuses, and when it is worth asking again for more. */
interface Choice {
  readonly rows: ReadonlyArray<Row>
  readonly refused: ReadonlyMap<number, number>
  readonly nextAt: number
}

const never = Number.POSITIVE_INFINITY

const noneRefused: ReadonlyMap<number, number> = new Map()

const rowidOf = (row: Row): number => row[row.length - 1] as number

const claimedSooner = (a: Head, b: Head): number => a.rank - b.rank || (a.id < b.id ? -1 : 1)

/** What may be claimed: tasks that are not shut, as far as they are below their limits. */
const allowed = Effect.fnUntraced(function* (
  run: Run,
  { open, texts }: Parts,
  request: ClaimRequest
): Effect.fn.Return<Allowed, SqlError> {
  const opened = yield* open(run, request)
  const limited = request.tasks.filter(({ maxConcurrency }) => maxConcurrency !== null).map(({ name }) => name)
  const running = new Map<string, number>()
  if (limited.length > 0) {
    const tasks = JSON.stringify(limited)
    for (const row of yield* run<{ readonly task: string; readonly running: number }>(texts.running, [{ tasks }])) {
      running.set(row.task, row.running)
    }
  }
  const isOpen = opened.tasks.length === request.tasks.length ? () => true : (name: string) => names.has(name)
  const names = new Set(opened.tasks)
  const quotas = new Map<string, Quota>()
  for (const task of request.tasks) {
    const { maxConcurrency, name } = task
    const free = maxConcurrency === null ? never : maxConcurrency - (running.get(name) ?? 0)
    if (free > 0 && isOpen(name)) {
      quotas.set(name, { task, free })
    }
  }
  return { ...opened, quotas }
})

const isDue = ({ dueAt }: Place, now: number): boolean => dueAt !== null && dueAt <= now

/** When the next run becomes due. */
const nextDue = (places: ReadonlyArray<Place>, now: number): number =>
  places.reduce((next, { dueAt }) => (dueAt !== null && dueAt > now && dueAt < next ? dueAt : next), never)

/** Where runs of these tasks wait. */
const placesOf = (
  run: Run,
  { texts }: Parts,
  tasks: ReadonlyArray<string>,
  queues: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Place>, SqlError> =>
  run<Place>(texts.places, [{ tasks: JSON.stringify(tasks), queues: JSON.stringify(queues) }])

/** What an idle consumer pays for: a few index look-ups, and no transaction. */
const look = Effect.fnUntraced(function* (
  run: Run,
  parts: Parts,
  request: ClaimRequest
): Effect.fn.Return<Seen, SqlError> {
  const { consumer, now } = request
  const seen = yield* allowed(run, parts, request)
  const places = yield* placesOf(run, parts, Array.from(seen.quotas.keys()), seen.queues)
  const [leases] = yield* run<{ readonly next: number | null; readonly expired: 0 | 1 }>(parts.texts.leases, [
    {
      now,
      consumer,
      served: JSON.stringify(request.tasks.map(({ name }) => name)),
      tasks: JSON.stringify(seen.tasks),
      queues: JSON.stringify(seen.queues)
    }
  ])
  return {
    allowed: seen,
    places: places.filter((place) => place.lastLane !== null || isDue(place, now)),
    expired: leases?.expired === 1,
    nextAt: Math.min(nextDue(places, now), leases?.next ?? never, seen.heldUntil)
  }
})

/** The runs whose lease has ended; their ledgers tell of the attempts that crashed. Of held keys they wait for the end. */
const takeOver = Effect.fnUntraced(function* (
  run: Run,
  { texts }: Parts,
  { limit, now }: ClaimRequest,
  { queues, tasks }: Open
): Effect.fn.Return<Choice, SqlError> {
  const names = JSON.stringify(tasks)
  const rows = yield* run.values<Row>(texts.expired, [{ now, limit, tasks: names, queues: JSON.stringify(queues) }])
  for (const row of rows) {
    yield* run(texts.crash, [{ row: rowidOf(row), ledger: crashed(toRun(row), now) }])
  }
  const [held] = yield* run<{ readonly until: number | null }>(texts.heldUntil, [{ now, tasks: names }])
  return { rows, refused: noneRefused, nextAt: held?.until ?? never }
})

/** Moves what has become due to its lanes; gives the places as they are then. */
const promote = Effect.fnUntraced(function* (
  run: Run,
  parts: Parts,
  { now }: ClaimRequest,
  places: ReadonlyArray<Place>,
  limit: number
): Effect.fn.Return<ReadonlyArray<Place>, SqlError> {
  if (!places.some((place) => isDue(place, now))) {
    return places
  }
  const promoted: Array<Place> = []
  for (const place of places) {
    const { queue, task } = place
    if (isDue(place, now)) {
      yield* run(parts.texts.promote, [{ task, queue, now, portion: Math.max(limit, portion) }])
      promoted.push(...(yield* placesOf(run, parts, [task], [queue])))
    } else {
      promoted.push(place)
    }
  }
  return promoted
})

/** The rows with these numbers, in that order. */
const rowsOf = Effect.fnUntraced(function* (
  run: Run,
  { texts }: Parts,
  rowids: ReadonlyArray<number>
): Effect.fn.Return<ReadonlyArray<Row>, SqlError> {
  const rows = new Map<number, Row>()
  for (const row of yield* run.values<Row>(texts.rows, [{ rows: JSON.stringify(rowids) }])) {
    rows.set(rowidOf(row), row)
  }
  return rowids.map((rowid) => rows.get(rowid)!)
})

/** The first runs of plain lanes, in the order of claiming. */
const plainRows = Effect.fnUntraced(function* (
  run: Run,
  parts: Parts,
  { quotas }: Allowed,
  places: ReadonlyArray<Place>,
  limit: number
): Effect.fn.Return<ReadonlyArray<Row>, SqlError> {
  const { texts } = parts
  const isOnlyLane = places.length === 1
  const heads: Array<readonly [Head, Quota]> = []
  for (const { lastLane: lane, task } of places) {
    const quota = quotas.get(task)
    if (quota === undefined) {
      continue
    }
    const params = [{ lane, limit: Math.min(limit, quota.free) }]
    if (isOnlyLane) {
      return yield* run.values<Row>(texts.headRows, params)
    }
    for (const head of yield* run<Head>(texts.heads, params)) {
      heads.push([head, quota])
    }
  }
  const first = heads
    .sort(([a], [b]) => claimedSooner(a, b))
    .flatMap(([head, quota]) => (quota.free-- > 0 ? [head.rowid] : []))
    .slice(0, limit)
  return yield* rowsOf(run, parts, first)
})

/** Whether nothing but one number for each task stands between the runs of these places and a claim. */
const allPlain = ({ queueLimits }: ClaimRequest, { quotas }: Allowed, places: ReadonlyArray<Place>): boolean =>
  places.every(({ lastLane, queue, task }) => {
    const quota = quotas.get(task)
    return (
      quota === undefined ||
      (isPlain(quota.task) && lastLane === laneOf(queue, task) && queueLimits.every((limit) => limit.queue !== queue))
    )
  })

/** The due runs that the claim takes. */
const choose = Effect.fnUntraced(function* (
  run: Run,
  parts: Parts,
  request: ClaimRequest,
  seen: Seen,
  limit: number
): Effect.fn.Return<Choice, SqlError> {
  const { allowed } = seen
  const places = yield* promote(run, parts, request, seen.places, limit)
  const nextAt = nextDue(places, request.now)
  if (allPlain(request, allowed, places)) {
    return { rows: yield* plainRows(run, parts, allowed, places, limit), refused: noneRefused, nextAt }
  }
  const admitted = yield* parts.admit(run, request, {
    limit,
    places: places.flatMap((place) => {
      const { queue, task } = place
      const quota = allowed.quotas.get(task)
      return quota === undefined ? [] : [{ task: quota.task, queue, isMoreDue: isDue(place, request.now) }]
    })
  })
  const rows = yield* rowsOf(run, parts, admitted.rowids)
  return { rows, refused: admitted.refused, nextAt: Math.min(nextAt, admitted.nextAt) }
})

/** A run as the claim makes it. */
const claimed = (
  row: Row,
  { consumer, leaseUntil, now }: ClaimRequest,
  isTakenOver: boolean,
  refusedFor: number | null
): ClaimedRun => {
  const run = toRun(row)
  return {
    run: {
      ...run,
      state: "running",
      crashes: isTakenOver ? run.crashes + 1 : run.crashes,
      ledger: isTakenOver ? crashed(run, now) : run.ledger,
      fence: run.fence + 1,
      consumer,
      leaseUntil,
      startedAt: now
    },
    previous: isTakenOver ? "running" : row[row.length - 2] === 1 ? "scheduled" : "queued",
    refusedFor
  }
}

const nothingChosen: Choice = { rows: [], refused: noneRefused, nextAt: never }

const answer = (runs: ReadonlyArray<ClaimedRun>, nextAt: number, { disabled }: Open): Claimed => ({
  runs,
  nextAt: Number.isFinite(nextAt) ? nextAt : null,
  disabled
})

/** The claim itself, in a transaction: takes what was seen, as far as it is still there. */
const take = Effect.fnUntraced(function* (
  run: Run,
  parts: Parts,
  request: ClaimRequest,
  seen: Seen
): Effect.fn.Return<Claimed, SqlError> {
  const { consumer, leaseUntil, limit, now } = request
  const { allowed } = seen
  const expired = seen.expired ? yield* takeOver(run, parts, request, allowed) : nothingChosen
  const left = limit - expired.rows.length
  const chosen = left > 0 && seen.places.length > 0 ? yield* choose(run, parts, request, seen, left) : nothingChosen
  const rows = [...expired.rows, ...chosen.rows]
  if (rows.length > 0) {
    yield* run(parts.texts.start, [{ consumer, leaseUntil, now, rows: JSON.stringify(rows.map(rowidOf)) }])
  }
  const runs = rows.map((row, i) =>
    claimed(row, request, i < expired.rows.length, chosen.refused.get(rowidOf(row)) ?? null)
  )
  return answer(runs, Math.min(seen.nextAt, expired.nextAt, chosen.nextAt), allowed)
})

/** A consumer that was interrupted meanwhile would never learn of its claims: they are undone before they are committed. */
const unlessInterrupted = <A>(value: A): Effect.Effect<A> =>
  Effect.flatMap(FiberRef.get(FiberRef.interruptedCause), (cause) =>
    Cause.isEmpty(cause) ? Effect.succeed(value) : Effect.failCause(cause)
  )

/**
 * Makes the two halves of a claim: to look costs an idle consumer no transaction; to take, where it is worth it, is a part
 * of one. `turns` are those of this process.
 */
export const make = (t: Tables, turns: Turns) => {
  const parts: Parts = { texts: makeTexts(t), open: makeOpen(t), admit: Admission.make(t, turns) }
  const isWorthIt = ({ limit }: ClaimRequest, { expired, places }: Seen): boolean =>
    limit > 0 && (expired || places.length > 0)
  const taken = (run: Run, request: ClaimRequest, seen: Seen): Effect.Effect<Claimed, SqlError> =>
    Effect.flatMap(take(run, parts, request, seen), unlessInterrupted)

  return {
    look: (run: Run, request: ClaimRequest): Effect.Effect<Seen, SqlError> => look(run, parts, request),
    isWorthIt,
    nothing: ({ allowed, nextAt }: Seen): Claimed => answer([], nextAt, allowed),

    /** What was seen before the transaction began may no longer be allowed. */
    takeLater: (run: Run, request: ClaimRequest, seen: Seen): Effect.Effect<Claimed, SqlError> =>
      Effect.flatMap(allowed(run, parts, request), (allowed) =>
        taken(run, request, {
          ...seen,
          allowed,
          places: seen.places.filter(({ queue, task }) => allowed.quotas.has(task) && allowed.queues.includes(queue))
        })
      ),

    /** Both halves in one transaction. */
    lookAndTake: (run: Run, request: ClaimRequest): Effect.Effect<Claimed, SqlError> =>
      Effect.flatMap(look(run, parts, request), (seen) =>
        isWorthIt(request, seen) ? taken(run, request, seen) : Effect.succeed(answer([], seen.nextAt, seen.allowed))
      )
  }
}

import type { SqlError } from "@effect/sql/SqlError"
import { type ClaimedRun, type ClaimRequest, crashed } from "@effect-tasks/core/Broker"
import { Cause, Effect, FiberRef } from "effect"
import { laneOf, type RunRow, runColumns, toRun } from "../rows.js"
import type { Run } from "./database.js"
import type { Tables } from "./schema.js"

/**
 * So many runs of a lane, or as many as are claimed, are moved from `scheduled` to `queued` at once: a million that become
 * due in one moment are moved in portions, and no lane waits for another's.
 */
const portion = 200

/**
 * The texts of a claim. Each is constant, whatever the number of lanes and runs, and reads nothing but the index entries
 * that it answers with. (Short statements in a row are quicker here than one that says it all.)
 */
const makeTexts = (t: Tables) => ({
  holds: `SELECT name, held_until FROM ${t.control} WHERE kind = 'hold' AND held_until > :now`,

  running: `SELECT value AS task, (
  SELECT count(*) FROM ${t.queue} WHERE state = 'running' AND task = value
) AS running FROM json_each(:tasks)`,

  // Which of these lanes have a run that is due, and whether it is still to be moved.
  ready: `SELECT value AS lane, EXISTS (
  SELECT 1 FROM ${t.queue} WHERE state = 'scheduled' AND lane = value AND due_at <= :now
) AS due FROM json_each(:lanes) WHERE due OR EXISTS (
  SELECT 1 FROM ${t.queue} WHERE state = 'queued' AND lane = value
)`,

  // Whether a lease of these tasks has ended, and when the next run becomes due or the next lease of another ends.
  next: `SELECT (
  SELECT min((
    SELECT due_at FROM ${t.queue} WHERE state = 'scheduled' AND lane = value AND due_at > :now ORDER BY due_at LIMIT 1
  )) FROM json_each(:lanes)
) AS due, (
  SELECT min((
    SELECT lease_until FROM ${t.queue}
    WHERE state = 'running' AND task = value AND lease_until > :now AND consumer <> :consumer
    ORDER BY lease_until LIMIT 1
  )) FROM json_each(:tasks)
) AS lease, EXISTS (
  SELECT 1 FROM json_each(:unheld) WHERE EXISTS (
    SELECT 1 FROM ${t.queue} WHERE state = 'running' AND task = value AND lease_until <= :now
      AND queue IN (SELECT value FROM json_each(:queues))
  )
) AS expired`,

  promote: `UPDATE ${t.queue} SET state = 'queued' WHERE rowid IN (
  SELECT rowid FROM ${t.queue} WHERE state = 'scheduled' AND lane = :lane AND due_at <= :now
  ORDER BY due_at LIMIT :portion
)`,

  heads: `SELECT rowid, rank, id FROM ${t.queue} WHERE state = 'queued' AND lane = :lane ORDER BY rank, id LIMIT :limit`,

  expired: `SELECT ${runColumns}, rowid FROM ${t.queue} WHERE rowid IN (
  SELECT run.rowid FROM json_each(:tasks) AS task CROSS JOIN ${t.queue} AS run
  WHERE run.state = 'running' AND run.task = task.value AND run.lease_until <= :now
    AND run.queue IN (SELECT value FROM json_each(:queues))
  ORDER BY run.lease_until, run.id LIMIT :limit
) ORDER BY lease_until, id`,

  crash: `UPDATE ${t.queue} SET ledger = :ledger WHERE rowid = :row`,

  start: `UPDATE ${t.queue} SET
  crashes = crashes + (state = 'running'), state = 'running', fence = fence + 1, consumer = :consumer,
  lease_until = :leaseUntil, started_at = :now
WHERE rowid IN (SELECT value FROM json_each(:rows))`,

  // Read afterwards: RETURNING keeps a copy of each row and costs more than the update.
  started: `SELECT ${runColumns}, was_scheduled FROM ${t.queue}
WHERE rowid IN (SELECT value FROM json_each(:rows))`
})

interface Texts extends ReturnType<typeof makeTexts> {}

/** How many more runs of a task may be taken. The lanes of one task share it. */
interface Quota {
  free: number
}

/**
 * The lanes from which a run may be taken now, by name, the tasks that are not held, and when the next hold of a served task
 * ends.
 */
interface Open {
  readonly lanes: ReadonlyMap<string, Quota>
  readonly unheld: ReadonlyArray<string>
  readonly heldUntil: number
}

/** What is to be done: nothing, if no lane is ready and no lease has ended. */
interface Seen {
  readonly ready: ReadonlyArray<{ readonly lane: string; readonly due: 0 | 1 }>
  readonly expired: boolean
  readonly nextAt: number | null
}

/** A row that is to be claimed. */
interface Picked {
  readonly rowid: number
  readonly id: string
}

interface Head extends Picked {
  readonly rank: number
}

type Expired = readonly [...RunRow, rowid: number]

type Started = readonly [...RunRow, wasScheduled: 0 | 1]

const claimedSooner = (a: Head, b: Head): number => a.rank - b.rank || (a.id < b.id ? -1 : 1)

const namesOf = (request: ClaimRequest): ReadonlyArray<string> => request.tasks.map(({ name }) => name)

/** The lanes of tasks that are neither held nor at their limit. */
const open = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  request: ClaimRequest
): Effect.fn.Return<Open, SqlError> {
  const held = new Map<string, number>()
  for (const hold of yield* run<{ readonly name: string; readonly held_until: number }>(texts.holds, [
    { now: request.now }
  ])) {
    held.set(hold.name, hold.held_until)
  }
  const limited = request.tasks.filter(({ maxConcurrency }) => maxConcurrency !== null).map(({ name }) => name)
  const running = new Map<string, number>()
  if (limited.length > 0) {
    const tasks = JSON.stringify(limited)
    for (const row of yield* run<{ readonly task: string; readonly running: number }>(texts.running, [{ tasks }])) {
      running.set(row.task, row.running)
    }
  }
  const lanes = new Map<string, Quota>()
  let heldUntil = Number.POSITIVE_INFINITY
  for (const { maxConcurrency, name } of request.tasks) {
    heldUntil = Math.min(heldUntil, held.get(name) ?? heldUntil)
    const quota = {
      free: maxConcurrency === null ? Number.POSITIVE_INFINITY : maxConcurrency - (running.get(name) ?? 0)
    }
    for (const queue of held.has(name) || quota.free <= 0 ? [] : request.queues) {
      lanes.set(laneOf(queue, name), quota)
    }
  }
  return { lanes, unheld: namesOf(request).filter((name) => !held.has(name)), heldUntil }
})

/** What an idle consumer pays for: a few index look-ups, and no transaction. */
const look = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  request: ClaimRequest
): Effect.fn.Return<Seen, SqlError> {
  const { consumer, now } = request
  const { heldUntil, lanes, unheld } = yield* open(run, texts, request)
  const ready = yield* run<Seen["ready"][number]>(texts.ready, [
    { now, lanes: JSON.stringify(Array.from(lanes.keys())) }
  ])
  const names = namesOf(request)
  const served = names.flatMap((task) => request.queues.map((queue) => laneOf(queue, task)))
  const [next] = yield* run<{
    readonly due: number | null
    readonly lease: number | null
    readonly expired: 0 | 1
  }>(texts.next, [
    {
      now,
      consumer,
      lanes: JSON.stringify(served),
      tasks: JSON.stringify(names),
      unheld: JSON.stringify(unheld),
      queues: JSON.stringify(request.queues)
    }
  ])
  const nextAt = Math.min(next?.due ?? Number.POSITIVE_INFINITY, next?.lease ?? Number.POSITIVE_INFINITY, heldUntil)
  return { ready, expired: next?.expired === 1, nextAt: Number.isFinite(nextAt) ? nextAt : null }
})

/** Takes over runs whose lease has ended; the ledger tells of the attempts that crashed. */
const takeExpired = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  request: ClaimRequest,
  { unheld }: Open
): Effect.fn.Return<ReadonlyArray<Picked>, SqlError> {
  const { limit, now, queues } = request
  const expired = yield* run.values<Expired>(texts.expired, [
    { now, limit, tasks: JSON.stringify(unheld), queues: JSON.stringify(queues) }
  ])
  const picked: Array<Picked> = []
  for (const row of expired) {
    const rowid = row[row.length - 1] as number
    yield* run(texts.crash, [{ row: rowid, ledger: crashed(toRun(row), now) }])
    picked.push({ rowid, id: row[0] })
  }
  return picked
})

/** The first runs of the lanes that are ready, in the order of claiming. */
const takeHeads = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  request: ClaimRequest,
  { lanes }: Open,
  ready: Seen["ready"],
  limit: number
): Effect.fn.Return<ReadonlyArray<Picked>, SqlError> {
  const heads: Array<readonly [Head, Quota]> = []
  for (const { due, lane } of ready) {
    const quota = lanes.get(lane)
    if (quota === undefined) {
      continue
    }
    if (due === 1) {
      yield* run(texts.promote, [{ lane, now: request.now, portion: Math.max(limit, portion) }])
    }
    for (const head of yield* run<Head>(texts.heads, [{ lane, limit: Math.min(limit, quota.free) }])) {
      heads.push([head, quota])
    }
  }
  return heads
    .sort(([a], [b]) => claimedSooner(a, b))
    .flatMap(([head, quota]) => (quota.free-- > 0 ? [head] : []))
    .slice(0, limit)
})

/** The claim itself, in a transaction: takes what was seen, as far as it is still there. */
const take = Effect.fnUntraced(function* (
  run: Run,
  texts: Texts,
  request: ClaimRequest,
  seen: Seen
): Effect.fn.Return<ReadonlyArray<ClaimedRun>, SqlError> {
  const { consumer, leaseUntil, limit, now } = request
  const lanes = yield* open(run, texts, request)
  const expired = seen.expired ? yield* takeExpired(run, texts, request, lanes) : []
  const left = limit - expired.length
  const heads = left > 0 && seen.ready.length > 0 ? yield* takeHeads(run, texts, request, lanes, seen.ready, left) : []
  const order = [...expired, ...heads]
  if (order.length === 0) {
    return []
  }
  const rows = JSON.stringify(order.map(({ rowid }) => rowid))
  yield* run(texts.start, [{ consumer, leaseUntil, now, rows }])
  const started = new Map<string, Started>()
  for (const row of yield* run.values<Started>(texts.started, [{ rows }])) {
    started.set(row[0], row)
  }
  return order.map(({ id }, i) => {
    const row = started.get(id)!
    const waited = row.at(-1) === 1 ? "scheduled" : "queued"
    return { run: toRun(row), previous: i < expired.length ? "running" : waited }
  })
})

/** A consumer that was interrupted meanwhile would never learn of its claims: they are undone before they are committed. */
const unlessInterrupted = <A>(value: A): Effect.Effect<A> =>
  Effect.flatMap(FiberRef.get(FiberRef.interruptedCause), (cause) =>
    Cause.isEmpty(cause) ? Effect.succeed(value) : Effect.failCause(cause)
  )

/** The two halves of a claim: looking costs an idle consumer no transaction. */
export interface Claim {
  readonly look: (run: Run, request: ClaimRequest) => Effect.Effect<Seen, SqlError>

  /** Whether there is anything to take. */
  readonly isWorthIt: (request: ClaimRequest, seen: Seen) => boolean

  /** A part of a transaction. */
  readonly take: (run: Run, request: ClaimRequest, seen: Seen) => Effect.Effect<ReadonlyArray<ClaimedRun>, SqlError>
}

export const make = (t: Tables): Claim => {
  const texts = makeTexts(t)
  return {
    look: (run, request) => look(run, texts, request),
    isWorthIt: ({ limit }, { expired, ready }) => limit > 0 && (expired || ready.length > 0),
    take: (run, request, seen) => Effect.flatMap(take(run, texts, request, seen), unlessInterrupted)
  }
}

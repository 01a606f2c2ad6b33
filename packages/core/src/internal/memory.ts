import { Either, Option } from "effect"
import {
  type CancelResult,
  type Claimed,
  type ClaimedRun,
  type ClaimRef,
  type ClaimRequest,
  cancelled,
  crashed,
  type Enqueued,
  type Extended,
  type Extension,
  type ServedTask,
  type Settled,
  type Settlement,
  settleUnder,
  written
} from "../Broker.js"
import type { ConsumerRecord, CountQuery, LogLine, QueueStats, RunQuery } from "../Store.js"
import { IdempotencyConflict } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal, type TaskState } from "../TaskState.js"
import * as Heap from "./heap.js"
import { Running } from "./memoryRunning.js"
import { type Entry, makeEntry, takeFirst, Waiting } from "./memoryWaiting.js"
import type { RunId } from "./run.js"

/** An idempotency key: who holds it, and until when (`null` without end). */
interface HeldKey {
  readonly run: EncodedRun
  readonly until: number | null
}

const keyOf = (run: EncodedRun): string => `${run.task}\u0000${run.idempotency?.key}`

/** The state of the memory backend and its synchronous, hence atomic, operations. */
export class Memory {
  readonly entries = new Map<RunId, Entry>()
  readonly waiting = new Waiting()
  readonly running = new Running()
  readonly holds = new Map<string, number>()
  readonly keys = new Map<string, HeldKey>()
  readonly expiring = Heap.make<{ readonly run: EncodedRun; readonly until: number }>((a, b) => a.until < b.until)
  readonly history = new Map<RunId, EncodedRun>()
  readonly logs = new Map<RunId, Array<LogLine>>()
  readonly consumers = new Map<string, ConsumerRecord>()
  readonly atLimit = new Set<string>()

  readonly keepEnded: number

  constructor(keepEnded: number) {
    this.keepEnded = keepEnded
  }

  private wait(run: EncodedRun): void {
    const entry = makeEntry(run)
    this.entries.set(run.id, entry)
    this.waiting.add(entry)
  }

  private holder(run: EncodedRun): EncodedRun | undefined {
    const held = this.keys.get(keyOf(run))
    return held === undefined || (held.until !== null && held.until <= run.createdAt)
      ? undefined
      : (this.entries.get(held.run.id)?.run ?? this.history.get(held.run.id) ?? held.run)
  }

  enqueue(runs: ReadonlyArray<EncodedRun>): Either.Either<ReadonlyArray<Enqueued>, IdempotencyConflict> {
    const reserved = new Map<string, EncodedRun>()
    const results: Array<Enqueued> = []
    for (const run of runs) {
      const holder = run.idempotency === null ? undefined : (reserved.get(keyOf(run)) ?? this.holder(run))
      if (run.idempotency === null || holder === undefined) {
        if (run.idempotency !== null) {
          reserved.set(keyOf(run), run)
        }
        results.push({ _tag: "Queued", run })
      } else if (run.idempotency.onConflict === "reject") {
        const { key } = run.idempotency
        return Either.left(new IdempotencyConflict({ task: run.task, key, heldBy: holder.id }))
      } else {
        results.push({ _tag: "Existing", run: holder })
      }
    }
    for (const result of results) {
      if (result._tag === "Queued") {
        this.wait(result.run)
      }
    }
    for (const [key, run] of reserved) {
      this.keys.set(key, { run, until: null })
    }
    return Either.right(results)
  }

  private start(entry: Entry, request: ClaimRequest): EncodedRun {
    const { consumer, leaseUntil, now } = request
    const { crashes, fence, ledger, state } = entry.run
    const isTakenOver = state === "running"
    if (isTakenOver) {
      this.running.remove(entry)
    }
    entry.run = {
      ...entry.run,
      state: "running",
      crashes: isTakenOver ? crashes + 1 : crashes,
      ledger: isTakenOver ? crashed(entry.run, now) : ledger,
      fence: fence + 1,
      consumer,
      leaseUntil,
      startedAt: now
    }
    this.running.add(entry)
    return entry.run
  }

  private takeOver(request: ClaimRequest): Array<ClaimedRun> {
    const taken: Array<ClaimedRun> = []
    for (const task of request.tasks) {
      if (this.isHeld(task, request.now)) {
        continue
      }
      for (const entry of this.running.expired(task.name, request.now)) {
        if (taken.length < request.limit && request.queues.includes(entry.run.queue)) {
          taken.push({ run: this.start(entry, request), previous: "running" })
        }
      }
    }
    return taken
  }

  private isHeld(task: ServedTask, now: number): boolean {
    return (this.holds.get(task.name) ?? now) > now
  }

  private free(task: ServedTask, now: number): number {
    if (this.isHeld(task, now)) {
      return 0
    }
    if (task.maxConcurrency === null) {
      return Number.POSITIVE_INFINITY
    }
    const free = Math.max(0, task.maxConcurrency - this.running.sizeOf(task.name))
    if (free === 0) {
      this.atLimit.add(task.name)
    }
    return free
  }

  private takeDue(request: ClaimRequest, limit: number, taken: Array<ClaimedRun>): void {
    const quotas = request.tasks.map((task) => ({ task: task.name, free: this.free(task, request.now) }))
    const lanes = this.waiting.lanes(
      request.queues,
      quotas.filter(({ free }) => free > 0)
    )
    for (let i = 0; i < limit; i++) {
      const next = takeFirst(lanes)
      if (next === undefined) {
        return
      }
      if (--next.quota.free === 0) {
        this.atLimit.add(next.quota.task)
      }
      const { entry } = next
      taken.push({ run: this.start(entry, request), previous: entry.wasScheduled ? "scheduled" : "queued" })
    }
  }

  claim(request: ClaimRequest): Claimed {
    this.forgetKeys(request.now)
    this.waiting.promoteDue(request.now)
    const runs = this.takeOver(request)
    this.takeDue(request, request.limit - runs.length, runs)
    return { runs, nextAt: this.nextAt(request) }
  }

  private nextAt(request: ClaimRequest): number | null {
    let next = this.waiting.nextDue
    for (const { name } of request.tasks) {
      const heldUntil = this.holds.get(name) ?? 0
      next = Math.min(
        next,
        heldUntil > request.now ? heldUntil : Number.POSITIVE_INFINITY,
        this.running.nextLeaseOfOthers(name, request.consumer, request.now)
      )
    }
    return Number.isFinite(next) ? next : null
  }

  private claimOf(ref: ClaimRef): Entry | undefined {
    const entry = this.entries.get(ref.id)
    return entry !== undefined && entry.run.state === "running" && entry.run.fence === ref.fence ? entry : undefined
  }

  settle(settlement: Settlement): Settled {
    const { holdTaskUntil, logs } = settlement
    const entry = this.claimOf(settlement.run)
    const answer = settleUnder(settlement, entry ?? null)
    const run = written(settlement, answer)
    if (run === null || entry === undefined) {
      return answer
    }
    this.running.remove(entry)
    this.appendLogs(logs)
    if (isFinal(run.state)) {
      this.entries.delete(run.id)
      this.remember(run)
    } else {
      this.wait(run)
    }
    if (holdTaskUntil !== null) {
      this.holds.set(run.task, Math.max(holdTaskUntil, this.holds.get(run.task) ?? 0))
    }
    return answer
  }

  /** Moves an ended run to the history, of which the newest `keepEnded` stay. */
  remember(run: EncodedRun): void {
    const known = this.history.get(run.id)
    if (known !== undefined && known.fence > run.fence) {
      return
    }
    this.history.set(run.id, run)
    this.freeKey(run)
    if (this.history.size > this.keepEnded) {
      this.forgetOldest()
    }
  }

  private forgetOldest(): void {
    for (const id of this.history.keys()) {
      if (this.history.size <= this.keepEnded) {
        return
      }
      this.history.delete(id)
      this.logs.delete(id)
    }
  }

  private freeKey(run: EncodedRun): void {
    if (run.idempotency === null || this.keys.get(keyOf(run))?.run.id !== run.id) {
      return
    }
    if (run.state !== "success" || run.idempotency.holdMillis === 0) {
      this.keys.delete(keyOf(run))
    } else if (run.idempotency.holdMillis !== null) {
      const until = run.endedAt! + run.idempotency.holdMillis
      this.keys.set(keyOf(run), { run, until })
      this.expiring.push({ run, until })
    }
  }

  /** Keys whose time is over are forgotten, also those that nobody asks for again. */
  private forgetKeys(now: number): void {
    for (let first = this.expiring.peek(); first !== undefined && first.until <= now; first = this.expiring.peek()) {
      this.expiring.pop()
      const held = this.keys.get(keyOf(first.run))
      if (held?.run.id === first.run.id && held.until === first.until) {
        this.keys.delete(keyOf(first.run))
      }
    }
  }

  extend({ claims, leaseUntil }: Extension): Extended {
    const lost: Array<RunId> = []
    const cancelled: Array<{ readonly id: RunId; readonly reason: string }> = []
    for (const claim of claims) {
      const entry = this.claimOf(claim)
      if (entry === undefined) {
        lost.push(claim.id)
        continue
      }
      entry.run = { ...entry.run, leaseUntil, progress: claim.progress ?? entry.run.progress }
      if (entry.cancelReason !== null) {
        cancelled.push({ id: claim.id, reason: entry.cancelReason })
      }
    }
    return { lost, cancelled }
  }

  cancel(id: RunId, reason: string, now: number): CancelResult {
    const entry = this.entries.get(id)
    if (entry === undefined) {
      return this.history.has(id) ? { _tag: "Ended" } : { _tag: "Unknown" }
    }
    if (entry.run.state === "running") {
      entry.cancelReason = reason
      return { _tag: "Requested" }
    }
    const previous = entry.run.state === "scheduled" ? "scheduled" : "queued"
    const run = cancelled(entry.run, reason, now)
    entry.isGone = true
    this.entries.delete(id)
    this.remember(run)
    return { _tag: "Cancelled", run, previous }
  }

  get(id: RunId): Option.Option<EncodedRun> {
    return Option.fromNullable(this.entries.get(id)?.run ?? this.history.get(id))
  }

  *all(): Iterable<EncodedRun> {
    for (const entry of this.entries.values()) {
      yield entry.run
    }
    yield* this.history.values()
  }

  runs(query: RunQuery): ReadonlyArray<EncodedRun> {
    const found = Array.from(this.all()).filter((run) => matches(query, run))
    return found.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, query.limit)
  }

  counts(query: CountQuery): { readonly [State in TaskState]?: number } {
    const counts: { [State in TaskState]?: number } = {}
    for (const run of this.all()) {
      if ((query.queue ?? run.queue) === run.queue && (query.task ?? run.task) === run.task) {
        counts[run.state] = (counts[run.state] ?? 0) + 1
      }
    }
    return counts
  }

  queues(): ReadonlyArray<QueueStats> {
    const queues = new Map<string, { -readonly [Field in keyof QueueStats]: QueueStats[Field] }>()
    for (const { run } of this.entries.values()) {
      const { dueAt, queue } = run
      const stats = queues.get(queue) ?? { queue, queued: 0, scheduled: 0, running: 0, oldestDueAt: null }
      const state = run.state === "running" || run.state === "scheduled" ? run.state : "queued"
      stats[state]++
      if (state !== "running") {
        stats.oldestDueAt = Math.min(stats.oldestDueAt ?? dueAt, dueAt)
      }
      queues.set(queue, stats)
    }
    return Array.from(queues.values())
  }

  appendLogs(lines: ReadonlyArray<LogLine>): void {
    for (const line of lines) {
      const log = this.logs.get(line.runId)
      if (log === undefined) {
        this.logs.set(line.runId, [line])
        continue
      }
      let at = log.length
      while (at > 0 && log[at - 1]!.seq > line.seq) {
        at--
      }
      if (log[at - 1]?.seq !== line.seq) {
        log.splice(at, 0, line)
      }
    }
  }
}

const matches = (query: RunQuery, run: EncodedRun): boolean =>
  (query.task === undefined || query.task === run.task) &&
  (query.queue === undefined || query.queue === run.queue) &&
  (query.state === undefined || query.state.includes(run.state)) &&
  (query.tag === undefined || run.tags.includes(query.tag)) &&
  (query.group === undefined || query.group === run.group) &&
  (query.parentId === undefined || query.parentId === run.parentId) &&
  (query.rootId === undefined || query.rootId === run.rootId) &&
  (query.createdFrom === undefined || run.createdAt >= query.createdFrom) &&
  (query.createdTo === undefined || run.createdAt < query.createdTo) &&
  (query.before === undefined || run.id < query.before)

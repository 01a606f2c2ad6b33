import { Either, Option } from "effect"
import { fullQueue } from "../Admission.js"
import type {
  Claimed,
  ClaimedRun,
  ClaimRef,
  ClaimRequest,
  Enqueued,
  Extended,
  Extension,
  Settled,
  Settlement
} from "../Broker.js"
import type { CancelResult, Edit, EditResult } from "../Operating.js"
import { cancelled, crashed, edited, replaced, settleUnder, written } from "../RunRecord.js"
import type { ScheduleChange } from "../Scheduling.js"
import type { ConsumerRecord, CountQuery, EncodedSchedule, QueueStats, RunFilter, RunQuery } from "../Store.js"
import { IdempotencyConflict, QueueFull } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal, type TaskState } from "../TaskState.js"
import { Chooser } from "./memoryClaim.js"
import { Controls } from "./memoryControls.js"
import { History } from "./memoryHistory.js"
import { Keys, keyOf } from "./memoryKeys.js"
import { Running } from "./memoryRunning.js"
import { type Entry, makeEntry, Waiting } from "./memoryWaiting.js"
import type { RunId } from "./run.js"

/** The state of the memory backend and its synchronous, hence atomic, operations. */
export class Memory {
  readonly entries = new Map<RunId, Entry>()
  readonly waiting = new Waiting()
  readonly running = new Running()
  readonly controls = new Controls()
  readonly keys = new Keys()
  readonly history: History
  readonly consumers = new Map<string, ConsumerRecord>()
  readonly schedules = new Map<string, EncodedSchedule>()
  private readonly chooser = new Chooser(this.waiting, this.running, this.controls)

  constructor(keepEnded: number) {
    this.history = new History(keepEnded)
  }

  private wait(run: EncodedRun): void {
    const entry = makeEntry(run)
    this.entries.set(run.id, entry)
    this.waiting.add(entry)
  }

  /** Takes an entry from where it waits. */
  private leave(entry: Entry): void {
    entry.isGone = true
    this.waiting.left(entry.run)
  }

  /** Puts another record of a waiting run in its place. */
  private change(entry: Entry, run: EncodedRun): void {
    this.leave(entry)
    this.wait(run)
  }

  enqueue(
    runs: ReadonlyArray<EncodedRun>,
    maxQueued: number | null
  ): Either.Either<ReadonlyArray<Enqueued>, IdempotencyConflict | QueueFull> {
    const reserved = new Map<string, EncodedRun>()
    const changes: Array<() => void> = []
    const results: Array<Enqueued> = []
    for (const run of runs) {
      const holder = run.idempotency === null ? undefined : (reserved.get(keyOf(run)) ?? this.holderOf(run))
      const result = this.enqueued(run, holder)
      if (Either.isLeft(result)) {
        return Either.left(result.left)
      }
      results.push(result.right)
      if (run.idempotency !== null && result.right._tag === "Queued") {
        reserved.set(keyOf(run), run)
        changes.push(() => this.keys.take(run))
      } else if (result.right._tag === "Replaced") {
        const { run: next } = result.right
        reserved.set(keyOf(run), next)
        changes.push(() => {
          const entry = this.entries.get(next.id)
          if (entry !== undefined) {
            this.change(entry, next)
          }
        })
      }
    }
    const added = results.flatMap(({ _tag, run }) => (_tag === "Queued" ? [run] : []))
    const full = maxQueued === null ? undefined : this.fullAfter(added, maxQueued)
    if (full !== undefined) {
      return Either.left(full)
    }
    added.forEach((run) => this.wait(run))
    changes.forEach((change) => change())
    return Either.right(results)
  }

  private holderOf(run: EncodedRun): EncodedRun | undefined {
    const holder = this.keys.holder(run)
    return holder === undefined ? undefined : (this.get(holder.id).pipe(Option.getOrUndefined) ?? holder)
  }

  private enqueued(run: EncodedRun, holder: EncodedRun | undefined): Either.Either<Enqueued, IdempotencyConflict> {
    if (run.idempotency === null || holder === undefined) {
      return Either.right({ _tag: "Queued", run })
    }
    const { key, onConflict } = run.idempotency
    if (onConflict === "reject") {
      return Either.left(new IdempotencyConflict({ task: run.task, key, heldBy: holder.id }))
    }
    if (onConflict === "return" || isFinal(holder.state)) {
      return Either.right({ _tag: "Existing", run: holder })
    }
    return Either.right(
      holder.state === "running" ? { _tag: "Queued", run } : { _tag: "Replaced", run: replaced(holder, run) }
    )
  }

  /** The first queue in which more runs of a task would wait than are allowed. */
  private fullAfter(added: ReadonlyArray<EncodedRun>, maxQueued: number): QueueFull | undefined {
    const more = new Map<string, number>()
    for (const { queue, task } of added) {
      const place = `${task}\u0000${queue}`
      more.set(place, (more.get(place) ?? 0) + 1)
      if (this.waiting.sizeOf(task, queue) + more.get(place)! > maxQueued) {
        return new QueueFull({ task, queue, maxQueued })
      }
    }
    return undefined
  }

  /** Writes those schedules whose record is the expected one, and takes their runs. */
  changeSchedules(changes: ReadonlyArray<ScheduleChange>): ReadonlyArray<boolean> {
    return changes.map(({ expected, runs, schedule }) => {
      if ((this.schedules.get(schedule.name)?.revision ?? null) !== expected) {
        return false
      }
      this.schedules.set(schedule.name, schedule)
      runs.forEach((run) => this.wait(run))
      return true
    })
  }

  private start(entry: Entry, request: ClaimRequest): EncodedRun {
    const { consumer, leaseUntil, now } = request
    const { crashes, fence, ledger, state } = entry.run
    const isTakenOver = state === "running"
    if (isTakenOver) {
      this.running.remove(entry)
    } else {
      this.waiting.left(entry.run)
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
    let queues: ReadonlyArray<string> | undefined
    for (const { name } of request.tasks) {
      for (const entry of this.controls.isShut(name, request.now) ? [] : this.running.expired(name, request.now)) {
        queues ??= this.controls.queues(request)
        if (
          taken.length < request.limit &&
          queues.includes(entry.run.queue) &&
          !this.controls.isHeld(name, entry.run.limitKeys, request.now)
        ) {
          taken.push({ run: this.start(entry, request), previous: "running", refusedFor: null })
        }
      }
    }
    return taken
  }

  claim(request: ClaimRequest): Claimed {
    this.keys.forget(request.now)
    this.waiting.promoteDue(request.now)
    const runs = this.takeOver(request)
    const { chosen, nextAt } = this.chooser.choose(request, request.limit - runs.length)
    for (const { entry, refusedFor } of chosen) {
      runs.push({
        run: this.start(entry, request),
        previous: entry.wasScheduled ? "scheduled" : "queued",
        refusedFor
      })
    }
    return { runs, nextAt: this.nextAt(request, nextAt), disabled: this.controls.disabled(request) }
  }

  private nextAt(request: ClaimRequest, admitted: number): number | null {
    let next = Math.min(this.waiting.nextDue, admitted, this.controls.nextEnd(request))
    for (const { name } of request.tasks) {
      next = Math.min(next, this.running.nextLeaseOfOthers(name, request.consumer, request.now))
    }
    return Number.isFinite(next) ? next : null
  }

  /** Whether the end of a run lets another one begin that a claim has left waiting. */
  letsBegin(run: EncodedRun): boolean {
    const { full } = this.chooser
    const ofTask = full.delete(run.task)
    return full.delete(fullQueue(run.queue)) || ofTask
  }

  private claimOf(ref: ClaimRef): Entry | undefined {
    const entry = this.entries.get(ref.id)
    return entry !== undefined && entry.run.state === "running" && entry.run.fence === ref.fence ? entry : undefined
  }

  settle(settlement: Settlement): Settled {
    const { hold, logs } = settlement
    const entry = this.claimOf(settlement.run)
    const answer = settleUnder(settlement, entry ?? null)
    const run = written(settlement, answer)
    if (run === null || entry === undefined) {
      return answer
    }
    this.running.remove(entry)
    this.history.appendLogs(logs)
    if (isFinal(run.state)) {
      this.entries.delete(run.id)
      this.remember(run)
    } else {
      this.wait(run)
    }
    if (hold !== null) {
      this.controls.hold(run.task, hold)
    }
    return answer
  }

  /** Moves an ended run to the history. */
  remember(run: EncodedRun): void {
    if (this.history.add(run)) {
      this.keys.end(run)
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
    this.leave(entry)
    this.entries.delete(id)
    this.remember(run)
    return { _tag: "Cancelled", run, previous }
  }

  edit(id: RunId, edit: Edit): EditResult {
    const entry = this.entries.get(id)
    if (entry === undefined) {
      return this.history.has(id) ? { _tag: "Ended" } : { _tag: "Unknown" }
    }
    if (entry.run.state === "running") {
      return { _tag: "Running" }
    }
    const previous = entry.run.state === "scheduled" ? "scheduled" : "queued"
    const run = edited(entry.run, edit)
    this.change(entry, run)
    return { _tag: "Edited", run, previous }
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

  count(filter: RunFilter): number {
    let count = 0
    for (const run of this.all()) {
      count += matches({ ...filter, limit: 0 }, run) ? 1 : 0
    }
    return count
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
  (query.endedBefore === undefined || (run.endedAt !== null && run.endedAt < query.endedBefore)) &&
  (query.before === undefined || run.id < query.before)

import { type Broker, type Operating, RunRecord, type TaskRun, TaskState } from "@effect-tasks/core"
import type { Cause } from "effect"
import { Controls, Limits } from "./rules.js"
import { Violation } from "./violation.js"

/** A run as the model knows it: its record after the last answer of the backend. */
export interface Known {
  readonly label: string
  run: TaskRun.Encoded
  /** Why somebody asked to cancel it while it was performed. */
  cancelReason: string | null
  /** How often it has ended; once is right. */
  ends: number
}

const isWaiting = ({ run }: Known): boolean => run.state === "queued" || run.state === "scheduled"

/** What a request about a run is answered, by whether it waits or is running. */
const answerFor = (known: Known | undefined, waiting: string, running: string): string => {
  if (known === undefined) {
    return "Unknown"
  }
  return TaskState.isFinal(known.run.state) ? "Ended" : isWaiting(known) ? waiting : running
}

const counted = (ledger: string, tags: ReadonlyArray<string>): number =>
  (JSON.parse(ledger) as ReadonlyArray<{ readonly outcome: { readonly _tag: string } }>).filter(({ outcome }) =>
    tags.includes(outcome._tag)
  ).length

const asksToReplace = ({ idempotency }: TaskRun.Encoded): boolean =>
  idempotency?.onConflict === "replace" || idempotency?.onConflict === "debounce"

const keyOf = (run: TaskRun.Encoded) => `${run.task} ${run.idempotency?.key}`

function ensure(holds: boolean, broken: () => string): asserts holds {
  if (!holds) {
    throw new Violation(broken())
  }
}

/**
 * What a backend has to answer, kept apart from all of ours: plain maps, no index, no batch. Every answer of the backend is
 * compared with it, then followed.
 */
export class Model {
  readonly runs = new Map<TaskRun.RunId, Known>()
  private readonly currentMillis: () => number
  private readonly rules = new Controls()
  private readonly limits = new Limits()
  private readonly keys = new Map<string, { readonly holder: Known; readonly until: number | null }>()

  constructor(currentMillis: () => number) {
    this.currentMillis = currentMillis
  }

  label(id: TaskRun.RunId): string {
    return this.runs.get(id)?.label ?? id
  }

  get unfinished(): ReadonlyArray<Known> {
    return Array.from(this.runs.values()).filter(({ run }) => !TaskState.isFinal(run.state))
  }

  /** Who holds the key of a run at a moment. */
  private holderOf(run: TaskRun.Encoded, at: number): Known | undefined {
    const held = run.idempotency === null ? undefined : this.keys.get(keyOf(run))
    return held === undefined || (held.until !== null && held.until <= at) ? undefined : held.holder
  }

  /** The controls in force. */
  get controls(): ReadonlyArray<Operating.Control> {
    return this.rules.all
  }

  private waitingOf({ queue, task }: TaskRun.Encoded): number {
    return Array.from(this.runs.values()).filter(
      (known) => isWaiting(known) && known.run.task === task && known.run.queue === queue
    ).length
  }

  enqueued(
    runs: ReadonlyArray<TaskRun.Encoded>,
    answers: ReadonlyArray<Broker.Enqueued>,
    maxQueued: number | null
  ): void {
    ensure(answers.length === runs.length, () => "an enqueue did not answer each run")
    runs.forEach((run, i) => {
      const answer = answers[i]!
      if (answer._tag === "Existing") {
        const holder = this.holderOf(run, run.createdAt)
        ensure(holder?.run.id === answer.run.id, () => `${answer.run.id} does not hold the key ${keyOf(run)}`)
        return
      }
      if (answer._tag === "Replaced") {
        this.replaced(run, answer.run)
        return
      }
      ensure(!this.runs.has(run.id), () => `the id ${run.id} was given twice`)
      // a request may have been long under way, while the time of the key has run out
      const holder = this.holderOf(run, this.currentMillis())
      const letsGo = holder?.run.state === "running" && asksToReplace(run)
      ensure(
        holder === undefined || letsGo,
        () => `the key ${keyOf(run)} is held by ${holder?.label}, and was given again`
      )
      const known: Known = { label: `r${this.runs.size + 1}`, run, cancelReason: null, ends: 0 }
      this.runs.set(run.id, known)
      if (run.idempotency !== null) {
        this.keys.set(keyOf(run), { holder: known, until: null })
      }
      ensure(
        maxQueued === null || this.waitingOf(run) <= maxQueued,
        () => `${known.label} was queued beyond the ${maxQueued} that may wait`
      )
    })
  }

  private replaced(request: TaskRun.Encoded, record: TaskRun.Encoded): void {
    const holder = this.holderOf(request, request.createdAt)
    ensure(holder !== undefined && isWaiting(holder), () => `${record.id} does not wait with the key ${keyOf(request)}`)
    ensure(holder.run.id === record.id, () => `${holder.label} holds the key ${keyOf(request)}, another was replaced`)
    ensure(asksToReplace(request), () => `${holder.label} was replaced, and nobody asked for it`)
    ensure(record.payload === request.payload, () => `${holder.label} has not the payload of the latest request`)
    const latest = holder.run.idempotency?.latestDueAt ?? null
    ensure(latest === null || record.dueAt <= latest, () => `${holder.label} was put off for too long`)
    holder.run = record
  }

  refused(runs: ReadonlyArray<TaskRun.Encoded>, maxQueued: number | null, cause: Cause.Cause<unknown>): void {
    const isFull = maxQueued !== null && String(cause).includes("may wait in the queue")
    ensure(
      isFull
        ? runs.some((run) => this.waitingOf(run) + runs.length > maxQueued)
        : runs.some((run) => this.holderOf(run, run.createdAt) !== undefined),
      () => (isFull ? "a queue was full though few runs waited" : "a key was refused though nobody holds it")
    )
  }

  edited({ dueAt, ids, now, priority }: Operating.Edit, answers: ReadonlyArray<Operating.EditResult>): void {
    ids.forEach((id, i) => {
      const answer = answers[i]!
      const known = this.runs.get(id)
      const expected = answerFor(known, "Edited", "Running")
      ensure(answer._tag === expected, () => `an edit of ${this.label(id)} met ${answer._tag}, not ${expected}`)
      if (known !== undefined && answer._tag === "Edited") {
        const wished = { priority: priority ?? known.run.priority, dueAt: dueAt ?? known.run.dueAt }
        const { run } = answer
        ensure(
          run.priority === wished.priority && run.dueAt === wished.dueAt,
          () => `${known.label} was not edited as it was asked for`
        )
        const state = run.dueAt > now ? "scheduled" : "queued"
        ensure(run.state === state, () => `${known.label} is ${run.state} after an edit, not ${state}`)
        known.run = run
      }
    })
  }

  controlled(changes: Parameters<Controls["change"]>[0]): void {
    this.rules.change(changes)
  }

  exchanged({ claim, settlements }: Broker.Exchange, { claimed, settled }: Broker.Exchanged): void {
    settlements.forEach((settlement, i) => this.settled(settlement, settled[i]!))
    if (claim !== null && claimed !== null) {
      this.claimed(claim, claimed)
    }
  }

  private held(id: TaskRun.RunId, fence: number): Known | undefined {
    const known = this.runs.get(id)
    return known?.run.state === "running" && known.run.fence === fence ? known : undefined
  }

  private settled(settlement: Broker.Settlement, answer: Broker.Settled): void {
    const { run } = settlement
    const known = this.held(run.id, run.fence)
    if (known === undefined) {
      ensure(answer._tag === "Lost", () => `a stale fence of ${this.label(run.id)} was accepted`)
      return
    }
    const expected = known.cancelReason !== null && !TaskState.isFinal(run.state) ? "Cancelled" : "Settled"
    ensure(answer._tag === expected, () => `the end of ${known.label} was answered ${answer._tag}, not ${expected}`)
    if (settlement.hold !== null) {
      this.rules.hold(run, settlement.hold)
    }
    const record = RunRecord.written(settlement, answer)!
    this.checkRecord(known, record)
    this.follow(known, record)
  }

  /** What an attempt may change of a run, and what it has to count. */
  private checkRecord({ label, run: before }: Known, after: TaskRun.Encoded): void {
    for (const field of [
      "task",
      "queue",
      "priority",
      "payload",
      "createdAt",
      "crashes",
      "rootId",
      "limitKeys"
    ] as const) {
      ensure(after[field] === before[field], () => `an attempt changed the ${field} of ${label}`)
    }
    const isTried = after.attempt === before.attempt || after.attempt === before.attempt + 1
    ensure(isTried, () => `one attempt at ${label} counted as ${after.attempt - before.attempt}`)
    const failed = counted(after.ledger, ["Failure", "Defect", "Timeout", "ExecutorCrashed"])
    ensure(failed === after.attempt, () => `${label} has failed ${failed} times, and ${after.attempt} are counted`)
  }

  private follow(known: Known, run: TaskRun.Encoded): void {
    known.run = run
    if (!TaskState.isFinal(run.state)) {
      return
    }
    known.ends++
    ensure(known.ends === 1, () => `${known.label} ended twice`)
    if (this.keys.get(keyOf(run))?.holder === known && run.idempotency !== null) {
      const { holdMillis, holdUntil } = run.idempotency
      const until = holdMillis === null ? null : Math.max(run.endedAt! + holdMillis, holdUntil ?? 0)
      if (run.state !== "success" || (until !== null && until <= run.endedAt!)) {
        this.keys.delete(keyOf(run))
      } else {
        this.keys.set(keyOf(run), { holder: known, until })
      }
    }
  }

  private claimed(request: Broker.ClaimRequest, { disabled, runs: claims }: Broker.Claimed): void {
    const expected = request.tasks.flatMap(({ name }) => (this.rules.isDisabled(name) ? [name] : []))
    ensure(
      expected.slice().sort().join() === disabled.slice().sort().join(),
      () => `a claim says that ${disabled} are disabled, and not ${expected}`
    )
    ensure(claims.length <= request.limit, () => `${claims.length} runs for a wish of ${request.limit}`)
    for (const { previous, refusedFor, run } of claims) {
      const known = this.runs.get(run.id)
      ensure(known !== undefined, () => `${run.id} was claimed, and nobody queued it`)
      this.checkClaim(request, known, previous, run)
      known.run = run
      if (previous !== "running" && refusedFor === null) {
        this.begin(request, known)
      }
    }
    request.tasks.forEach((task) => this.checkLimit(task, request.now))
  }

  private begin({ now, tasks }: Broker.ClaimRequest, { label, run }: Known): void {
    const task = tasks.find(({ name }) => name === run.task)
    const broken = task === undefined ? undefined : this.limits.begin(task, run, now)
    ensure(broken === undefined, () => `${label} began beyond the ${broken}`)
  }

  private checkClaim(
    { consumer, leaseUntil, now, queues, tasks }: Broker.ClaimRequest,
    { label, run: before }: Known,
    previous: Broker.ClaimedRun["previous"],
    run: TaskRun.Encoded
  ): void {
    ensure(!TaskState.isFinal(before.state), () => `${label} was claimed, though it has ended as ${before.state}`)
    const isTakenOver = before.state === "running"
    ensure((previous === "running") === isTakenOver, () => `${label} was ${before.state}, not ${previous}`)
    ensure(!isTakenOver || before.leaseUntil! <= now, () => `${label} was claimed while its lease holds`)
    // a request may have been long under way, and meet what was queued meanwhile
    ensure(isTakenOver || before.dueAt <= this.currentMillis(), () => `${label} was claimed before it is due`)
    // so may a hold have ended that was in force when the request set out
    ensure(
      !this.rules.isHeld(before, Math.max(now, this.currentMillis())),
      () => `${label} was claimed while its task is held back`
    )
    ensure(!this.rules.isPaused(before), () => `${label} was claimed while its task or queue is paused`)
    ensure(run.fence === before.fence + 1, () => `the fence of ${label} went from ${before.fence} to ${run.fence}`)
    const crashes = before.crashes + (isTakenOver ? 1 : 0)
    ensure(run.crashes === crashes, () => `${label} has crashed ${crashes} times, and ${run.crashes} are counted`)
    ensure(counted(run.ledger, ["Crashed"]) === crashes, () => `the ledger of ${label} lacks a crash`)
    ensure(run.attempt === before.attempt, () => `the claim of ${label} changed its attempts`)
    const isHis = run.consumer === consumer && run.leaseUntil === leaseUntil && run.state === "running"
    ensure(isHis, () => `the claim of ${label} is not as it was asked for`)
    const isServed = queues.includes(run.queue) && tasks.some(({ name }) => name === run.task)
    ensure(isServed, () => `${label} was claimed by one who does not serve it`)
  }

  private checkLimit(task: Broker.ServedTask, now: number): void {
    const inForce = Array.from(this.runs.values(), ({ run }) => run).filter(
      ({ leaseUntil, state, task: name }) => name === task.name && state === "running" && leaseUntil! > now
    )
    const broken = this.limits.broken(task, inForce)
    ensure(broken === undefined, () => broken ?? "")
  }

  extended({ claims, leaseUntil }: Broker.Extension, { cancelled, lost }: Broker.Extended): void {
    for (const { fence, id, progress } of claims) {
      const known = this.held(id, fence)
      ensure(lost.includes(id) === (known === undefined), () => `wrong word about the loss of ${this.label(id)}`)
      if (known !== undefined) {
        const isTold = cancelled.some((told) => told.id === id)
        ensure(isTold === (known.cancelReason !== null), () => `wrong word about a cancellation of ${known.label}`)
        known.run = { ...known.run, leaseUntil, progress: progress ?? known.run.progress }
      }
    }
  }

  cancelled(ids: ReadonlyArray<TaskRun.RunId>, reason: string, answers: ReadonlyArray<Operating.CancelResult>): void {
    ids.forEach((id, i) => {
      const answer = answers[i]!
      const known = this.runs.get(id)
      const expected = answerFor(known, "Cancelled", "Requested")
      ensure(answer._tag === expected, () => `a cancellation of ${this.label(id)} met ${answer._tag}, not ${expected}`)
      if (known !== undefined && answer._tag === "Requested") {
        known.cancelReason = reason
      } else if (known !== undefined && answer._tag === "Cancelled") {
        this.follow(known, answer.run)
      }
    })
  }

  /** When everything is over: each run has ended once, and stands in the store as it ended. */
  finished(stored: ReadonlyMap<TaskRun.RunId, TaskRun.Encoded>): void {
    for (const { ends, label, run } of this.runs.values()) {
      ensure(ends === 1, () => `${label} (${run.task}) never ended: it is ${run.state}, due at ${run.dueAt}`)
      const record = stored.get(run.id)
      ensure(record !== undefined, () => `${label} is not in the store`)
      for (const field of ["state", "attempt", "crashes", "fence", "ledger", "outcome", "endedAt"] as const) {
        ensure(
          record[field] === run[field],
          () => `the stored ${field} of ${label} is ${record[field]}, not ${run[field]}`
        )
      }
    }
  }
}

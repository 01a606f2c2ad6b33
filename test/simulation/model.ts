import { Broker, type TaskRun, TaskState } from "@effect-tasks/core"
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

const counted = (ledger: string, tags: ReadonlyArray<string>): number =>
  (JSON.parse(ledger) as ReadonlyArray<{ readonly outcome: { readonly _tag: string } }>).filter(({ outcome }) =>
    tags.includes(outcome._tag)
  ).length

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
  private readonly holds = new Map<string, number>()
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

  enqueued(runs: ReadonlyArray<TaskRun.Encoded>, answers: ReadonlyArray<Broker.Enqueued>): void {
    ensure(answers.length === runs.length, () => "an enqueue did not answer each run")
    runs.forEach((run, i) => {
      const answer = answers[i]!
      if (answer._tag === "Existing") {
        const holder = this.holderOf(run, run.createdAt)
        ensure(holder?.run.id === answer.run.id, () => `${answer.run.id} does not hold the key ${keyOf(run)}`)
        return
      }
      ensure(!this.runs.has(run.id), () => `the id ${run.id} was given twice`)
      // a request may have been long under way, while the time of the key has run out
      const holder = this.holderOf(run, this.currentMillis())
      ensure(holder === undefined, () => `the key ${keyOf(run)} is held by ${holder?.label}, and was given again`)
      const known: Known = { label: `r${this.runs.size + 1}`, run, cancelReason: null, ends: 0 }
      this.runs.set(run.id, known)
      if (run.idempotency !== null) {
        this.keys.set(keyOf(run), { holder: known, until: null })
      }
    })
  }

  refused(runs: ReadonlyArray<TaskRun.Encoded>): void {
    ensure(
      runs.some((run) => this.holderOf(run, run.createdAt) !== undefined),
      () => "a key was refused though nobody holds it"
    )
  }

  exchanged({ claim, settlements }: Broker.Exchange, { claimed, settled }: Broker.Exchanged): void {
    settlements.forEach((settlement, i) => this.settled(settlement, settled[i]!))
    if (claim !== null && claimed !== null) {
      this.claimed(claim, claimed.runs)
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
    if (settlement.holdTaskUntil !== null) {
      this.holds.set(run.task, Math.max(settlement.holdTaskUntil, this.holds.get(run.task) ?? 0))
    }
    const record = Broker.written(settlement, answer)!
    this.checkRecord(known, record)
    this.follow(known, record)
  }

  /** What an attempt may change of a run, and what it has to count. */
  private checkRecord({ label, run: before }: Known, after: TaskRun.Encoded): void {
    for (const field of ["task", "queue", "priority", "payload", "createdAt", "crashes", "rootId"] as const) {
      ensure(after[field] === before[field], () => `an attempt changed the ${field} of ${label}`)
    }
    const isTried = after.attempt === before.attempt || after.attempt === before.attempt + 1
    ensure(isTried, () => `one attempt at ${label} counted as ${after.attempt - before.attempt}`)
    const failed = counted(after.ledger, ["Failure", "Defect", "Timeout"])
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
      const { holdMillis } = run.idempotency
      if (run.state !== "success" || holdMillis === 0) {
        this.keys.delete(keyOf(run))
      } else {
        this.keys.set(keyOf(run), { holder: known, until: holdMillis === null ? null : run.endedAt! + holdMillis })
      }
    }
  }

  private claimed(request: Broker.ClaimRequest, claims: ReadonlyArray<Broker.ClaimedRun>): void {
    ensure(claims.length <= request.limit, () => `${claims.length} runs for a wish of ${request.limit}`)
    for (const { previous, run } of claims) {
      const known = this.runs.get(run.id)
      ensure(known !== undefined, () => `${run.id} was claimed, and nobody queued it`)
      this.checkClaim(request, known, previous, run)
      known.run = run
    }
    request.tasks.forEach((task) => this.checkLimit(task, request.now))
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
    ensure((this.holds.get(run.task) ?? now) <= now, () => `${label} was claimed while its task is held back`)
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

  private checkLimit({ maxConcurrency, name }: Broker.ServedTask, now: number): void {
    if (maxConcurrency === null) {
      return
    }
    const inForce = Array.from(this.runs.values()).filter(
      ({ run }) => run.task === name && run.state === "running" && run.leaseUntil! > now
    ).length
    ensure(inForce <= maxConcurrency, () => `${inForce} claims on ${name}, whose limit is ${maxConcurrency}`)
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

  cancelled(ids: ReadonlyArray<TaskRun.RunId>, reason: string, answers: ReadonlyArray<Broker.CancelResult>): void {
    ids.forEach((id, i) => {
      const answer = answers[i]!
      const known = this.runs.get(id)
      const expected =
        known === undefined
          ? "Unknown"
          : TaskState.isFinal(known.run.state)
            ? "Ended"
            : isWaiting(known)
              ? "Cancelled"
              : "Requested"
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

/**
 * Where unfinished runs wait, and how consumers get, hold and give back runs.
 *
 * This is the interface for those who write a backend; applications use `TaskManager` and `TaskConsumer`. It is encoded:
 * strings, numbers and states, never a user's schema. Every operation takes and returns arrays, one is a batch of one, and
 * concurrent calls are expected: a backend joins them into one statement where that is quicker (see `Batcher`).
 *
 * **Claims.** A claim is an exclusive, leased, numbered hold on a run. Its number, the *fence*, grows with every claim of
 * the same run; every write about a running run carries it, and a stale one is refused. A lease that is not extended in
 * time ends the claim: the run may be claimed by another consumer.
 *
 * **Time.** Every operation works with the caller's `now`, which the runtime takes from `Broker.now`: the `Clock`, corrected
 * by the offset to the server's clock where machines differ. No implementation reads a clock of its own for a rule. All times
 * are whole epoch milliseconds.
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, type Scope } from "effect"
import type * as Queue from "effect/Queue"
import type { RunId } from "./internal/run.js"
import type * as Limit from "./Limit.js"
import type * as Locking from "./Locking.js"
import type * as Operating from "./Operating.js"
import type * as Scheduling from "./Scheduling.js"
import type { LogLine } from "./Store.js"
import type { BackendError, IdempotencyConflict, QueueFull } from "./TaskError.js"
import type { Encoded as EncodedRun } from "./TaskRun.js"

/**
 * What became of one run of an enqueue.
 *
 * - `Queued`: it was accepted as it is
 * - `Existing`: its idempotency key is held by the run given here; nothing was added
 * - `Replaced`: the run given here holds its key and waited; it has the request's payload now
 *
 * @since 0.1.0
 * @category models
 */
export type Enqueued =
  | { readonly _tag: "Queued"; readonly run: EncodedRun }
  | { readonly _tag: "Existing"; readonly run: EncodedRun }
  | { readonly _tag: "Replaced"; readonly run: EncodedRun }

/**
 * `maxQueued`: the runs of a call are accepted only while, with them, at most so many runs of their task wait in their queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface EnqueueOptions {
  readonly maxQueued: number | null
}

/**
 * A task that a consumer serves, with its limits.
 *
 * - `maxConcurrency`: the most runs of the task that may be running at one time, over all consumers; `null` is without limit
 * - `limits`: the limits beyond that one
 * - `room`: the most runs of it that this very claim may take; `null` is without limit
 *
 * @since 0.1.0
 * @category models
 */
export interface ServedTask {
  readonly name: string
  readonly maxConcurrency: number | null
  readonly limits: ReadonlyArray<Limit.Encoded>
  readonly room: number | null
}

/**
 * The most runs of a queue that may be running at one time, over all consumers, whatever their tasks.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueLimit {
  readonly queue: string
  readonly maxConcurrency: number
}

/**
 * A consumer's wish for runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRequest {
  readonly consumer: string
  readonly queues: ReadonlyArray<string>
  readonly queueLimits: ReadonlyArray<QueueLimit>
  readonly tasks: ReadonlyArray<ServedTask>
  /** At the most so many runs. */
  readonly limit: number
  readonly now: number
  readonly leaseUntil: number
}

/**
 * What a claim gave: runs in the order of claiming, and when to ask again.
 *
 * `nextAt` is the moment from which on it is worth asking again, when nobody gives a signal before: the next due time, the
 * end of another consumer's lease, the end of a hold, or the moment at which a rate lets the next run pass; always later than
 * the request's `now`. `null` when there is none.
 *
 * `disabled` are those of the request's tasks that somebody has disabled: their runs are given all the same, to be ended as
 * `aborted`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  readonly runs: ReadonlyArray<ClaimedRun>
  readonly nextAt: number | null
  readonly disabled: ReadonlyArray<string>
}

/**
 * A claimed run: its state is `running`, and `fence`, `consumer`, `leaseUntil` and `startedAt` are those of the new claim.
 *
 * `previous` is the state it was in before: `queued`; `scheduled` when it became due since; or `running`, when the lease of
 * the claim before had ended. Then `crashes` is already one higher, and the stored ledger tells of the attempt that crashed
 * (see `RunRecord.crashed`).
 *
 * `refusedFor` is there when a rate limit refuses the run (see `Limit.OnLimit`): it is to be ended as `rate_limited`, and
 * would have passed after so many milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimedRun {
  readonly run: EncodedRun
  readonly previous: "queued" | "scheduled" | "running"
  readonly refusedFor: number | null
}

/**
 * A claim, by its run and its number.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRef {
  readonly id: RunId
  readonly fence: number
}

/**
 * The end of a claim: the whole new record, with the fence of the claim.
 *
 * `run.state` is a final state, or `scheduled` / `queued` when the run is to be performed again; then `dueAt` says from when
 * on. What a run was queued with (task, queue, priority, payload, tags, …) is as it was claimed. `logs` are lines that were
 * not yet stored. With a `hold` no run of the task is claimed before that moment (`CurrentRun.rateLimited`).
 *
 * @since 0.1.0
 * @category models
 */
export interface Settlement {
  readonly run: EncodedRun
  readonly now: number
  readonly logs: ReadonlyArray<LogLine>
  readonly hold: Hold | null
}

/**
 * No run of the settled run's task is claimed before `until`; with `limitKeys` only none that has these.
 *
 * @since 0.1.0
 * @category models
 */
export interface Hold {
  readonly until: number
  readonly limitKeys: string | null
}

/**
 * What became of a settlement: it was written; the claim was no longer held, and nothing was written; or the run, which was
 * to be performed again, had been cancelled meanwhile, and has ended as the record given here.
 *
 * @since 0.1.0
 * @category models
 */
export type Settled =
  | { readonly _tag: "Settled" }
  | { readonly _tag: "Lost" }
  | { readonly _tag: "Cancelled"; readonly run: EncodedRun }

/**
 * What a consumer hands in, and what it wishes for: ends of claims, and, unless it has no place for them, new ones.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exchange {
  readonly settlements: ReadonlyArray<Settlement>
  readonly claim: ClaimRequest | null
}

/**
 * The answers to an exchange: what became of each settlement, in order, and what the claim gave.
 *
 * @since 0.1.0
 * @category models
 */
export interface Exchanged {
  readonly settled: ReadonlyArray<Settled>
  readonly claimed: Claimed | null
}

/**
 * What to do when the transaction of the calling fiber ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransactionEnd {
  readonly committed: () => void
  readonly rolledBack: () => void
}

/**
 * A sign of life of a consumer for claims that it holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Extension {
  readonly claims: ReadonlyArray<ClaimRef & { readonly progress: string | null }>
  readonly leaseUntil: number
  readonly now: number
}

/**
 * What the broker says to a sign of life: claims that are no longer held, and runs that somebody asked to cancel.
 *
 * @since 0.1.0
 * @category models
 */
export interface Extended {
  readonly lost: ReadonlyArray<RunId>
  readonly cancelled: ReadonlyArray<{ readonly id: RunId; readonly reason: string }>
}

/**
 * What the broker tells those who listen.
 *
 * - `Work`: something may have become claimable, or due sooner
 * - `Ended`: these runs have ended
 * - `Cancel`: a consumer of this process should stop these runs
 * - `Schedules`: somebody has changed schedules
 * - `Unlocked`: these locks were released
 * - `Changed`: somebody else wrote; anything may have happened
 *
 * Signals are hints: one may be missed or come twice, so every listener also asks again at `pollInterval`.
 *
 * @since 0.1.0
 * @category models
 */
export type Signal =
  | { readonly _tag: "Work" }
  | { readonly _tag: "Ended"; readonly ids: ReadonlyArray<RunId> }
  | { readonly _tag: "Cancel"; readonly id: RunId; readonly reason: string }
  | { readonly _tag: "Schedules" }
  | { readonly _tag: "Unlocked"; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "Changed" }

/**
 * The operations of a broker: these, and those of `Operating`, `Scheduling` and `Locking`.
 *
 * All fail only with a `BackendError`, whose `transient` says whether the same call may succeed later.
 *
 * @since 0.1.0
 * @category services
 */
export class Broker extends Context.Tag("@effect-tasks/core/Broker")<
  Broker,
  Operating.Operations &
    Scheduling.Operations &
    Locking.Operations & {
      /** The backend's name, for messages: `memory`, `sqlite`, … */
      readonly name: string

      /**
       * How long a listener waits at the most before it asks again without a signal. Infinite where no signal can be missed
       * and nobody else can write.
       */
      readonly pollInterval: Duration.Duration

      /**
       * Whether calls are answered by another process, so that this one can work meanwhile: then a consumer has two exchanges
       * under way, and performs what one gave while the other is answered.
       */
      readonly isRemote: boolean

      /** Now, in epoch milliseconds of the clock that all users of this broker share. */
      readonly now: Effect.Effect<number>

      /**
       * Accepts runs in the state `queued` or `scheduled`, all of them or none, durably: they survive a crash as soon as this
       * returns. Idempotency keys are reserved in the same step. A key that is held gives the holder (`Existing`), or fails
       * the call with `IdempotencyConflict` where the run says `reject`; then nothing is added. Within one call the first run
       * with a key wins.
       *
       * Where the run says `replace` or `debounce`, a holder that waits gets its payload, priority and limit keys (see
       * `RunRecord.replaced`); one that is running lets go of the key, and the new run is queued and holds it.
       *
       * With `maxQueued` the call fails with `QueueFull`, and nothing is added, when more runs than that would wait.
       *
       * The results stand in the order of the runs.
       */
      readonly enqueue: (
        runs: ReadonlyArray<EncodedRun>,
        options?: EnqueueOptions
      ) => Effect.Effect<ReadonlyArray<Enqueued>, BackendError | IdempotencyConflict | QueueFull>

      /**
       * Ends claims, then makes new ones, in one commit and, where the backend can, one round trip.
       *
       * **Settlements.** Each is written exactly when its fence is still the run's newest; the answers say so. A final run
       * leaves the broker, and on a fused backend enters the history in the same commit; its idempotency key is freed or kept
       * as the record says. A run that is to be performed again, but that somebody has asked to cancel, ends as `cancelled`.
       *
       * **Claim.** Takes up to `limit` runs of the queues and tasks that the consumer serves: first those whose lease has
       * ended, then the due ones by rank (see `TaskPriority`) and id, or in turn where they have groups (see `Admission`). Runs
       * of other tasks stay for others, and so do all runs of a task or queue that is paused, held or at its limit. No limit is
       * ever exceeded, whoever claims at the same time. The cost depends neither on the history nor on runs that may not be
       * taken.
       */
      readonly exchange: (exchange: Exchange) => Effect.Effect<Exchanged, BackendError>

      /** Extends leases, stores progress, and tells which claims are lost and which runs are to be cancelled. */
      readonly extend: (extension: Extension) => Effect.Effect<Extended, BackendError>

      /**
       * Tells when what the calling fiber has written is durable: at once, unless the fiber is inside a transaction that this
       * broker takes part in; then at the end of the outermost one.
       */
      readonly atTransactionEnd: (end: TransactionEnd) => Effect.Effect<void>

      /** The signals from now on. */
      readonly signals: Effect.Effect<Queue.Dequeue<Signal>, never, Scope.Scope>
    }
>() {}

/**
 * Claims only: an exchange without settlements.
 *
 * @since 0.1.0
 * @category accessors
 */
export const claim = (broker: typeof Broker.Service, request: ClaimRequest): Effect.Effect<Claimed, BackendError> =>
  Effect.map(broker.exchange({ settlements: [], claim: request }), ({ claimed }) => claimed ?? nothing)

const nothing: Claimed = { runs: [], nextAt: null, disabled: [] }

/**
 * Settles only: an exchange without a claim.
 *
 * @since 0.1.0
 * @category accessors
 */
export const settle = (
  broker: typeof Broker.Service,
  settlements: ReadonlyArray<Settlement>
): Effect.Effect<ReadonlyArray<Settled>, BackendError> =>
  Effect.map(broker.exchange({ settlements, claim: null }), ({ settled }) => settled)

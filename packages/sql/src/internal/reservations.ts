import type { Enqueued } from "@effect-tasks/core/Broker"
import { IdempotencyConflict } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Either } from "effect"

/** The runs of one caller. */
export type Group = ReadonlyArray<TaskRun.Encoded>

/** What one caller gets. */
export type Accepted = Either.Either<ReadonlyArray<Enqueued>, IdempotencyConflict>

/** Who holds an idempotency key. `run` is there when it is a run of this very flush. */
interface Holder {
  readonly id: TaskRun.RunId
  readonly until: number | null
  readonly run?: TaskRun.Encoded
}

/** A run, and who holds its key already. */
export type Decision = readonly [run: TaskRun.Encoded, holder: Holder | undefined]

export interface HeldKey {
  readonly task: string
  readonly key: string
  readonly run_id: TaskRun.RunId
  readonly held_until: number | null
}

const keyOf = (task: string, key: string): string => `${task}\u0000${key}`

/** Decides who gets which key, one group after the other, each as if it were alone. */
export class Reservations {
  private readonly holders = new Map<string, Holder>()

  constructor(held: ReadonlyArray<HeldKey>) {
    for (const { held_until, key, run_id, task } of held) {
      this.holders.set(keyOf(task, key), { id: run_id, until: held_until })
    }
  }

  reserve(group: Group): Either.Either<ReadonlyArray<Decision>, IdempotencyConflict> {
    const own = new Map<string, Holder>()
    const decisions: Array<Decision> = []
    for (const run of group) {
      if (run.idempotency === null) {
        decisions.push([run, undefined])
        continue
      }
      const { key, onConflict } = run.idempotency
      const known = own.get(keyOf(run.task, key)) ?? this.holders.get(keyOf(run.task, key))
      // the run itself holds it when the call is repeated after its answer was lost
      const isFree =
        known === undefined || known.id === run.id || (known.until !== null && known.until <= run.createdAt)
      const holder = isFree ? undefined : known
      if (holder !== undefined && onConflict === "reject") {
        return Either.left(new IdempotencyConflict({ task: run.task, key, heldBy: holder.id }))
      }
      if (holder === undefined) {
        own.set(keyOf(run.task, key), { id: run.id, until: null, run })
      }
      decisions.push([run, holder])
    }
    own.forEach((holder, key) => this.holders.set(key, holder))
    return Either.right(decisions)
  }
}

export const answer =
  (stored: Map<string, TaskRun.Encoded>) =>
  ([run, holder]: Decision): Enqueued =>
    holder === undefined
      ? { _tag: "Queued", run }
      : {
          _tag: "Existing",
          // Only a success holds its key after the end: that much is known of a holder whose record has been pruned.
          run: holder.run ?? stored.get(holder.id) ?? { ...run, id: holder.id, state: "success" }
        }

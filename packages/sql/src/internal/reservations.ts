import type { Enqueued } from "@effect-tasks/core/Broker"
import { replaced } from "@effect-tasks/core/RunRecord"
import { IdempotencyConflict, type QueueFull } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { isFinal } from "@effect-tasks/core/TaskState"
import { Either } from "effect"

/** The runs of one caller. */
export type Group = ReadonlyArray<TaskRun.Encoded>

/** What one caller gets. */
export type Accepted = Either.Either<ReadonlyArray<Enqueued>, IdempotencyConflict | QueueFull>

/** Who holds an idempotency key. */
interface Holder {
  readonly id: TaskRun.RunId
  readonly until: number | null
  /** Its record, as far as it is known; for a run of this very flush the decision about it. */
  readonly decision: { run: TaskRun.Encoded } | undefined
}

/**
 * What is decided about a run: it is added; the holder of its key stands for it; or the holder, whose record this is, is
 * changed. A run that is added may still be changed by another of the same flush.
 */
export type Decision =
  | { readonly _tag: "Queued"; run: TaskRun.Encoded }
  | { readonly _tag: "Existing"; readonly asked: TaskRun.Encoded; readonly holder: Holder }
  | { readonly _tag: "Replaced"; run: TaskRun.Encoded; readonly isStored: boolean }

export interface HeldKey {
  readonly task: string
  readonly key: string
  readonly run_id: TaskRun.RunId
  readonly held_until: number | null
}

const keyOf = (task: string, key: string): string => `${task}\u0000${key}`

/** Whether the request asks to change the holder of its key: then the holder's record must be known. */
export const asksToReplace = ({ idempotency }: TaskRun.Encoded): boolean =>
  idempotency?.onConflict === "replace" || idempotency?.onConflict === "debounce"

/**
 * Decides who gets which key, one group after the other, each as if it were alone. `stored` has the records of the holders
 * that somebody asks to replace, none of which may change meanwhile.
 */
export class Reservations {
  private readonly holders = new Map<string, Holder>()

  constructor(held: ReadonlyArray<HeldKey>, stored: ReadonlyMap<string, TaskRun.Encoded> = new Map()) {
    for (const { held_until, key, run_id, task } of held) {
      const run = stored.get(run_id)
      this.holders.set(keyOf(task, key), {
        id: run_id,
        until: held_until,
        decision: run === undefined ? undefined : { run }
      })
    }
  }

  reserve(group: Group): Either.Either<ReadonlyArray<Decision>, IdempotencyConflict> {
    const own = new Map<string, Holder>()
    const changes: Array<() => void> = []
    const decisions: Array<Decision> = []
    for (const run of group) {
      const holder = this.holderOf(run, own)
      if (run.idempotency === null || holder === undefined) {
        decisions.push(take(run, own))
        continue
      }
      const { key, onConflict } = run.idempotency
      if (onConflict === "reject") {
        return Either.left(new IdempotencyConflict({ task: run.task, key, heldBy: holder.id }))
      }
      const known = holder.decision
      if (onConflict === "return" || known === undefined || isFinal(known.run.state)) {
        decisions.push({ _tag: "Existing", asked: run, holder })
      } else if (known.run.state === "running") {
        decisions.push(take(run, own))
      } else {
        const next = replaced(known.run, run)
        decisions.push({ _tag: "Replaced", run: next, isStored: !("_tag" in known) })
        changes.push(() => {
          known.run = next
        })
      }
    }
    changes.forEach((change) => change())
    own.forEach((holder, key) => this.holders.set(key, holder))
    return Either.right(decisions)
  }

  /** Who holds the run's key. The run itself does when the call is repeated after its answer was lost. */
  private holderOf(run: TaskRun.Encoded, own: ReadonlyMap<string, Holder>): Holder | undefined {
    if (run.idempotency === null) {
      return undefined
    }
    const name = keyOf(run.task, run.idempotency.key)
    const known = own.get(name) ?? this.holders.get(name)
    return known === undefined || known.id === run.id || (known.until !== null && known.until <= run.createdAt)
      ? undefined
      : known
  }
}

/** Adds a run, which holds its key if it has one. */
const take = (run: TaskRun.Encoded, own: Map<string, Holder>): Decision => {
  const decision = { _tag: "Queued" as const, run }
  if (run.idempotency !== null) {
    own.set(keyOf(run.task, run.idempotency.key), { id: run.id, until: null, decision })
  }
  return decision
}

/** The runs that are to be added. */
export const added = (decisions: ReadonlyArray<Decision>): ReadonlyArray<TaskRun.Encoded> =>
  decisions.flatMap((decision) => (decision._tag === "Queued" ? [decision.run] : []))

/** The stored runs that are to be changed; of several changes of one run the last. */
export const changed = (decisions: ReadonlyArray<Decision>): ReadonlyArray<TaskRun.Encoded> =>
  Array.from(
    new Map(
      decisions.flatMap((decision) =>
        decision._tag === "Replaced" && decision.isStored ? [[decision.run.id, decision.run]] : []
      )
    ).values()
  )

/** The holders whose records are part of an answer and not known yet. */
export const holdersAsked = (decisions: ReadonlyArray<Decision>): ReadonlyArray<TaskRun.RunId> =>
  decisions.flatMap((decision) =>
    decision._tag === "Existing" && decision.holder.decision === undefined ? [decision.holder.id] : []
  )

export const answer =
  (stored: ReadonlyMap<string, TaskRun.Encoded>) =>
  (decision: Decision): Enqueued => {
    if (decision._tag !== "Existing") {
      return { _tag: decision._tag, run: decision.run }
    }
    const { asked, holder } = decision
    return {
      _tag: "Existing",
      // Only a success holds its key after the end: that much is known of a holder whose record has been pruned.
      run: holder.decision?.run ?? stored.get(holder.id) ?? { ...asked, id: holder.id, state: "success" }
    }
  }

import { keyHeldUntil } from "../RunRecord.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import * as Heap from "./heap.js"

/** An idempotency key: who holds it, and until when (`null` without end). */
interface HeldKey {
  readonly run: EncodedRun
  readonly until: number | null
}

/** The name of a run's key: each task has keys of its own. */
export const keyOf = ({ idempotency, task }: EncodedRun): string => `${task}\u0000${idempotency?.key}`

/** The idempotency keys that are held. */
export class Keys {
  private readonly held = new Map<string, HeldKey>()
  private readonly expiring = Heap.make<{ readonly run: EncodedRun; readonly until: number }>(
    (a, b) => a.until < b.until
  )

  /** The run that holds the key of this one, as it was when it took it. */
  holder(run: EncodedRun): EncodedRun | undefined {
    const held = this.held.get(keyOf(run))
    return held === undefined || (held.until !== null && held.until <= run.createdAt) ? undefined : held.run
  }

  take(run: EncodedRun): void {
    this.held.set(keyOf(run), { run, until: null })
  }

  /** Frees the key of an ended run, or notes until when it holds. */
  end(run: EncodedRun): void {
    if (run.idempotency === null || this.held.get(keyOf(run))?.run.id !== run.id) {
      return
    }
    const until = keyHeldUntil(run)
    if (until === 0) {
      this.held.delete(keyOf(run))
    } else if (until !== null) {
      this.held.set(keyOf(run), { run, until })
      this.expiring.push({ run, until })
    }
  }

  /** Forgets keys whose time is over, also those that nobody asks for again. */
  forget(now: number): void {
    for (let first = this.expiring.peek(); first !== undefined && first.until <= now; first = this.expiring.peek()) {
      this.expiring.pop()
      const held = this.held.get(keyOf(first.run))
      if (held?.run.id === first.run.id && held.until === first.until) {
        this.held.delete(keyOf(first.run))
      }
    }
  }
}

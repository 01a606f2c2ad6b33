import type { LockRef, LockRenewal, LockRequest, LockResult } from "../Locking.js"

interface Held {
  readonly owner: string
  readonly fence: number
  readonly until: number
}

/** Locks by their names. A released one is forgotten; the fences of all of them are drawn from one series. */
export class Locks {
  private readonly held = new Map<string, Held>()
  private fence = 0

  acquire({ leaseUntil, name, now, owner }: LockRequest): LockResult {
    const holder = this.held.get(name)
    if (holder !== undefined && holder.until > now && holder.owner !== owner) {
      return { _tag: "Held", until: holder.until }
    }
    // the locks of those who died are forgotten by whoever takes one
    this.held.forEach(({ until }, other) => until <= now && other !== name && this.held.delete(other))
    const fence = holder?.owner === owner ? holder.fence : ++this.fence
    this.held.set(name, { owner, fence, until: leaseUntil })
    return { _tag: "Acquired", fence }
  }

  renew({ locks }: LockRenewal): ReadonlyArray<LockRef> {
    return locks.flatMap(({ fence, leaseUntil, name }) => {
      const holder = this.held.get(name)
      if (holder?.fence !== fence) {
        return [{ name, fence }]
      }
      this.held.set(name, { ...holder, until: leaseUntil })
      return []
    })
  }

  release(locks: ReadonlyArray<LockRef>): void {
    for (const { fence, name } of locks) {
      if (this.held.get(name)?.fence === fence) {
        this.held.delete(name)
      }
    }
  }
}

import { Clock, Duration, Effect, type Scheduler } from "effect"
import type { Draw } from "./random.js"
import { Violation } from "./violation.js"

/** Who a fiber belongs to: one of the simulated processes, or the server. What is dead does nothing any more. */
export interface Owner {
  isDead: boolean
}

interface Sleep {
  readonly at: number
  readonly owner: Owner
  readonly wake: () => void
}

interface Ready {
  readonly owner: Owner
  readonly task: () => void
}

/** A turn of the event loop: the runtime asks for one now and then, in real time. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** So many steps at one moment are no progress. */
const mostSteps = 2_000_000

/** Time and order of a world: the only clock, and the only scheduler, of all its fibers. */
export class Time {
  now = 0
  private ready: Array<Ready> = []
  private readonly sleeps: Array<Sleep> = []
  private readonly shuffling: Draw | null

  /** With `shuffling` fibers that could go on at the same moment do so in an order that is drawn. */
  constructor(shuffling: Draw | null) {
    this.shuffling = shuffling
  }

  scheduler(owner: Owner): Scheduler.Scheduler {
    return { shouldYield: () => false, scheduleTask: (task) => void this.ready.push({ owner, task }) }
  }

  clock(owner: Owner): Clock.Clock {
    return {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => this.now,
      unsafeCurrentTimeNanos: () => BigInt(this.now) * 1_000_000n,
      currentTimeMillis: Effect.sync(() => this.now),
      currentTimeNanos: Effect.sync(() => BigInt(this.now) * 1_000_000n),
      sleep: (duration) => this.sleep(owner, Math.ceil(Duration.toMillis(duration)))
    }
  }

  private sleep(owner: Owner, millis: number): Effect.Effect<void> {
    if (!(millis > 0)) {
      return Effect.yieldNow()
    }
    return Number.isFinite(millis)
      ? Effect.async((resume) => {
          const sleep = { at: this.now + millis, owner, wake: () => resume(Effect.void) }
          this.insert(sleep)
          return Effect.sync(() => this.remove(sleep))
        })
      : Effect.never
  }

  /** Behind all that end at the same moment. */
  private insert(sleep: Sleep): void {
    let low = 0
    let high = this.sleeps.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.sleeps[middle]!.at <= sleep.at) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    this.sleeps.splice(low, 0, sleep)
  }

  private remove(sleep: Sleep): void {
    const at = this.sleeps.indexOf(sleep)
    if (at >= 0) {
      this.sleeps.splice(at, 1)
    }
  }

  /** Something is done at a moment to come, by nobody in particular. */
  at(moment: number, owner: Owner, wake: () => void): void {
    this.insert({ at: moment, owner, wake })
  }

  private work(): void {
    for (let steps = 0; this.ready.length > 0; ) {
      const batch = this.ready
      this.ready = []
      this.shuffling?.shuffle(batch)
      for (const { owner, task } of batch) {
        if (!owner.isDead) {
          task()
        }
      }
      steps += batch.length
      if (steps > mostSteps) {
        throw new Violation("the fibers of the world do not come to rest, though no time passes")
      }
    }
  }

  private async rest(): Promise<void> {
    do {
      this.work()
      await turn()
    } while (this.ready.length > 0)
  }

  /** Lets time pass until then, or until `isOver`, from one moment at which something happens to the next. */
  async passUntil(end: number, isOver: () => boolean = () => false): Promise<void> {
    while (true) {
      await this.rest()
      if (isOver()) {
        return
      }
      const next = this.sleeps[0]
      if (next === undefined || next.at > end) {
        this.now = end
        return
      }
      this.now = next.at
      while (this.sleeps[0] !== undefined && this.sleeps[0].at <= this.now) {
        const { owner, wake } = this.sleeps.shift()!
        if (!owner.isDead) {
          wake()
        }
      }
    }
  }
}

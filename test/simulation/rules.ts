import type { Broker, Limit, Operating, TaskRun } from "@effect-tasks/core"

/*
 * What stands between a run and a claim, written once more, as plainly as can be: no lanes, no turns, no state of a rate.
 */

const controlName = ({ name, of, state }: Operating.Control): string => `${of} ${name} ${state}`

/** The controls in force, and the holds of handlers. */
export class Controls {
  private readonly controls = new Map<string, Operating.Control>()
  private readonly holds = new Map<string, number>()

  change({
    add,
    remove
  }: {
    readonly add: ReadonlyArray<Operating.Control>
    readonly remove: ReadonlyArray<Operating.Control>
  }) {
    remove.forEach((control) => this.controls.delete(controlName(control)))
    add.forEach((control) => this.controls.set(controlName(control), control))
  }

  get all(): ReadonlyArray<Operating.Control> {
    return Array.from(this.controls.values())
  }

  private has(control: Operating.Control): boolean {
    return this.controls.has(controlName(control))
  }

  isDisabled(task: string): boolean {
    return this.has({ of: "task", name: task, state: "disabled" })
  }

  isPaused({ queue, task }: TaskRun.Encoded): boolean {
    return (
      this.has({ of: "queue", name: queue, state: "paused" }) || this.has({ of: "task", name: task, state: "paused" })
    )
  }

  hold({ task }: TaskRun.Encoded, { limitKeys, until }: Broker.Hold): void {
    const name = `${task} ${limitKeys}`
    this.holds.set(name, Math.max(until, this.holds.get(name) ?? 0))
  }

  isHeld({ limitKeys, task }: TaskRun.Encoded, now: number): boolean {
    return [null, limitKeys].some((keys) => (this.holds.get(`${task} ${keys}`) ?? now) > now)
  }
}

const keyOf = (limit: Limit.Encoded, { limitKeys }: TaskRun.Encoded): string | undefined =>
  limit.key === null ? "" : limitKeys === null ? undefined : JSON.parse(limitKeys)[limit.key]

/** The most of these moments, of which each counts, that lie in any stretch which a rate looks at, beyond what it allows. */
const excess = (rate: Limit.EncodedRate, moments: ReadonlyArray<number>): number => {
  const sorted = moments.slice().sort((a, b) => a - b)
  if (rate._tag === "FixedWindow") {
    const counts = new Map<number, number>()
    for (const at of sorted) {
      const window = Math.floor(at / rate.windowMillis)
      counts.set(window, (counts.get(window) ?? 0) + 1)
    }
    return Math.max(0, ...counts.values()) - rate.limit
  }
  return Math.max(
    0,
    ...sorted.flatMap((from, i) =>
      sorted.slice(i).map((to, n) => n + 1 - Math.floor(rate.burst + ((to - from) * rate.limit) / rate.everyMillis))
    )
  )
}

/** The limits of tasks: what is in force, and what has begun. */
export class Limits {
  private readonly begun = new Map<string, Array<number>>()

  /** Notes a claim that counts for the rates of its task; gives the rate that it is too much for, if any. */
  begin({ limits, name }: Broker.ServedTask, run: TaskRun.Encoded, now: number): string | undefined {
    let broken: string | undefined
    limits.forEach((limit, place) => {
      const key = keyOf(limit, run)
      if (limit._tag === "Concurrency" || key === undefined) {
        return
      }
      const moments = this.begun.get(`${name} ${place} ${key}`) ?? []
      moments.push(now)
      this.begun.set(`${name} ${place} ${key}`, moments)
      if (excess(limit, moments) > 0) {
        broken = `${limit._tag} of ${name}, key "${key}"`
      }
    })
    return broken
  }

  /** The limit of how many may be performed at one time that these runs, whose leases hold, are too many for. */
  broken(
    { limits, maxConcurrency, name }: Broker.ServedTask,
    inForce: ReadonlyArray<TaskRun.Encoded>
  ): string | undefined {
    const all: ReadonlyArray<Limit.Encoded> =
      maxConcurrency === null ? limits : [...limits, { _tag: "Concurrency", max: maxConcurrency, key: null }]
    for (const limit of all) {
      const counts = new Map<string, number>()
      for (const run of limit._tag === "Concurrency" ? inForce : []) {
        const key = keyOf(limit, run)
        if (key !== undefined) {
          counts.set(key, (counts.get(key) ?? 0) + 1)
        }
      }
      for (const [key, count] of counts) {
        if (limit._tag === "Concurrency" && count > limit.max) {
          return `${count} claims on ${name}${key === "" ? "" : `, key "${key}"`}, whose limit is ${limit.max}`
        }
      }
    }
    return undefined
  }
}

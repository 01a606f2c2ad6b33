import type { ClaimRequest, Hold } from "../Broker.js"
import type { Control } from "../Operating.js"

const nameOf = ({ name, of, state }: Control): string => `${of}\u0000${state}\u0000${name}`

const heldName = (task: string, limitKeys: string | null): string =>
  limitKeys === null ? task : `${task}\u0000${limitKeys}`

/** What keeps tasks and queues from being claimed: controls of operators, and holds of handlers. */
export class Controls {
  private readonly controls = new Map<string, Control>()
  private readonly holds = new Map<string, number>()

  change({ add, remove }: { readonly add: ReadonlyArray<Control>; readonly remove: ReadonlyArray<Control> }): void {
    remove.forEach((control) => this.controls.delete(nameOf(control)))
    add.forEach((control) => this.controls.set(nameOf(control), control))
  }

  get all(): ReadonlyArray<Control> {
    return Array.from(this.controls.values())
  }

  private has(of: "queue" | "task", state: "paused" | "disabled", name: string): boolean {
    return this.controls.size > 0 && this.controls.has(`${of}\u0000${state}\u0000${name}`)
  }

  /** The queues of the request that may be claimed from. */
  queues({ queues }: ClaimRequest): ReadonlyArray<string> {
    return this.controls.size === 0 ? queues : queues.filter((queue) => !this.has("queue", "paused", queue))
  }

  disabled({ tasks }: ClaimRequest): ReadonlyArray<string> {
    return this.controls.size === 0
      ? none
      : tasks.flatMap(({ name }) => (this.has("task", "disabled", name) ? [name] : []))
  }

  /** Whether no run of the task may be claimed at all. */
  isShut(task: string, now: number): boolean {
    return this.isHeld(task, null, now) || this.has("task", "paused", task)
  }

  /** Whether no run of the task with these keys may be claimed. */
  isHeld(task: string, limitKeys: string | null, now: number): boolean {
    return this.holds.size > 0 && (this.holds.get(heldName(task, limitKeys)) ?? now) > now
  }

  hold(task: string, { limitKeys, until }: Hold): void {
    const name = heldName(task, limitKeys)
    this.holds.set(name, Math.max(until, this.holds.get(name) ?? 0))
  }

  /** When the next hold of one of these tasks ends. What has ended is forgotten. */
  nextEnd({ now, tasks }: ClaimRequest): number {
    let next = Number.POSITIVE_INFINITY
    for (const [name, until] of this.holds) {
      if (until <= now) {
        this.holds.delete(name)
      } else if (tasks.some((task) => name === task.name || name.startsWith(`${task.name}\u0000`))) {
        next = Math.min(next, until)
      }
    }
    return next
  }
}

const none: ReadonlyArray<string> = []

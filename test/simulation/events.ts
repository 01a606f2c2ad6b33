import { type TaskEvent, type TaskRun, TaskState } from "@effect-tasks/core"
import type { Model } from "./model.js"
import { Violation } from "./violation.js"

/** What the processes told of the runs. */
export class Events {
  private readonly byRun = new Map<
    TaskRun.RunId,
    Array<{ readonly who: string; readonly event: TaskEvent.TaskEvent }>
  >()

  add(who: string, event: TaskEvent.TaskEvent): void {
    const told = this.byRun.get(event.run.id)
    if (told === undefined) {
      this.byRun.set(event.run.id, [{ who, event }])
    } else {
      told.push({ who, event })
    }
  }

  /** Every event is a legal step; an end is told once at the most, as it was recorded, and nothing follows it. */
  check(model: Model): void {
    for (const [id, told] of this.byRun) {
      const fail = (what: string): never => {
        throw new Violation(`${model.label(id)}: ${what}`)
      }
      const ends = told.filter(({ event }) => TaskState.isFinal(event.state))
      if (ends.length > 1) {
        fail(`${ends.length} ends were told: ${ends.map(({ event, who }) => `${who} ${event.state}`).join(", ")}`)
      }
      const stored = model.runs.get(id)?.run.state ?? "rejected"
      if (ends[0] !== undefined && stored !== ends[0].event.state) {
        fail(`its end was told as ${ends[0].event.state}, and recorded as ${stored}`)
      }
      for (const { event } of told) {
        const { previous, state } = event
        if (previous === null ? state !== "init" : !TaskState.transitions[previous].includes(state)) {
          fail(`an event told of a step from ${previous} to ${state}`)
        }
      }
      if (ends[0] !== undefined) {
        const own = told.filter(({ who }) => who === ends[0]!.who)
        if (own.at(-1) !== ends[0]) {
          fail("something was told of it after its end")
        }
      }
    }
  }
}

import { Effect } from "effect"
import type { Control, EditResult } from "../Operating.js"
import type { RunFilter } from "../Store.js"
import { type BackendError, type InvalidOption, RunNotFound } from "../TaskError.js"
import { toNumber } from "../TaskPriority.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { Final, isFinal, type TaskState, Unfinished } from "../TaskState.js"
import { isEnvelope } from "./envelope.js"
import type { Parts } from "./managerParts.js"
import type { Cleared, EditOptions, ManyCancelled, Target, TaskManager } from "./managerTag.js"
import * as newRuns from "./newRuns.js"
import type { RunId } from "./run.js"

/*
 * What an operator does: pause, disable, edit, and act on many runs at once. What acts on many goes over them in pages, each
 * of which is one call of the backend, from the newest to the oldest; so what is queued meanwhile is not acted on.
 */

type Operations = Pick<
  typeof TaskManager.Service,
  | "pause"
  | "resume"
  | "disable"
  | "enable"
  | "controls"
  | "count"
  | "edit"
  | "cancelAll"
  | "retryAll"
  | "purge"
  | "clear"
>

export const make = (parts: Parts): Operations => {
  const { broker, store } = parts
  const add = (control: Control) => broker.control({ add: [control], remove: [] })
  const remove = (control: Control) => broker.control({ add: [], remove: [control] })
  const disabled = (task: string): Control => ({ of: "task", name: task, state: "disabled" })
  return {
    pause: (target) => add(paused(target)),
    resume: (target) => remove(paused(target)),
    disable: (task) => add(disabled(task)),
    enable: (task) => remove(disabled(task)),
    controls: broker.controls,
    count: (filter) => store.count(filter),
    edit: (id, options) => edit(parts, id, options),
    cancelAll: (filter, reason) => cancelAll(parts, filter, reason),
    retryAll: (filter) => retryAll(parts, filter),
    purge: (filter) => purge(parts, filter),
    clear: (queue, options) => clear(parts, queue, options?.task)
  }
}

const paused = (target: Target): Control =>
  "queue" in target
    ? { of: "queue", name: target.queue, state: "paused" }
    : { of: "task", name: target.task, state: "paused" }

/** So many runs are acted on with one call. */
const pageSize = 500

/** Does something with each page of the runs that a filter describes, among those in the states that it can be done with. */
const eachPage = <A>(
  { store }: Parts,
  { state, ...filter }: RunFilter,
  states: ReadonlyArray<TaskState>,
  act: (runs: ReadonlyArray<EncodedRun>) => Effect.Effect<A, BackendError>
): Effect.Effect<ReadonlyArray<A>, BackendError> =>
  Effect.gen(function* () {
    const wanted = state === undefined ? states : states.filter((one) => state.includes(one))
    const results: Array<A> = []
    let before: RunId | undefined
    while (wanted.length > 0) {
      const page = yield* store.runs({ ...filter, state: wanted, before, limit: pageSize })
      if (page.length > 0) {
        results.push(yield* act(page))
      }
      if (page.length < pageSize) {
        break
      }
      before = page[page.length - 1]?.id
    }
    return results
  })

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, n) => total + n, 0)

/** Cancels runs, and tells of those that have ended by it. The answers stand in the order of the ids. */
export const cancel = (
  { broker, bus, meter }: Pick<Parts, "broker" | "bus" | "meter">,
  ids: ReadonlyArray<RunId>,
  reason = "no reason was given"
) =>
  Effect.gen(function* () {
    const now = yield* broker.now
    const results = yield* broker.cancel({ ids, reason, now })
    for (const result of results) {
      if (result._tag === "Cancelled") {
        bus.move(result.run, result.previous, now)
        meter.of(result.run.task).ended("cancelled")
      }
    }
    return results
  }).pipe(Effect.uninterruptible)

const cancelAll = (
  parts: Parts,
  filter: RunFilter,
  reason: string | undefined
): Effect.Effect<ManyCancelled, BackendError> =>
  Effect.map(
    eachPage(parts, filter, Unfinished.literals, (runs) =>
      cancel(
        parts,
        runs.map(({ id }) => id),
        reason
      )
    ),
    (pages) => {
      const tags = pages.flat().map(({ _tag }) => _tag)
      return {
        cancelled: tags.filter((tag) => tag === "Cancelled").length,
        requested: tags.filter((tag) => tag === "Requested").length
      }
    }
  )

const unsuccessful = Final.literals.filter((state) => state !== "success")

/** A run whose key is held by another one is not queued again: that one stands for it. */
const retryAll = (parts: Parts, filter: RunFilter): Effect.Effect<number, BackendError> =>
  Effect.map(
    eachPage(parts, filter, filter.state === undefined ? unsuccessful : Final.literals, (runs) =>
      Effect.gen(function* () {
        const now = yield* parts.broker.now
        const ids = parts.ids.at(now, runs.length)
        const again = runs
          .filter(({ payload }) => !isEnvelope(payload))
          .map((run, i): EncodedRun => {
            const next = newRuns.again(run, ids[i]!, now)
            return next.idempotency === null
              ? next
              : { ...next, idempotency: { ...next.idempotency, onConflict: "return" } }
          })
        const results = again.length === 0 ? [] : yield* parts.enqueue(again)
        return results.filter(({ _tag }) => _tag === "Queued").length
      })
    ),
    sum
  )

const purge = (parts: Parts, filter: RunFilter): Effect.Effect<number, BackendError> =>
  Effect.map(
    eachPage(parts, filter, Final.literals, (runs) => parts.store.remove(runs.map(({ id }) => id))),
    sum
  )

const clear = (parts: Parts, queue: string, task: string | undefined): Effect.Effect<Cleared, BackendError> =>
  Effect.map(
    eachPage(parts, { queue, task }, ["queued", "scheduled"], (runs) =>
      Effect.map(
        cancel(
          parts,
          runs.map(({ id }) => id),
          `the queue ${queue} was cleared`
        ),
        (results) => runs.filter((_, i) => results[i]?._tag === "Cancelled").map(({ priority }) => priority)
      )
    ),
    (pages) => {
      const byPriority = new Map<number, number>()
      for (const priority of pages.flat()) {
        byPriority.set(priority, (byPriority.get(priority) ?? 0) + 1)
      }
      return { total: pages.flat().length, byPriority }
    }
  )

const edit = (
  { broker, bus }: Parts,
  id: RunId,
  options: EditOptions
): Effect.Effect<"edited" | "running" | "ended", RunNotFound | InvalidOption | BackendError> =>
  Effect.gen(function* () {
    const invalid = newRuns.invalidTurn(options)
    if (invalid !== undefined) {
      return yield* invalid
    }
    const { at, delay, priority } = options
    const now = yield* broker.now
    const dueAt = delay !== undefined ? now + newRuns.wholeMillis(delay) : at === undefined ? null : Number(at)
    const wish = { ids: [id], priority: priority === undefined ? null : toNumber(priority), dueAt, now }
    const [result] = yield* Effect.tap(broker.edit(wish), ([result]) =>
      Effect.sync(() => {
        if (result?._tag === "Edited" && result.run.state !== result.previous && !isFinal(result.run.state)) {
          bus.move(result.run, result.previous, now)
        }
      })
    ).pipe(Effect.uninterruptible)
    return yield* answered(id, result)
  })

const answered = (
  id: RunId,
  result: EditResult | undefined
): Effect.Effect<"edited" | "running" | "ended", RunNotFound> => {
  switch (result?._tag) {
    case "Edited":
      return Effect.succeed("edited")
    case "Running":
      return Effect.succeed("running")
    case "Ended":
      return Effect.succeed("ended")
    default:
      return new RunNotFound({ runId: id })
  }
}

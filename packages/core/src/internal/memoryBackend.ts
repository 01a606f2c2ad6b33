import { Clock, Duration, Effect, PubSub } from "effect"
import type { Broker, Signal } from "../Broker.js"
import { signalsAfter } from "../RunRecord.js"
import type { Store } from "../Store.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import { Memory } from "./memory.js"
import { Locks } from "./memoryLocks.js"
import type { RunId } from "./run.js"

const ended = (runs: ReadonlyArray<EncodedRun>): ReadonlyArray<RunId> =>
  runs.filter((run) => isFinal(run.state)).map((run) => run.id)

/** A broker and a store that share one memory. `keepEnded`: so many ended runs stay in the history. */
export const make = Effect.fnUntraced(function* (options: { readonly keepEnded: number }) {
  const memory = new Memory(options.keepEnded)
  const locks = new Locks()
  const signals = yield* Effect.acquireRelease(PubSub.unbounded<Signal>(), PubSub.shutdown)
  const signal = (signal: Signal) => signals.unsafeOffer(signal)
  const signalEnded = (ids: ReadonlyArray<RunId>) => ids.length > 0 && signal({ _tag: "Ended", ids })

  const broker: typeof Broker.Service = {
    name: "memory",
    pollInterval: Duration.infinity,
    isRemote: false,
    now: Clock.currentTimeMillis,
    enqueue: (runs, options) =>
      Effect.suspend(() => {
        const results = memory.enqueue(runs, options?.maxQueued ?? null)
        signal({ _tag: "Work" })
        return results
      }),
    exchange: ({ claim, settlements }) =>
      Effect.sync(() => {
        const settled = settlements.map((settlement) => memory.settle(settlement))
        signalsAfter(settlements, settled, (run) => memory.letsBegin(run)).forEach(signal)
        return { settled, claimed: claim === null ? null : memory.claim(claim) }
      }),
    extend: (extension) => Effect.sync(() => memory.extend(extension)),
    cancel: ({ ids, now, reason }) =>
      Effect.sync(() => {
        const results = ids.map((id) => memory.cancel(id, reason, now))
        results.forEach((result, i) => result._tag === "Requested" && signal({ _tag: "Cancel", id: ids[i]!, reason }))
        signalEnded(ids.filter((_, i) => results[i]!._tag === "Cancelled"))
        return results
      }),
    edit: (edit) =>
      Effect.sync(() => {
        const results = edit.ids.map((id) => memory.edit(id, edit))
        signal({ _tag: "Work" })
        return results
      }),
    control: (changes) =>
      Effect.sync(() => {
        memory.controls.change(changes)
        signal({ _tag: "Work" })
      }),
    controls: Effect.sync(() => memory.controls.all),
    fire: (changes) =>
      Effect.sync(() => {
        const written = memory.changeSchedules(changes)
        if (changes.some(({ runs }, i) => written[i] && runs.length > 0)) {
          signal({ _tag: "Work" })
        }
        return written
      }),
    putSchedules: (changes) =>
      Effect.sync(() => {
        const written = memory.changeSchedules(changes)
        signal({ _tag: "Schedules" })
        signal({ _tag: "Work" })
        return written
      }),
    removeSchedules: (names) =>
      Effect.sync(() => {
        const removed = names.filter((name) => memory.schedules.delete(name)).length
        signal({ _tag: "Schedules" })
        return removed
      }),
    acquireLock: (request) => Effect.sync(() => locks.acquire(request)),
    renewLocks: (renewal) => Effect.sync(() => locks.renew(renewal)),
    releaseLocks: (refs) =>
      Effect.sync(() => {
        locks.release(refs)
        signal({ _tag: "Unlocked", names: refs.map(({ name }) => name) })
      }),
    atTransactionEnd: ({ committed }) => Effect.sync(committed),
    signals: PubSub.subscribe(signals)
  }

  const store: typeof Store.Service = {
    record: (records) =>
      Effect.sync(() => {
        for (const { logs, run } of records) {
          memory.remember(run)
          memory.history.appendLogs(logs)
        }
        signalEnded(ended(records.map(({ run }) => run)))
      }),
    get: (ids) => Effect.sync(() => ids.map((id) => memory.get(id))),
    runs: (query) => Effect.sync(() => memory.runs(query)),
    count: (filter) => Effect.sync(() => memory.count(filter)),
    remove: (ids) => Effect.sync(() => ids.filter((id) => memory.history.remove(id)).length),
    counts: (query) => Effect.sync(() => memory.counts(query)),
    queues: Effect.sync(() => memory.queues()),
    appendLogs: (lines) => Effect.sync(() => memory.history.appendLogs(lines)),
    logs: (id, { fromSeq, limit }) =>
      Effect.sync(() =>
        memory.history
          .linesOf(id)
          .filter((line) => line.seq >= fromSeq)
          .slice(0, limit)
      ),
    putConsumers: (consumers) =>
      Effect.sync(() => consumers.forEach((consumer) => memory.consumers.set(consumer.id, consumer))),
    removeConsumers: (ids) => Effect.sync(() => ids.forEach((id) => memory.consumers.delete(id))),
    consumers: Effect.sync(() => Array.from(memory.consumers.values())),
    schedules: Effect.sync(() => Array.from(memory.schedules.values()).sort((a, b) => (a.name < b.name ? -1 : 1)))
  }

  return { broker, store }
})

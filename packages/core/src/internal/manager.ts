import { Duration, Effect, Option, Stream } from "effect"
import { type BackendError, RunNotFinished, RunNotFound, RunUndecryptable, WaitTimeout } from "../TaskError.js"
import { TaskEvent } from "../TaskEvent.js"
import type { Cancellation, Encoded as EncodedRun, Handle } from "../TaskRun.js"
import { all as allStates, isFinal, type TaskState } from "../TaskState.js"
import * as accepting from "./accepting.js"
import * as codec from "./codec.js"
import { type Created, CreatedRun } from "./creating.js"
import type { Definition } from "./definition.js"
import { isEnvelope, keyIdOf } from "./envelope.js"
import { withoutMarkers } from "./feed.js"
import * as following from "./following.js"
import * as inline from "./inline.js"
import * as locks from "./locks.js"
import type { Parts } from "./managerParts.js"
import type { TaskManager } from "./managerTag.js"
import * as newRuns from "./newRuns.js"
import * as operating from "./operating.js"
import * as outcome from "./outcome.js"
import type { RunId } from "./run.js"
import * as runtimeQueue from "./runtimeQueue.js"
import * as tracing from "./tracing.js"

/** The manager over its parts: one function per operation, below in the order of the service. */
export const make = (options: Omit<Parts, "enqueue">): typeof TaskManager.Service => {
  const parts: Parts = {
    ...options,
    // no conflict refuses runs that do not ask for it
    enqueue: (runs) => Effect.catchTag(accepting.enqueueUnlimited(parts, runs), "IdempotencyConflict", Effect.die)
  }
  return service(parts)
}

const service = (parts: Parts): typeof TaskManager.Service => ({
  queue: (task, payloads, options = {}) =>
    tracing
      .queueing(task.name, options.queue ?? task.queueName, (note) =>
        parts.broker.now.pipe(
          Effect.flatMap((now) => newRuns.make(parts, task, payloads, options, now)),
          Effect.flatMap((runs) => {
            note(runs.map(({ id }) => id))
            return accepting.enqueue(parts, runs, options.maxQueued ?? task.maxQueued)
          })
        )
      )
      .pipe(
        Effect.map((results) => results.map(({ _tag, run }) => new RunHandle(parts, task, run.id, _tag !== "Queued")))
      ),
  createRun: (task, payload, options = {}) =>
    parts.broker.now.pipe(
      Effect.flatMap((now) => newRuns.make(parts, task, [payload], options, now)),
      Effect.map(([run]) => created(parts)(task, run!, options.maxQueued ?? task.maxQueued))
    ),
  queueRun: (run) => run.queue,
  acquireLock: (name, options) =>
    parts.locks.acquire(locks.nameOf(name), options, (_, fiber) => fiber.unsafeInterruptAsFork(fiber.id())),
  withLock: (name, options, use) => parts.locks.use(locks.nameOf(name), options, use),
  runtimeQueue: (options = {}) => runtimeQueue.make(parts, created(parts), options),
  execute: (task, entry, payload, options = {}) =>
    Effect.gen(function* () {
      const now = yield* parts.broker.now
      const { tags } = options
      const [run] = yield* newRuns.make(parts, task, [payload], { tags }, now)
      const definition = options.retry === false ? { ...entry.definition, retry: undefined } : entry.definition
      return yield* inline.perform({
        ...parts,
        task,
        entry: { ...entry, definition },
        run: { ...run!, state: "init" }
      })
    }),
  handle: (task, id) => new RunHandle(parts, task, id, false),
  get: (id) => Effect.map(getOne(parts, id), codec.toTaskRun),
  runs: ({ limit: wished = 50, ...query } = {}) => {
    const limit = Math.min(Math.max(1, wished), maxPage)
    return Effect.map(parts.store.runs({ ...query, limit }), (runs) => ({
      items: runs.map(codec.toTaskRun),
      next: runs.length < limit ? null : (runs[runs.length - 1]?.id ?? null)
    }))
  },
  counts: (query = {}) => Effect.map(parts.store.counts(query), withZeros),
  logs: (id, { fromSeq = 0, limit = 1_000 } = {}) => parts.store.logs(id, { fromSeq, limit }),
  cancel: (id, reason) => cancel(parts, id, reason),
  retry: (id) => retry(parts, id),
  ...operating.make(parts)
})

const created =
  (parts: Parts): Created =>
  (task, run, maxQueued) =>
    new CreatedRun(parts, task, run, maxQueued, (id, existing) => new RunHandle(parts, task, id, existing))

const maxPage = 1_000

const withZeros = (counts: { readonly [State in TaskState]?: number | undefined }) =>
  Object.fromEntries(allStates.map((state) => [state, counts[state] ?? 0])) as { readonly [State in TaskState]: number }

const getOne = ({ store }: Parts, id: RunId): Effect.Effect<EncodedRun, RunNotFound | BackendError> =>
  Effect.flatMap(store.get([id]), ([run]) =>
    run === undefined || Option.isNone(run) ? new RunNotFound({ runId: id }) : Effect.succeed(run.value)
  )

const cancel = (
  parts: Parts,
  id: RunId,
  reason: string | undefined
): Effect.Effect<Cancellation, RunNotFound | BackendError> =>
  Effect.flatMap(operating.cancel(parts, [id], reason), ([result]) => {
    switch (result?._tag) {
      case "Cancelled":
        return Effect.succeed<Cancellation>("cancelled")
      case "Requested":
        return Effect.succeed<Cancellation>("requested")
      case "Ended":
        return Effect.succeed<Cancellation>("ended")
      default:
        return new RunNotFound({ runId: id })
    }
  })

const retry = (parts: Parts, id: RunId) =>
  Effect.gen(function* () {
    const old = yield* getOne(parts, id)
    if (!isFinal(old.state)) {
      return yield* new RunNotFinished({ runId: id, state: old.state })
    }
    if (isEnvelope(old.payload)) {
      return yield* new RunUndecryptable({ runId: id, task: old.task, part: "payload", keyId: keyIdOf(old.payload) })
    }
    const now = yield* parts.broker.now
    const [newId] = parts.ids.at(now, 1)
    const run = newRuns.again(old, newId!, now)
    const [result] = yield* tracing.queueing(run.task, run.queue, (note) => {
      note([newId!])
      return Effect.flatMap(Effect.context<never>(), (context) =>
        accepting.enqueueUnlimited(parts, [{ ...run, traceparent: newRuns.traceparentOf(context) ?? run.traceparent }])
      )
    })
    return result!.run.id
  })

/** A handle. Most are looked at for their id at the most, so what they can do is made when it is used. */
class RunHandle<D extends Definition> implements Handle<D> {
  readonly id: RunId
  readonly task: D
  readonly existing: boolean
  readonly #parts: Parts

  constructor(parts: Parts, task: D, id: RunId, existing: boolean) {
    this.#parts = parts
    this.task = task
    this.id = id
    this.existing = existing
  }

  get await(): Handle<D>["await"] {
    return Effect.flatMap(this.#parts.waiters.awaitEnd(this.id), (run) => outcome.toEffect(this.task, run))
  }

  get awaitFor(): Handle<D>["awaitFor"] {
    return (timeout) =>
      Effect.timeoutFail(this.await, {
        duration: timeout,
        onTimeout: () => new WaitTimeout({ runId: this.id, waitedMillis: Duration.toMillis(timeout) })
      })
  }

  get poll(): Handle<D>["poll"] {
    return Effect.map(getOne(this.#parts, this.id), codec.toTaskRun)
  }

  get cancel(): Handle<D>["cancel"] {
    return (reason) => cancel(this.#parts, this.id, reason)
  }

  get events(): Handle<D>["events"] {
    return eventsOf(this.#parts, this.id)
  }

  get logs(): Handle<D>["logs"] {
    return following.logs(this.#parts, this.id)
  }

  get progress(): Handle<D>["progress"] {
    return following.progress(this.#parts, this.id, codec.toProgress)
  }
}

/**
 * The events of one run that happen in this process, up to its end; when the run ends in another process, its end is the
 * last event all the same. A run that is not there has none.
 */
const eventsOf = ({ bus, waiters }: Parts, id: RunId): Stream.Stream<TaskEvent> =>
  Stream.unwrapScoped(
    Effect.map(bus.subscribe({ runId: id }, eventsBuffer), (feed) => {
      const end = Stream.fromEffect(Effect.option(Effect.map(waiters.awaitEnd(id), endOf)))
      return Stream.map(withoutMarkers(feed.stream), Option.some).pipe(
        Stream.merge(end),
        Stream.takeWhile(Option.isSome),
        Stream.map((event) => event.value),
        Stream.takeUntil((event) => isFinal(event.state))
      )
    })
  )

const endOf = (run: EncodedRun): TaskEvent =>
  new TaskEvent(
    { state: run.state, previous: null, at: run.endedAt ?? 0, run: codec.toTaskRun(run) },
    { disableValidation: true }
  )

const eventsBuffer = 1_024

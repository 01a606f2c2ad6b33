import { Effect, Option } from "effect"
import type { BackendError, IdempotencyConflict, QueueFull } from "../TaskError.js"
import type { Encoded as EncodedRun, Handle, NewRun } from "../TaskRun.js"
import * as accepting from "./accepting.js"
import * as codec from "./codec.js"
import type { Definition } from "./definition.js"
import type { Parts } from "./managerParts.js"
import * as newRuns from "./newRuns.js"
import type { RunId, TaskRun } from "./run.js"
import * as tracing from "./tracing.js"

/*
 * Runs that are made now, and handed to the broker later, or never.
 */

/** Makes a run that can be handed over of its stored form. */
export type Created = <D extends Definition>(task: D, run: EncodedRun, maxQueued: number | undefined) => NewRun<D>

type QueueError = IdempotencyConflict | QueueFull | BackendError

/** A run in the state `init`. It is handed over once, however often that is asked for, and by however many fibers. */
export class CreatedRun<D extends Definition> implements NewRun<D> {
  readonly id: RunId
  readonly task: D
  readonly #parts: Parts
  readonly #run: EncodedRun
  readonly #maxQueued: number | undefined
  readonly #toHandle: (id: RunId, existing: boolean) => Handle<D>
  readonly #turn = Effect.unsafeMakeSemaphore(1)
  #handle: Handle<D> | undefined
  /** Whether a call has ended without an answer: then the run may be there. */
  #isUncertain = false

  constructor(
    parts: Parts,
    task: D,
    run: EncodedRun,
    maxQueued: number | undefined,
    toHandle: (id: RunId, existing: boolean) => Handle<D>
  ) {
    this.id = run.id
    this.task = task
    this.#parts = parts
    this.#run = run
    this.#maxQueued = maxQueued
    this.#toHandle = toHandle
  }

  get record(): TaskRun {
    return codec.toTaskRun({ ...this.#run, state: "init" })
  }

  get queue(): Effect.Effect<Handle<D>, QueueError> {
    return this.#turn.withPermits(1)(
      Effect.suspend(() => (this.#handle === undefined ? this.#handOver() : Effect.succeed(this.#handle)))
    )
  }

  #handOver(): Effect.Effect<Handle<D>, QueueError> {
    return Effect.flatMap(this.#find(), (found) =>
      found ? Effect.succeed(this.#accepted(this.id, false)) : this.#inItsTrace(this.#enqueue())
    )
  }

  /** Whether an earlier call, of which nobody knows how it ended, has brought the run there. */
  #find(): Effect.Effect<boolean, BackendError> {
    return this.#isUncertain
      ? Effect.map(this.#parts.store.get([this.id]), ([run]) => run !== undefined && Option.isSome(run))
      : Effect.succeed(false)
  }

  #enqueue(): Effect.Effect<Handle<D>, QueueError> {
    const { broker } = this.#parts
    return tracing.queueing(this.#run.task, this.#run.queue, (note) => {
      note([this.id])
      return Effect.gen(this, function* () {
        const now = yield* broker.now
        const traceparent = newRuns.traceparentOf(yield* Effect.context<never>())
        const run: EncodedRun = {
          ...this.#run,
          state: this.#run.dueAt > now ? "scheduled" : "queued",
          traceparent: traceparent ?? this.#run.traceparent
        }
        this.#isUncertain = true
        const refused = Effect.sync(() => {
          this.#isUncertain = false
        })
        const [result] = yield* accepting
          .enqueue(this.#parts, [run], this.#maxQueued)
          .pipe(Effect.tapError((error) => (error._tag === "BackendError" ? Effect.void : refused)))
        const handle = this.#accepted(result!.run.id, result!._tag !== "Queued")
        const forget = () => {
          this.#handle = undefined
        }
        yield* broker.atTransactionEnd({ committed: () => {}, rolledBack: forget })
        return handle
      })
    })
  }

  #accepted(id: RunId, existing: boolean): Handle<D> {
    this.#isUncertain = false
    this.#handle = this.#toHandle(id, existing)
    return this.#handle
  }

  /** Whoever hands the run over in a span has it in that trace; otherwise it belongs to the one in which it was made. */
  #inItsTrace<A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> {
    const made = tracing.spanOf(this.#run.traceparent)
    return made === undefined
      ? self
      : Effect.flatMap(Effect.context<never>(), (context) =>
          newRuns.traceparentOf(context) === null ? Effect.withParentSpan(self, made) : self
        )
  }
}

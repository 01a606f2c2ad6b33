import { Cause, type Clock, Context, Duration, Effect, Either, Fiber, Option, type Scope } from "effect"
import { BackendError, InvalidOption } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Created } from "./creating.js"
import type { Definition } from "./definition.js"
import type { Parts } from "./managerParts.js"
import type { QueueError, QueueOptions, RuntimeQueue, RuntimeQueueFailure, RuntimeQueueOptions } from "./managerTag.js"
import * as newRuns from "./newRuns.js"
import * as outage from "./outage.js"

/*
 * Queueing from code that is no Effect: what is offered waits in a bounded buffer, and one fiber hands it to the broker, many
 * runs at a time.
 */

/** What was offered, and when. */
interface Item {
  readonly task: Definition
  readonly payload: unknown
  readonly options: QueueOptions
  readonly at: number
}

/** An item whose payload is checked, and the run that was made of it. */
interface Made {
  readonly item: Item
  readonly run: EncodedRun
}

/** So many runs at the most go with one call. */
const mostAtOnce = 1_000

const defaultCapacity = 10_000

class Buffer {
  private waiting: Array<Item> = []
  /** What was taken, and is neither queued nor given up yet. */
  private readonly underWay = new Set<Item>()
  private isClosed = false
  private lastError: BackendError | undefined
  readonly filled = Effect.unsafeMakeLatch(false)
  readonly idle = Effect.unsafeMakeLatch(true)
  private readonly parts: Parts
  private readonly created: Created
  private readonly clock: Clock.Clock
  private readonly capacity: number
  private readonly onError: RuntimeQueueOptions["onError"]

  constructor(
    parts: Parts,
    created: Created,
    clock: Clock.Clock,
    { capacity, onError }: { readonly capacity: number } & Pick<RuntimeQueueOptions, "onError">
  ) {
    this.parts = parts
    this.created = created
    this.clock = clock
    this.capacity = capacity
    this.onError = onError
  }

  get pending(): number {
    return this.waiting.length + this.underWay.size
  }

  offer(task: Definition, payload: unknown, options: QueueOptions): "accepted" | "full" | "closed" {
    if (this.isClosed) {
      return "closed"
    }
    if (this.pending >= this.capacity) {
      return "full"
    }
    this.waiting.push({ task, payload, options, at: this.clock.unsafeCurrentTimeMillis() })
    this.idle.unsafeClose()
    this.filled.unsafeOpen()
    return "accepted"
  }

  close(): void {
    this.isClosed = true
  }

  /** Hands over what is there, once there is something. */
  get handOver(): Effect.Effect<void> {
    return Effect.zipRight(
      this.filled.await,
      Effect.suspend(() => this.sendAll(this.take()))
    )
  }

  private take(): ReadonlyArray<Item> {
    const taken = this.waiting.splice(0, mostAtOnce)
    taken.forEach((item) => this.underWay.add(item))
    if (this.waiting.length === 0) {
      this.filled.unsafeClose()
    }
    return taken
  }

  private settled(item: Item): void {
    this.underWay.delete(item)
    if (this.pending === 0) {
      this.idle.unsafeOpen()
    }
  }

  private sendAll(items: ReadonlyArray<Item>): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      const now = yield* this.parts.broker.now
      const read = this.clock.unsafeCurrentTimeMillis()
      const results = yield* Effect.forEach(items, (item) => this.make(item, now - (read - item.at)))
      const made = results.flatMap(Option.toArray)
      const [plain, special] = [made.filter(isPlain), made.filter((one) => !isPlain(one))]
      yield* this.sendTogether(plain, false, 1)
      yield* Effect.forEach(special, (one) => this.sendAlone(one), { concurrency: 16, discard: true })
    })
  }

  private make(item: Item, at: number): Effect.Effect<Option.Option<Made>> {
    const { options, payload, task } = item
    return Effect.matchCauseEffect(newRuns.make(this.parts, task, [payload], options, at), {
      onSuccess: ([run]) => Effect.succeed(Option.some({ item, run: run! })),
      onFailure: (cause) => Effect.as(this.failed(item, cause), Option.none())
    })
  }

  /** One call for all, tried again while the backend is away. After a call without an answer some of it may be there. */
  private sendTogether(all: ReadonlyArray<Made>, isUncertain: boolean, attempt: number): Effect.Effect<void> {
    if (all.length === 0) {
      return Effect.void
    }
    const send = Effect.gen(this, function* () {
      const left = isUncertain ? yield* this.missing(all) : all
      if (left.length > 0) {
        yield* this.parts.enqueue(left.map(({ run }) => run))
      }
    })
    return Effect.matchCauseEffect(send, {
      onSuccess: () => Effect.sync(() => all.forEach(({ item }) => this.settled(item))),
      onFailure: (cause) => {
        const error = Cause.failureOption(cause)
        if (Option.isSome(error) && error.value.transient) {
          this.lastError = error.value
          return Effect.zipRight(
            Effect.flatMap(outage.delay(attempt), Effect.sleep),
            Effect.suspend(() => this.sendTogether(all, true, attempt + 1))
          )
        }
        return all.length === 1
          ? this.failed(all[0]!.item, cause)
          : Effect.forEach(all, (one) => this.sendTogether([one], true, 1), { discard: true })
      }
    })
  }

  private missing(all: ReadonlyArray<Made>): Effect.Effect<ReadonlyArray<Made>, BackendError> {
    return Effect.map(this.parts.store.get(all.map(({ run }) => run.id)), (found) =>
      all.filter((_, i) => Option.isNone(found[i] ?? Option.none()))
    )
  }

  /** A run that may be refused for itself. */
  private sendAlone({ item, run }: Made): Effect.Effect<void> {
    const noted = Effect.tapError(this.created(item.task, run, maxQueuedOf(item)).queue, (error) =>
      Effect.sync(() => {
        this.lastError = error._tag === "BackendError" ? error : this.lastError
      })
    )
    return Effect.matchCauseEffect(outage.survive(noted), {
      onSuccess: () => Effect.sync(() => this.settled(item)),
      onFailure: (cause) => this.failed(item, cause)
    })
  }

  private failed(item: Item, cause: Cause.Cause<QueueError>): Effect.Effect<void> {
    if (Cause.isInterruptedOnly(cause)) {
      return Effect.interrupt
    }
    return Effect.zipRight(
      this.report(
        item,
        Either.match(Cause.failureOrCause(cause), {
          onLeft: (error) => error,
          onRight: (defect) => this.died(Cause.squash(defect))
        })
      ),
      Effect.sync(() => this.settled(item))
    )
  }

  private died(cause: unknown): BackendError {
    return new BackendError({ backend: this.parts.broker.name, operation: "enqueue", transient: false, cause })
  }

  private report({ options, payload, task }: Item, error: QueueError): Effect.Effect<void> {
    const failure: RuntimeQueueFailure = { task, payload, options, error }
    const { onError } = this
    const log = Effect.logWarning("a run could not be queued", Cause.fail(error))
    const told = onError === undefined ? log : Effect.try(() => onError(failure))
    return Effect.annotateLogs(
      Effect.catchAllCause(told, (cause) =>
        Effect.zipRight(log, Effect.logWarning("onError of a runtime queue failed", cause))
      ),
      { task: task.name }
    )
  }

  /** Gives up what is left. */
  get abandon(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = [...this.underWay, ...this.waiting]
      this.waiting = []
      const error =
        this.lastError ?? this.died(new Error("the runtime queue was closed before the backend had answered"))
      return Effect.forEach(
        left,
        (item) =>
          Effect.zipRight(
            this.report(item, error),
            Effect.sync(() => this.settled(item))
          ),
        { discard: true }
      )
    })
  }
}

const maxQueuedOf = ({ options, task }: Item): number | undefined => options.maxQueued ?? task.maxQueued

/** Whether nothing but an outage can keep a run from being queued; what can be refused goes by itself. */
const isPlain = ({ item, run }: Made): boolean =>
  maxQueuedOf(item) === undefined && run.idempotency?.onConflict !== "reject"

/** Makes a queue that lives as long as the scope, and in the end hands over all that it has accepted. */
export const make = (
  parts: Parts,
  created: Created,
  options: RuntimeQueueOptions
): Effect.Effect<RuntimeQueue, InvalidOption, Scope.Scope> =>
  Effect.gen(function* () {
    const { capacity = defaultCapacity, closeTimeout = Duration.seconds(30), onError } = options
    if (!(Number.isSafeInteger(capacity) && capacity >= 1)) {
      return yield* new InvalidOption({ option: "capacity", value: capacity, expected: "an integer, 1 or more" })
    }
    const buffer = new Buffer(parts, created, yield* Effect.clock, { capacity, onError })
    // neither the transaction nor the run nor the span of whoever makes the queue
    const worker = Effect.mapInputContext(Effect.forever(buffer.handOver), (_: Context.Context<never>) =>
      Context.empty()
    )
    const start = Effect.forkDaemon(Effect.interruptible(worker))
    yield* Effect.acquireRelease(start, (fiber) =>
      Effect.sync(() => buffer.close()).pipe(
        Effect.zipRight(Effect.timeoutOption(Effect.interruptible(buffer.idle.await), closeTimeout)),
        Effect.zipRight(Fiber.interrupt(fiber)),
        Effect.zipRight(buffer.abandon)
      )
    )
    return Object.assign(
      (task: Definition, payload: unknown, options: QueueOptions = {}) => buffer.offer(task, payload, options),
      { pending: () => buffer.pending, flush: buffer.idle.await }
    ) as RuntimeQueue
  })

import {
  Cause,
  Chunk,
  Clock,
  type Context,
  Data,
  type Duration,
  Effect,
  type Exit,
  Fiber,
  Option,
  Schedule,
  type Scope
} from "effect"
import { PullDied } from "../SubscriptionError.js"
import { Idle } from "./idle.js"
import { failureOf, type OpenPull, open, type Pull, type PullFailure } from "./subscriptionPull.js"
import * as tracing from "./tracing.js"

/*
 * One subscription at work: a loop that reads its pull, and a fiber for each message in flight.
 */

/** Documented in `Subscription`. */
export interface Message<out A> {
  readonly id: string
  readonly body: A
  readonly attributes?: { readonly [name: string]: string } | undefined
  readonly deliveries?: number | undefined
  readonly ack: Effect.Effect<unknown, unknown>
  readonly nack: Effect.Effect<unknown, unknown>
  readonly release?: Effect.Effect<unknown, unknown> | undefined
}

/** What a handler decided about its message; travels as a defect, as those of runs do. */
export class Verdict extends Data.TaggedClass("@effect-tasks/core/Subscription/Verdict")<{
  readonly decision: "drop" | "retry"
  readonly reason: string
}> {}

/** Documented in `Subscription`. */
export interface Status {
  readonly name: string
  readonly state: "registered" | "pulling" | "restarting" | "ended"
  readonly alive: boolean
  readonly ready: boolean
  readonly inFlight: number
  readonly received: number
  readonly acked: number
  readonly nacked: number
  readonly unsettled: number
  readonly restarts: number
  readonly lastError: { readonly message: string; readonly at: number } | null
}

/** Documented in `Subscription`. */
export interface StoppedMessage {
  readonly subscription: string
  readonly messageId: string | null
}

/** How one subscription has stopped. */
export interface Stopped {
  readonly interrupted: ReadonlyArray<StoppedMessage>
  readonly overran: ReadonlyArray<StoppedMessage>
}

/** The options, checked. Documented in `Subscription`. */
export interface Settings<A, E, R> {
  readonly name: string
  readonly pull: Pull<Message<A>, E, R>
  readonly handle: (body: A, message: Message<A>) => Effect.Effect<unknown, unknown, R | Scope.Scope>
  readonly maxMessages: number
  readonly ackTimeout: Duration.Duration
  readonly restart: Schedule.Schedule<unknown, PullFailure<E>>
  readonly isFatal: (failure: PullFailure<E>) => boolean
}

/** What a fleet does with a subscription, whatever its messages are. */
export interface Runner {
  readonly name: string
  readonly status: Status
  /** Opens the pull and begins to read it. */
  readonly start: Effect.Effect<void, unknown>
  /** Reads no further, lets messages finish for so long, and interrupts those left. */
  readonly stop: (grace: Duration.Duration, cleanup: Duration.Duration) => Effect.Effect<Stopped>
}

/** A pull, from its opening until nobody needs it any more. */
interface Reading<A, E> {
  readonly pull: OpenPull<Message<A>, E>
  readonly openedAt: number
  inFlight: number
  hasGiven: boolean
  isOver: boolean
}

interface InFlight<A> {
  readonly message: Message<A>
  fiber: Fiber.RuntimeFiber<unknown> | null
  stage: "handling" | "settling"
  isInterrupted: boolean
}

type Driver<E> = Schedule.ScheduleDriver<unknown, PullFailure<E>>
type Settlement = "ack" | "nack" | "release"

/** A pull that has worked for so long has recovered, though it gave no message. */
const recoveredAfter = 60_000

export class Running<A, E, R> implements Runner {
  readonly name: string
  private readonly settings: Settings<A, E, R>
  private readonly context: Context.Context<R>
  private readonly idle = new Idle()
  private readonly inFlights = new Set<InFlight<A>>()
  private readonly readings = new Set<Reading<A, E>>()
  /** Open while another message may be handled. */
  private readonly hasPlace = Effect.unsafeMakeLatch(true)
  /** Messages that were read, and wait for a place. */
  private read: ReadonlyArray<Message<A>> = []
  private handling = 0
  private life: Fiber.RuntimeFiber<void> | null = null
  private state: Status["state"] = "registered"
  private isStopping = false
  private received = 0
  private acked = 0
  private nacked = 0
  private unsettled = 0
  private restarts = 0
  private lastError: Status["lastError"] = null

  constructor(settings: Settings<A, E, R>, context: Context.Context<R>) {
    this.name = settings.name
    this.settings = settings
    this.context = context
  }

  get status(): Status {
    const { acked, lastError, nacked, name, received, restarts, state, unsettled } = this
    const ready = state === "pulling"
    const inFlight = this.inFlights.size
    const alive = ready || state === "restarting"
    return { name, state, alive, ready, inFlight, received, acked, nacked, unsettled, restarts, lastError }
  }

  get start(): Effect.Effect<void, E> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(this.open), (reading) => {
        this.isStopping = false
        this.state = "pulling"
        const life = Effect.catchAllCause(Effect.interruptible(this.live(reading)), (cause) => this.ended(cause))
        return Effect.map(Effect.forkDaemon(life), (fiber) => {
          this.life = fiber
        })
      })
    )
  }

  stop(grace: Duration.Duration, cleanup: Duration.Duration): Effect.Effect<Stopped> {
    return Effect.gen(this, function* () {
      const { life } = this
      const bounded = (self: Effect.Effect<unknown>) => Effect.timeoutOption(Effect.disconnect(self), cleanup)
      const asStopped = (messageId: string | null): StoppedMessage => ({ subscription: this.name, messageId })
      this.isStopping = true
      const isRead = life === null ? Option.some(undefined) : yield* bounded(Fiber.interrupt(life))
      this.state = "registered"
      yield* this.giveBack
      yield* Effect.timeoutOption(this.quiet, grace)
      const interrupted = Array.from(this.inFlights).filter(({ stage }) => stage === "handling")
      for (const inFlight of interrupted) {
        inFlight.isInterrupted = true
        yield* inFlight.fiber === null ? Effect.void : Fiber.interruptFork(inFlight.fiber)
      }
      yield* Effect.timeoutOption(this.quiet, cleanup)
      const left = new Set(this.inFlights)
      const closed = yield* bounded(
        Effect.forEach(this.readings, ({ pull }) => pull.close, { concurrency: "unbounded", discard: true })
      )
      this.readings.clear()
      return {
        interrupted: interrupted.filter((one) => !left.has(one)).map(({ message }) => asStopped(message.id)),
        overran: [
          ...Array.from(left, ({ message }) => asStopped(message.id)),
          ...(Option.isNone(isRead) || Option.isNone(closed) ? [asStopped(null)] : [])
        ]
      }
    }).pipe(Effect.interruptible)
  }

  private get quiet(): Effect.Effect<void> {
    return this.idle.until(() => this.inFlights.size === 0)
  }

  private get open(): Effect.Effect<Reading<A, E>, E> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.zipWith(restore(open(this.settings.pull, this.context)), Clock.currentTimeMillis, (pull, openedAt) => {
        const reading = { pull, openedAt, inFlight: 0, hasGiven: false, isOver: false }
        this.readings.add(reading)
        return reading
      })
    )
  }

  /** Reads one pull after the other, until one fails for good or the schedule of restarts is done. */
  private live(first: Reading<A, E>): Effect.Effect<void> {
    return Effect.flatMap(Schedule.driver(this.settings.restart), (driver) => this.readOn(driver, first))
  }

  private readOn(driver: Driver<E>, reading: Reading<A, E>): Effect.Effect<void> {
    return Effect.flip(Effect.sandbox(this.readAll(reading))).pipe(
      Effect.zipLeft(Effect.zipRight(this.forgive(driver, reading), this.retire(reading))),
      Effect.flatMap((cause) => this.reopen(driver, failureOf(this.name, cause)))
    )
  }

  private reopen(driver: Driver<E>, failure: PullFailure<E>): Effect.Effect<void> {
    return Effect.flatMap(this.mayRestart(driver, failure), (mayRestart) =>
      mayRestart
        ? Effect.matchCauseEffect(this.open, {
            onFailure: (cause) => this.reopen(driver, failureOf(this.name, Cause.map(cause, Option.some))),
            onSuccess: (reading) => {
              this.restarts++
              this.state = "pulling"
              return this.readOn(driver, reading)
            }
          })
        : Effect.void
    )
  }

  /** A pull that has worked starts the schedule anew. */
  private forgive(driver: Driver<E>, reading: Reading<A, E>): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      reading.hasGiven || now - reading.openedAt >= recoveredAfter ? driver.reset : Effect.void
    )
  }

  /** Tells of the failure, and waits until the pull may be opened again. */
  private mayRestart(driver: Driver<E>, failure: PullFailure<E>): Effect.Effect<boolean> {
    return Effect.gen(this, function* () {
      const isFirst = this.state === "pulling"
      this.state = "restarting"
      yield* this.note(failure)
      if (this.settings.isFatal(failure)) {
        yield* this.log(Effect.logError("the pull of a subscription has ended for good", Cause.fail(failure)))
        this.state = "ended"
        return false
      }
      if (isFirst) {
        yield* this.log(Effect.logWarning("the pull of a subscription failed; it is opened again", Cause.fail(failure)))
      }
      const isWorthIt = yield* Effect.match(driver.next(failure), { onFailure: () => false, onSuccess: () => true })
      if (!isWorthIt) {
        yield* this.log(
          Effect.logError("the pull of a subscription failed too often; it is not opened again", Cause.fail(failure))
        )
        this.state = "ended"
      }
      return isWorthIt
    })
  }

  private note(failure: unknown): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      this.lastError = { message: failure instanceof Error ? failure.message : String(failure), at }
    })
  }

  /** The loop itself has died, by a fault of `isFatal` or of the schedule. */
  private ended(cause: Cause.Cause<never>): Effect.Effect<void> {
    if (this.isStopping) {
      return Effect.void
    }
    this.state = "ended"
    return Effect.zipRight(
      this.note(new PullDied({ subscription: this.name, defect: Cause.squash(cause), cause: Cause.pretty(cause) })),
      this.log(Effect.logError("a subscription has died", cause))
    )
  }

  private readAll(reading: Reading<A, E>): Effect.Effect<never, Option.Option<E>> {
    const more = Effect.uninterruptibleMask((restore) =>
      Effect.map(restore(reading.pull.next), (chunk) => {
        this.read = Chunk.toReadonlyArray(chunk)
        this.received += this.read.length
        reading.hasGiven ||= this.read.length > 0
      })
    )
    const begin = Effect.suspend(() => {
      const [message, ...rest] = this.read
      this.read = rest
      return message === undefined ? Effect.void : this.begin(reading, message)
    })
    const turn = Effect.suspend(() => (this.read.length === 0 ? more : Effect.uninterruptible(begin)))
    return Effect.forever(Effect.zipRight(this.hasPlace.await, turn))
  }

  private begin(reading: Reading<A, E>, message: Message<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const inFlight: InFlight<A> = { message, fiber: null, stage: "handling", isInterrupted: false }
      this.inFlights.add(inFlight)
      reading.inFlight++
      if (++this.handling >= this.settings.maxMessages) {
        this.hasPlace.unsafeClose()
      }
      const performed = this.perform(inFlight).pipe(
        Effect.zipRight(
          Effect.suspend(() => {
            reading.inFlight--
            this.inFlights.delete(inFlight)
            this.idle.look()
            return reading.isOver ? this.retire(reading) : Effect.void
          })
        )
      )
      return Effect.map(Effect.forkDaemon(Effect.uninterruptible(performed)), (fiber) => {
        inFlight.fiber = fiber
      })
    })
  }

  /** Handles a message; its place is free as soon as the handler has ended, whatever the acknowledgement takes. */
  private perform(inFlight: InFlight<A>): Effect.Effect<void> {
    const { message } = inFlight
    const { handle, name } = this.settings
    const handled = Effect.suspend(() => handle(message.body, message)).pipe(
      Effect.scoped,
      Effect.provide(this.context),
      Effect.withSpan(`subscription ${name}`, spanOptions(name, message)),
      Effect.interruptible
    )
    return Effect.exit(handled).pipe(
      Effect.flatMap((exit) => {
        inFlight.stage = "settling"
        this.handling--
        this.hasPlace.unsafeOpen()
        return Effect.flatMap(this.judge(exit, inFlight), (settlement) => this.settle(message, settlement))
      }),
      Effect.annotateLogs(annotations(name, message))
    )
  }

  private judge(exit: Exit.Exit<unknown, unknown>, inFlight: InFlight<A>): Effect.Effect<Settlement> {
    if (exit._tag === "Success") {
      return Effect.succeed("ack")
    }
    const verdict = Cause.find(exit.cause, (part) =>
      part._tag === "Die" && part.defect instanceof Verdict ? Option.some(part.defect) : Option.none()
    )
    if (Option.isSome(verdict)) {
      const { decision, reason } = verdict.value
      return decision === "drop"
        ? Effect.as(Effect.logInfo("a message was dropped", reason), "ack")
        : Effect.as(Effect.logWarning("a message is to be delivered again", reason), "nack")
    }
    return inFlight.isInterrupted && Cause.isInterruptedOnly(exit.cause)
      ? Effect.succeed("release")
      : Effect.as(Effect.logError("a message could not be handled", exit.cause), "nack")
  }

  /** Acknowledges the message, or gives it back. What fails or takes too long is logged: the message comes again then. */
  private settle(message: Message<A>, settlement: Settlement): Effect.Effect<void> {
    const call = settlement === "release" ? (message.release ?? message.nack) : message[settlement]
    return Effect.suspend(() => call).pipe(
      Effect.disconnect,
      Effect.interruptible,
      Effect.timeout(this.settings.ackTimeout),
      Effect.matchCauseEffect({
        onSuccess: () =>
          Effect.sync(() => {
            if (settlement === "ack") {
              this.acked++
            } else {
              this.nacked++
            }
          }),
        onFailure: (cause) => {
          this.unsettled++
          return Effect.logWarning(
            `a message could not be ${settlement === "ack" ? "acknowledged" : "given back"}; it may be delivered again`,
            cause
          )
        }
      })
    )
  }

  /** Gives back what was read and not begun. */
  private get giveBack(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = this.read.map(
        (message): InFlight<A> => ({
          message,
          fiber: null,
          stage: "settling",
          isInterrupted: false
        })
      )
      this.read = []
      left.forEach((inFlight) => this.inFlights.add(inFlight))
      const givenBack = Effect.forEach(
        left,
        (inFlight) =>
          Effect.map(this.settle(inFlight.message, "release"), () => {
            this.inFlights.delete(inFlight)
            this.idle.look()
          }),
        { concurrency: 16, discard: true }
      )
      return Effect.asVoid(Effect.forkDaemon(givenBack))
    })
  }

  /** Closes a pull that is not read any more, as soon as none of its messages needs it. */
  private retire(reading: Reading<A, E>): Effect.Effect<void> {
    return Effect.suspend(() => {
      reading.isOver = true
      if (reading.inFlight > 0 || !this.readings.delete(reading)) {
        return Effect.void
      }
      return Effect.asVoid(Effect.forkDaemon(Effect.interruptible(reading.pull.close)))
    })
  }

  private log(self: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.annotateLogs(self, { subscription: this.name })
  }
}

const annotations = (subscription: string, { attributes, deliveries, id }: Message<unknown>) => ({
  subscription,
  messageId: id,
  ...(deliveries === undefined ? {} : { deliveries }),
  ...(attributes === undefined || Object.keys(attributes).length === 0 ? {} : { attributes })
})

const spanOptions = (subscription: string, { attributes, deliveries, id }: Message<unknown>) => {
  const parent = tracing.spanOf(attributes?.traceparent ?? null)
  return {
    ...(parent === undefined ? { root: true } : { parent }),
    kind: "consumer" as const,
    captureStackTrace: false,
    attributes: {
      "messaging.destination.subscription.name": subscription,
      "messaging.message.id": id,
      "messaging.operation.type": "process",
      ...(deliveries === undefined ? {} : { "messaging.message.delivery_count": deliveries })
    }
  }
}

import { Clock, Context, Duration, Effect, Queue, Random, type Scope } from "effect"
import type { Broker, ClaimRequest, Exchange, Signal } from "../../Broker.js"
import type { Store } from "../../Store.js"
import { BackendError, type InvalidOption } from "../../TaskError.js"
import { type Chance, type ChaosOptions, type Fault, type Settings, settingsOf } from "./chaosOptions.js"
import { type Change, changeAll } from "./operations.js"

/** Steers the faults of one process. Documented in `TaskTest`. */
export class Chaos extends Context.Tag("@effect-tasks/core/TaskTest/Chaos")<
  Chaos,
  {
    readonly calm: Effect.Effect<void>
    readonly resume: Effect.Effect<void>
    readonly kill: Effect.Effect<void>
    readonly counts: Effect.Effect<{ readonly [Name in Fault]: number }>
  }
>() {}

interface Services {
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
}

/** Operations that answer from the process's own memory: no network stands between, and nothing can fail. */
const local: ReadonlySet<string> = new Set(["now", "atTransactionEnd"])

/** A process that may have missed a signal asks again after so long. */
const pollMillis = 5_000

/** What stands between one process and its backend. */
class Storm {
  private readonly counts: { [Name in Fault]: number } = {
    failClaim: 0,
    failSettle: 0,
    failEnqueue: 0,
    failOther: 0,
    loseAnswer: 0,
    duplicateDelivery: 0,
    dropHeartbeat: 0,
    dropSignal: 0,
    partition: 0,
    kill: 0
  }
  private isCalm: boolean
  private isKilled = false

  private readonly settings: Settings
  private readonly random: Random.Random
  private readonly backend: string
  private readonly since: number

  constructor(settings: Settings, random: Random.Random, backend: string, since: number) {
    this.settings = settings
    this.isCalm = settings.calm
    this.random = random
    this.backend = backend
    this.since = since
  }

  readonly service: typeof Chaos.Service = {
    calm: Effect.sync(() => {
      this.isCalm = true
    }),
    resume: Effect.sync(() => {
      this.isCalm = false
    }),
    kill: Effect.sync(() => this.die()),
    counts: Effect.sync(() => ({ ...this.counts }))
  }

  private die(): void {
    if (!this.isKilled) {
      this.isKilled = true
      this.counts.kill++
    }
  }

  /** Whether chance wants the fault now. */
  private draws(name: Chance): Effect.Effect<boolean> {
    const chance = this.isCalm ? 0 : this.settings.chance[name]
    return chance === 0
      ? Effect.succeed(false)
      : Effect.map(this.random.next, (drawn) => {
          this.counts[name] += drawn < chance ? 1 : 0
          return drawn < chance
        })
  }

  private readonly delay: Effect.Effect<void> = Effect.suspend(() => {
    const [min, max] = this.settings.latency
    return max === 0 || this.isCalm
      ? Effect.void
      : Effect.flatMap(this.random.nextRange(min, max), (millis) => Effect.sleep(Duration.millis(Math.round(millis))))
  })

  /** A killed process hears nothing any more. */
  private readonly survives: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    if (this.settings.killAt !== null && now - this.since >= this.settings.killAt) {
      this.die()
    }
    return this.isKilled ? Effect.never : Effect.void
  })

  private readonly isCutOff: Effect.Effect<boolean> = Effect.map(
    Clock.currentTimeMillis,
    (now) =>
      !this.isCalm && this.settings.partitions.some(([from, to]) => now - this.since >= from && now - this.since < to)
  )

  private fail(operation: string, fault: Fault): Effect.Effect<never, BackendError> {
    return new BackendError({
      backend: this.backend,
      operation,
      transient: true,
      cause: new Error(`chaos: ${fault}`)
    })
  }

  private failIfCutOff(operation: string): Effect.Effect<void, BackendError> {
    return Effect.flatMap(this.isCutOff, (isCutOff) => {
      this.counts.partition += isCutOff ? 1 : 0
      return isCutOff ? this.fail(operation, "partition") : Effect.void
    })
  }

  private failBy(operation: string, name: Chance): Effect.Effect<void, BackendError> {
    return Effect.flatMap(this.draws(name), (drawn) => (drawn ? this.fail(operation, name) : Effect.void))
  }

  /** One call: the way there, what it does, and the way back. */
  readonly disturb: Change = (name, args, call) => {
    if (local.has(name)) {
      return call(...args)
    }
    if (name === "signals") {
      return Effect.flatMap(call() as Effect.Effect<Queue.Dequeue<Signal>, never, Scope.Scope>, (from) =>
        this.listen(from)
      )
    }
    const before = Effect.forEach(this.faultsBefore(name, args), (fault) => this.failBy(name, fault), { discard: true })
    return Effect.gen(this, function* () {
      yield* this.survives
      yield* this.delay
      yield* this.survives
      yield* this.failIfCutOff(name)
      yield* before
      if (name === "extend" && (yield* this.draws("dropHeartbeat"))) {
        return yield* Effect.never
      }
      const sent = name === "exchange" ? yield* this.shorten(args as readonly [Exchange]) : args
      const answer = yield* call(...sent)
      yield* this.survives
      yield* this.failBy(name, "loseAnswer")
      yield* this.delay
      yield* this.survives
      yield* this.failIfCutOff(name)
      return answer
    })
  }

  private faultsBefore(name: string, args: ReadonlyArray<unknown>): ReadonlyArray<Chance> {
    if (name === "enqueue" || name === "fire") {
      return ["failEnqueue"]
    }
    if (name !== "exchange") {
      return ["failOther"]
    }
    const [{ claim, settlements }] = args as readonly [Exchange]
    return [
      ...(claim === null ? [] : ["failClaim" as const]),
      ...(settlements.length === 0 ? [] : ["failSettle" as const])
    ]
  }

  /** Asks for a lease that ends long before the consumer believes it does. */
  private shorten([exchange]: readonly [Exchange]): Effect.Effect<readonly [Exchange]> {
    const { claim } = exchange
    return claim === null
      ? Effect.succeed([exchange])
      : Effect.flatMap(this.draws("duplicateDelivery"), (drawn) =>
          drawn
            ? Effect.map(this.random.nextRange(0, 0.2), (part): [Exchange] => [
                { ...exchange, claim: { ...claim, leaseUntil: cut(claim, part) } }
              ])
            : Effect.succeed([exchange])
        )
  }

  /** The signals that arrive. */
  private listen(from: Queue.Dequeue<Signal>): Effect.Effect<Queue.Dequeue<Signal>, never, Scope.Scope> {
    return Effect.gen(this, function* () {
      const to = yield* Effect.acquireRelease(Queue.unbounded<Signal>(), Queue.shutdown)
      const pass = Effect.gen(this, function* () {
        const signal = yield* Queue.take(from)
        yield* this.survives
        if (!(yield* this.isCutOff) && !(yield* this.draws("dropSignal"))) {
          yield* Queue.offer(to, signal)
        }
      })
      // whoever listens where nothing may interrupt it, as one who waits for a lock does, must be able to end it
      yield* Effect.forkScoped(Effect.interruptible(Effect.forever(pass)))
      return to
    })
  }
}

const cut = ({ leaseUntil, now }: ClaimRequest, part: number): number =>
  now + Math.max(1, Math.round((leaseUntil - now) * part))

/** Signals that may be missed are made up for by asking again. */
const pollInterval = ({ chance, partitions }: Settings, { pollInterval }: typeof Broker.Service): Duration.Duration =>
  chance.dropSignal > 0 || partitions.length > 0
    ? Duration.min(pollInterval, Duration.millis(pollMillis))
    : pollInterval

/** Puts a storm between one process and its backend. */
export const make = (
  { broker, store }: Services,
  options: ChaosOptions
): Effect.Effect<Services & { readonly chaos: typeof Chaos.Service }, InvalidOption> =>
  Effect.gen(function* () {
    const settings = yield* settingsOf(options)
    const storm = new Storm(settings, Random.make(options.seed), broker.name, yield* Clock.currentTimeMillis)
    return {
      broker: { ...changeAll(broker, storm.disturb), pollInterval: pollInterval(settings, broker) },
      store: changeAll(store, storm.disturb),
      chaos: storm.service
    }
  })

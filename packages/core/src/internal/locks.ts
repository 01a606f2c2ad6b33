import { Clock, Context, Data, Duration, Effect, type Fiber, FiberRef, GlobalValue, Queue, Scope } from "effect"
import type { Broker, Signal } from "../Broker.js"
import { LockLost, LockReentered, LockTimeout } from "../LockError.js"
import type { LockRef } from "../Locking.js"
import { type BackendError, InvalidOption } from "../TaskError.js"
import { isName, nameRule } from "./checking.js"
import * as uuid7 from "./uuid7.js"

/*
 * Locks with leases: taken from the broker, kept by one heartbeat for all that this process holds, and given back.
 *
 * As with claims, a holder must have been interrupted before its lease can have ended for others: an extension may take a sixth
 * of the lease, is tried again after a tenth of it, and a lock whose lease will end before that is given up.
 */

/** Documented in `TaskLock`. */
export interface Lock {
  readonly name: string
  readonly fence: number
  readonly lost: Effect.Effect<never, LockLost>
}

/** Documented in `TaskLock`. */
export interface LockOptions {
  readonly lease?: Duration.DurationInput | undefined
  readonly wait?: Duration.DurationInput | undefined
}

/** Documented in `TaskLock`. */
export type LockError = LockTimeout | LockReentered | LockLost | InvalidOption | BackendError

/** What a lock is called in the backend, and by people. */
export interface LockName {
  readonly key: string
  readonly shown: string
  readonly given: string
}

/** No name that people give has such a character, so no lock of a program is one of a task. */
const separator = "\u001f"

/** The lock of a task, or one of several that it has. */
export const nameOfTask = (task: string, name: string | undefined): LockName =>
  name === undefined
    ? { key: `${separator}${task}`, shown: task, given: task }
    : { key: `${separator}${task}${separator}${name}`, shown: `${name} of ${task}`, given: name }

export const nameOf = (name: string): LockName => ({ key: name, shown: name, given: name })

/** What this process knows of a lock that it holds. */
interface Held {
  readonly ref: LockRef
  readonly shown: string
  readonly leaseMillis: number
  readonly lost: ReturnType<typeof Effect.unsafeMakeLatch>
  leaseUntil: number
  /** When its lease is to be extended. */
  nextAt: number
  isHeld: boolean
  onLost: () => void
}

/** What a lock that is lost does to the fiber that took it. */
type OnLost = (lost: LockLost, fiber: Fiber.RuntimeFiber<unknown, unknown>) => void

/** The locks that a fiber holds, or the fiber that has forked it. */
const heldByFiber: FiberRef.FiberRef<ReadonlyArray<readonly [locks: object, held: Held]>> = GlobalValue.globalValue(
  "@effect-tasks/core/locks/heldByFiber",
  () => FiberRef.unsafeMake<ReadonlyArray<readonly [locks: object, held: Held]>>([])
)

const defaultLease = Duration.seconds(30)

/** So much of its lease, before its end, a lock is given up that cannot be extended. */
const margin = 1 / 6 + 1 / 10

/** Whoever waits where a signal can be missed asks again after so long. */
const longestPause = 5_000

class NotRenewed extends Data.TaggedError("NotRenewed") {
  override readonly message = "the broker has not extended the locks within a sixth of their leases"
}

/** A lock is the process's, and no part of the transaction that the fiber is in. */
const outside = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.mapInputContext(self, (_: Context.Context<never>) => Context.empty())

/** Of those who wait for one lock in this process, one at a time asks for it, in the order of their coming. */
class Turns {
  private readonly lines = new Map<string, Array<() => void>>()

  /** Sets `isGranted` when it is the caller's turn; who was granted one must `leave`. */
  enter(key: string, turn: { isGranted: boolean }): Effect.Effect<void> {
    return Effect.async((resume) => {
      const grant = () => {
        turn.isGranted = true
        resume(Effect.void)
      }
      const line = this.lines.get(key)
      if (line === undefined) {
        this.lines.set(key, [])
        return grant()
      }
      line.push(grant)
      return Effect.sync(() => {
        const i = line.indexOf(grant)
        if (i >= 0) {
          line.splice(i, 1)
        }
      })
    })
  }

  leave(key: string): void {
    const next = this.lines.get(key)?.shift()
    if (next === undefined) {
      this.lines.delete(key)
    } else {
      next()
    }
  }
}

/** The locks of a process. */
export class Locks {
  private readonly held = new Set<Held>()
  private readonly turns = new Turns()
  /** Opened when there is something more to keep. */
  private readonly added = Effect.unsafeMakeLatch(false)
  private readonly broker: typeof Broker.Service
  private readonly ids: uuid7.Uuid7
  private isFailing = false

  constructor(broker: typeof Broker.Service, ids: uuid7.Uuid7) {
    this.broker = broker
    this.ids = ids
  }

  /** Takes a lock for as long as the scope lasts. */
  acquire(name: LockName, options: LockOptions, onLost: OnLost): Effect.Effect<Lock, LockError, Scope.Scope> {
    return Effect.gen(this, function* () {
      const { leaseMillis, waitMillis } = yield* check(name, options)
      const own = (yield* FiberRef.get(heldByFiber)).filter(([, { isHeld }]) => isHeld)
      if (own.some(([locks, { ref }]) => locks === this && ref.name === name.key)) {
        return yield* new LockReentered({ lock: name.shown })
      }
      const held = yield* Effect.uninterruptibleMask((restore) =>
        Effect.tap(this.take(name, leaseMillis, waitMillis, restore), (held) =>
          Effect.addFinalizer(() => this.release(held))
        )
      )
      const lost = new LockLost({ lock: name.shown, fence: held.ref.fence })
      yield* Effect.withFiberRuntime<void>((fiber) => {
        held.onLost = () => onLost(lost, fiber as Fiber.RuntimeFiber<unknown, unknown>)
        return held.isHeld ? Effect.void : Effect.sync(held.onLost)
      })
      yield* FiberRef.set(heldByFiber, [...own, [this, held]])
      return { name: name.given, fence: held.ref.fence, lost: Effect.zipRight(held.lost.await, lost) }
    })
  }

  /** Performs an effect while the lock is held; when it is lost, the effect is interrupted. */
  use<A, E, R>(
    name: LockName,
    options: LockOptions,
    use: (lock: Lock) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | LockError, R> {
    return Effect.acquireUseRelease(
      Scope.make(),
      (scope) =>
        Effect.flatMap(Scope.extend(this.acquire(name, options, nothing), scope), (lock) =>
          Effect.raceFirst(use(lock), lock.lost)
        ),
      (scope, exit) => Scope.close(scope, exit)
    )
  }

  /** Waits for the caller's turn among those of this process, and then for the lock. */
  private take(
    name: LockName,
    leaseMillis: number,
    waitMillis: number,
    restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<Held, LockTimeout | BackendError> {
    return Effect.gen(this, function* () {
      const turn = { isGranted: false }
      const leave = Effect.sync(() => turn.isGranted && this.turns.leave(name.key))
      const deadline = (yield* Clock.currentTimeMillis) + waitMillis
      const entered = this.turns.enter(name.key, turn)
      yield* Effect.onInterrupt(
        restore(Number.isFinite(waitMillis) ? Effect.timeoutOption(entered, waitMillis) : entered),
        () => leave
      )
      if (!turn.isGranted) {
        return yield* new LockTimeout({ lock: name.shown, waitedMillis: waitMillis })
      }
      return yield* Effect.ensuring(this.ask(name, leaseMillis, { deadline, waitMillis, restore }), leave)
    })
  }

  private ask(
    name: LockName,
    leaseMillis: number,
    {
      deadline,
      restore,
      waitMillis
    }: {
      readonly deadline: number
      readonly waitMillis: number
      readonly restore: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    }
  ): Effect.Effect<Held, LockTimeout | BackendError> {
    return Effect.gen(this, function* () {
      const owner = this.ids.at(yield* this.broker.now, 1)[0]!
      const first = yield* this.askOnce(name, owner, leaseMillis)
      if (first._tag === "Taken") {
        return first.held
      }
      const signals = yield* this.broker.signals
      while (true) {
        const asked = yield* this.askOnce(name, owner, leaseMillis)
        if (asked._tag === "Taken") {
          return asked.held
        }
        const left = deadline - (yield* Clock.currentTimeMillis)
        if (left <= 0) {
          return yield* new LockTimeout({ lock: name.shown, waitedMillis: waitMillis })
        }
        const { pollInterval } = this.broker
        const poll = Duration.isFinite(pollInterval)
          ? Math.min(longestPause, Duration.toMillis(pollInterval))
          : Number.POSITIVE_INFINITY
        const pause = Math.max(1, Math.ceil(Math.min(asked.until - (yield* this.broker.now), poll, left)))
        yield* restore(Effect.timeoutOption(untilFree(signals, name.key), pause))
      }
    }).pipe(Effect.scoped)
  }

  private askOnce(
    name: LockName,
    owner: string,
    leaseMillis: number
  ): Effect.Effect<
    { readonly _tag: "Taken"; readonly held: Held } | { readonly _tag: "Held"; readonly until: number },
    BackendError
  > {
    return Effect.gen(this, function* () {
      const now = yield* this.broker.now
      const leaseUntil = now + leaseMillis
      const result = yield* outside(this.broker.acquireLock({ name: name.key, owner, now, leaseUntil }))
      if (result._tag === "Held") {
        return result
      }
      const ref = { name: name.key, fence: result.fence }
      const after = yield* this.broker.now
      if (after + leaseMillis * margin >= leaseUntil) {
        // the answer took so long that nobody could keep it
        yield* outside(this.broker.releaseLocks([ref]))
        return { _tag: "Held", until: after } as const
      }
      const held: Held = {
        ref,
        shown: name.shown,
        leaseMillis,
        lost: Effect.unsafeMakeLatch(false),
        leaseUntil,
        nextAt: now + Math.ceil(leaseMillis / 3),
        isHeld: true,
        onLost: nothing
      }
      this.held.add(held)
      this.added.unsafeOpen()
      return { _tag: "Taken", held } as const
    })
  }

  /** What cannot be given back is free when its lease has ended. */
  private release(held: Held): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!held.isHeld) {
        return Effect.void
      }
      held.isHeld = false
      this.held.delete(held)
      return outside(this.broker.releaseLocks([held.ref])).pipe(
        Effect.disconnect,
        Effect.timeout(held.leaseMillis / 3),
        Effect.catchAllCause((cause) =>
          Effect.logWarning(`the lock ${held.shown} could not be released; it is free when its lease has ended`, cause)
        )
      )
    })
  }

  private lose(held: Held): void {
    if (held.isHeld) {
      held.isHeld = false
      this.held.delete(held)
      held.lost.unsafeOpen()
      held.onLost()
    }
  }

  /** Extends the leases of all locks in one call, when the first of them needs it. */
  get keep(): Effect.Effect<never> {
    const beat = Effect.gen(this, function* () {
      this.added.unsafeClose()
      if (this.held.size === 0) {
        return yield* this.added.await
      }
      const now = yield* this.broker.now
      const next = Math.min(...Array.from(this.held, ({ nextAt }) => nextAt))
      yield* next > now ? Effect.timeoutOption(this.added.await, Math.max(1, Math.ceil(next - now))) : this.renewAll
    })
    return Effect.forever(beat)
  }

  private get renewAll(): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      const now = yield* this.broker.now
      const sent = Array.from(this.held)
      const shortest = Math.min(...sent.map(({ leaseMillis }) => leaseMillis))
      const locks = sent.map(({ leaseMillis, ref }) => ({ ...ref, leaseUntil: now + leaseMillis }))
      const renewed = outside(this.broker.renewLocks({ locks, now })).pipe(
        Effect.disconnect,
        Effect.timeoutFail({ duration: shortest / 6, onTimeout: () => new NotRenewed() })
      )
      yield* Effect.matchCauseEffect(renewed, {
        onSuccess: (lost) =>
          Effect.sync(() => {
            this.isFailing = false
            for (const held of sent) {
              if (lost.some(({ fence, name }) => name === held.ref.name && fence === held.ref.fence)) {
                this.lose(held)
              } else {
                held.leaseUntil = now + held.leaseMillis
                held.nextAt = now + Math.ceil(held.leaseMillis / 3)
              }
            }
          }),
        onFailure: (cause) =>
          Effect.flatMap(this.broker.now, (after) => {
            for (const held of sent) {
              held.nextAt = after + Math.ceil(held.leaseMillis / 10)
              if (after + held.leaseMillis * margin >= held.leaseUntil) {
                this.lose(held)
              }
            }
            const isFirst = !this.isFailing
            this.isFailing = true
            return isFirst
              ? Effect.logWarning("the leases of locks could not be extended; it is tried again", cause)
              : Effect.void
          })
      })
    })
  }
}

const nothing = (): void => {}

const untilFree = (signals: Queue.Dequeue<Signal>, key: string): Effect.Effect<unknown> =>
  Effect.repeat(Queue.take(signals), {
    until: (signal) => signal._tag === "Changed" || (signal._tag === "Unlocked" && signal.names.includes(key))
  })

const check = (
  { given }: LockName,
  { lease = defaultLease, wait = Duration.infinity }: LockOptions
): Effect.Effect<{ readonly leaseMillis: number; readonly waitMillis: number }, InvalidOption> => {
  if (!isName(given)) {
    return new InvalidOption({ option: "name of a lock", value: given, expected: nameRule })
  }
  const leaseMillis = Duration.toMillis(lease)
  return Number.isFinite(leaseMillis) && leaseMillis >= 100
    ? Effect.succeed({ leaseMillis: Math.ceil(leaseMillis), waitMillis: Duration.toMillis(wait) })
    : new InvalidOption({
        option: "lease",
        value: Duration.format(lease),
        expected: "at least 100 milliseconds, and finite"
      })
}

/** Makes the locks of a process, and keeps their leases as long as the scope lasts. */
export const make = Effect.fnUntraced(function* (
  broker: typeof Broker.Service
): Effect.fn.Return<Locks, never, Scope.Scope> {
  const locks = new Locks(broker, yield* uuid7.make)
  const keep = Effect.mapInputContext(Effect.withTracerEnabled(locks.keep, false), (_: Context.Context<never>) =>
    Context.empty()
  )
  yield* Effect.forkScoped(keep)
  return locks
})

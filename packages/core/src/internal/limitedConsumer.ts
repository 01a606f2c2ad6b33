import { type Cause, Deferred, type Duration, Effect, type Exit, FiberId, FiberSet, type Scope } from "effect"
import { AlreadyRunning, NotRunning } from "../SubscriptionError.js"
import type { InvalidOption } from "../TaskError.js"
import type { OpenSource, Sink } from "./polling.js"

/*
 * A consumer of one source at a time, with a limit to how many tasks run at once.
 */

/** The options, checked. Documented in `TaskSource`. */
export interface Settings {
  readonly name: string
  readonly workerLimit: number
  readonly timeout: Duration.Duration | undefined
  readonly overLimit: "run" | "wait"
  readonly daemon: boolean
  readonly keepFailures: number
}

/** Documented in `TaskSource`. */
export interface Report<out E, out PE> {
  readonly started: number
  readonly succeeded: number
  readonly failed: number
  readonly failures: ReadonlyArray<Cause.Cause<E | Cause.TimeoutException>>
  readonly productionsFailed: number
  readonly productionFailures: ReadonlyArray<Cause.Cause<PE>>
}

interface Parts<E, PE> {
  readonly source: OpenSource<E, PE>
  readonly fork: (effect: Effect.Effect<unknown>) => Effect.Effect<unknown>
}

/** One consumption of a source, from its beginning to its end. */
class Consumption<E, PE> implements Sink<E, PE> {
  readonly end = Deferred.unsafeMake<void>(FiberId.none)
  private readonly settings: Settings
  private readonly lock = Effect.unsafeMakeSemaphore(1)
  /** What it needs to go on; nothing before it begins and after it has ended. */
  private parts: Parts<E, PE> | null = null
  /** How many tasks have begun, or wait for a place, and have not ended. */
  private count = 0
  private waiting: Array<Effect.Effect<unknown, E>> = []
  /** How often the source was started. */
  private starts = 0
  private isStopping = false
  private started = 0
  private succeeded = 0
  private failed = 0
  private failures: Array<Cause.Cause<E | Cause.TimeoutException>> = []
  private productionsFailed = 0
  private productionFailures: Array<Cause.Cause<PE>> = []

  constructor(settings: Settings) {
    this.settings = settings
  }

  /** Begins, unless it was stopped before. */
  begin(parts: Parts<E, PE>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.parts = parts
      return this.isStopping ? this.requestStop(parts) : this.startSource(parts)
    })
  }

  /** From here on nothing is taken on any more. */
  close(): void {
    this.parts = null
  }

  get report(): Report<E, PE> {
    const { failed, failures, productionFailures, productionsFailed, started, succeeded } = this
    return { started, succeeded, failed, failures, productionsFailed, productionFailures }
  }

  /** Takes no more tasks; those under way finish. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.isStopping = true
    return this.parts === null ? Effect.void : this.requestStop(this.parts)
  })

  taskStarted(task: Effect.Effect<unknown, E>): Effect.Effect<void, NotRunning> {
    return this.withParts((parts) => {
      const { overLimit, workerLimit } = this.settings
      const isOver = this.count >= workerLimit
      this.count++
      this.started++
      const next = this.count >= workerLimit || this.isStopping ? this.requestStop(parts) : this.startSource(parts)
      if (isOver && overLimit === "wait") {
        this.waiting.push(task)
        return next
      }
      return Effect.zipRight(next, this.run(parts, task))
    })
  }

  readonly noTasksFound: Effect.Effect<void, NotRunning> = this.withParts((parts) =>
    this.count === 0 && !this.settings.daemon ? this.requestStop(parts) : Effect.void
  )

  taskProductionFailed(cause: Cause.Cause<PE>): Effect.Effect<void, NotRunning> {
    return this.withParts((parts) => {
      this.productionsFailed++
      this.keep(this.productionFailures, cause)
      return Effect.zipRight(
        this.log(Effect.logWarning("no task could be produced", cause)),
        this.settings.daemon ? Effect.void : this.requestStop(parts)
      )
    })
  }

  private withParts(use: (parts: Parts<E, PE>) => Effect.Effect<void>): Effect.Effect<void, NotRunning> {
    return Effect.uninterruptible(
      Effect.suspend(() => (this.parts === null ? new NotRunning({ name: this.settings.name }) : use(this.parts)))
    )
  }

  private startSource({ source }: Parts<E, PE>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.starts++
      return source.start(this)
    })
  }

  /**
   * Stops the source, and ends when it stays stopped and no task runs. It is done in a fiber of its own, for the source may
   * ask for it from within a poll, whose end it waits for. One such stop is under way at a time; one that comes too late,
   * because the source was started again meanwhile, is left out.
   */
  private requestStop({ fork, source }: Parts<E, PE>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { starts } = this
      const stop = Effect.suspend(() =>
        this.starts !== starts
          ? Effect.void
          : Effect.flatMap(source.stop, (isStopped) =>
              isStopped && this.count === 0 ? Deferred.succeed(this.end, undefined) : Effect.void
            )
      )
      return Effect.asVoid(fork(Effect.interruptible(this.lock.withPermits(1)(stop))))
    })
  }

  private run(parts: Parts<E, PE>, task: Effect.Effect<unknown, E>): Effect.Effect<void> {
    const { timeout } = this.settings
    const limited: Effect.Effect<unknown, E | Cause.TimeoutException> =
      timeout === undefined ? task : Effect.timeout(task, timeout)
    const ended = Effect.flatMap(Effect.exit(Effect.interruptible(limited)), (exit) => this.ended(exit))
    return Effect.asVoid(parts.fork(Effect.uninterruptible(ended)))
  }

  private ended(exit: Exit.Exit<unknown, E | Cause.TimeoutException>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.count--
      if (exit._tag === "Success") {
        this.succeeded++
        return this.goOn()
      }
      this.failed++
      this.keep(this.failures, exit.cause)
      return this.parts === null
        ? Effect.void
        : Effect.zipRight(this.log(Effect.logWarning("a task failed", exit.cause)), this.goOn())
    })
  }

  /** A place is free. */
  private goOn(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { parts } = this
      if (parts === null) {
        return Effect.void
      }
      const task = this.waiting.shift()
      const next = task === undefined ? Effect.void : this.run(parts, task)
      if (this.isStopping) {
        return this.count === 0 ? this.requestStop(parts) : next
      }
      return Effect.zipRight(this.count < this.settings.workerLimit ? this.startSource(parts) : Effect.void, next)
    })
  }

  private keep<A>(kept: Array<A>, item: A): void {
    if (kept.length < this.settings.keepFailures) {
      kept.push(item)
    }
  }

  private log(self: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.annotateLogs(self, { consumer: this.settings.name, running: this.count })
  }
}

/** A consumer that is at rest, or has one consumption under way. */
export const make = (settings: Settings) => {
  let current: Consumption<unknown, unknown> | null = null

  const begin = <E, PE>(): Effect.Effect<Consumption<E, PE>, AlreadyRunning> =>
    Effect.suspend(() => {
      if (current !== null) {
        return new AlreadyRunning({ name: settings.name })
      }
      const consumption = new Consumption<E, PE>(settings)
      current = consumption as Consumption<never, never> as Consumption<unknown, unknown>
      return Effect.succeed(consumption)
    })

  const withCurrent = (use: (consumption: Sink<unknown, unknown>) => Effect.Effect<void, NotRunning>) =>
    Effect.suspend(() => (current === null ? new NotRunning({ name: settings.name }) : use(current)))

  return {
    consume: <E, PE, R>(
      open: Effect.Effect<OpenSource<E, PE>, InvalidOption, R | Scope.Scope>
    ): Effect.Effect<Report<E, PE>, AlreadyRunning | InvalidOption, Exclude<R, Scope.Scope>> =>
      Effect.acquireUseRelease(
        begin<E, PE>(),
        (consumption) => Effect.scoped(consumeIn(consumption, open)),
        () => Effect.sync(() => (current = null))
      ),
    stop: Effect.suspend(() => current?.stop ?? Effect.void),
    taskStarted: (task: Effect.Effect<unknown>) => withCurrent((sink) => sink.taskStarted(task)),
    noTasksFound: withCurrent((sink) => sink.noTasksFound),
    taskProductionFailed: (cause: Cause.Cause<never>) => withCurrent((sink) => sink.taskProductionFailed(cause))
  }
}

/** When the scope closes, nothing is taken on any more; then the source is closed, then tasks are interrupted. */
const consumeIn = Effect.fnUntraced(function* <E, PE, R>(
  consumption: Consumption<E, PE>,
  open: Effect.Effect<OpenSource<E, PE>, InvalidOption, R>
) {
  const fibers = yield* FiberSet.make()
  const source = yield* open
  yield* Effect.addFinalizer(() => Effect.sync(() => consumption.close()))
  yield* consumption.begin({ source, fork: (effect) => FiberSet.run(fibers, effect) })
  yield* Deferred.await(consumption.end)
  return consumption.report
})

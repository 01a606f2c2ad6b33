import { Cause, Clock, Effect, type Exit, Option, Schedule, type Scope } from "effect"
import type { NotRunning } from "../SubscriptionError.js"

/*
 * The loop of a source: it asks for tasks one poll at a time, and hands what it gets to a sink.
 */

/** Documented in `TaskSource`. */
export interface Sink<in E, in PE> {
  readonly taskStarted: (task: Effect.Effect<unknown, E>) => Effect.Effect<void, NotRunning>
  readonly noTasksFound: Effect.Effect<void, NotRunning>
  readonly taskProductionFailed: (cause: Cause.Cause<PE>) => Effect.Effect<void, NotRunning>
}

/** Documented in `TaskSource`. */
export interface OpenSource<out E, out PE> {
  readonly start: (sink: Sink<E, PE>) => Effect.Effect<void>
  readonly stop: Effect.Effect<boolean>
}

interface Settings<E, PE> {
  /** From one poll to the next, in milliseconds; infinite for a source that is asked only when it is started. */
  readonly interval: number
  readonly produce: Effect.Effect<Effect.Effect<unknown, E> | undefined, PE>
  readonly backoff: Schedule.Schedule<unknown, PE> | undefined
}

type Production<E, PE> = Exit.Exit<Effect.Effect<unknown, E> | undefined, PE>

/** The state of a source between `start` and `stop`: whom it tells, and where its grid of times begins. */
interface Started<E, PE> {
  readonly sink: Sink<E, PE>
  readonly at: number
}

/** Opens a source whose loop lives in this scope. */
export const open = <E, PE>(settings: Settings<E, PE>): Effect.Effect<OpenSource<E, PE>, never, Scope.Scope> => {
  const loop = new Polling(settings)
  return Effect.as(Effect.forkScoped(Effect.interruptible(loop.run)), {
    start: (sink) => loop.start(sink),
    stop: loop.stop
  })
}

class Polling<E, PE> {
  private readonly settings: Settings<E, PE>
  private started: Started<E, PE> | null = null
  /** A poll is asked for. However often that happens during a poll, one follows it. */
  private isDue = false
  /** Opened when it was started or stopped. */
  private readonly changed = Effect.unsafeMakeLatch(false)
  /** Open while no poll is under way. */
  private readonly idle = Effect.unsafeMakeLatch(true)

  constructor(settings: Settings<E, PE>) {
    this.settings = settings
  }

  start(sink: Sink<E, PE>): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (at) => {
      this.started = { sink, at }
      this.isDue = true
      this.changed.unsafeOpen()
    })
  }

  readonly stop: Effect.Effect<boolean> = Effect.suspend(() => {
    this.started = null
    this.isDue = false
    this.changed.unsafeOpen()
    return Effect.map(this.idle.await, () => this.started === null)
  })

  get run(): Effect.Effect<never> {
    return Effect.forever(Effect.suspend(() => this.turn()))
  }

  private turn(): Effect.Effect<void> {
    const { started } = this
    this.changed.unsafeClose()
    if (started === null) {
      return this.changed.await
    }
    if (this.isDue) {
      this.isDue = false
      return this.poll(started)
    }
    return Number.isFinite(this.settings.interval) ? this.pause(started) : this.changed.await
  }

  /** Until the next point of the grid, or a change. */
  private pause(started: Started<E, PE>): Effect.Effect<void> {
    const { interval } = this.settings
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.map(Effect.timeoutOption(this.changed.await, interval - ((now - started.at) % interval)), (changed) => {
        if (Option.isNone(changed) && this.started === started) {
          this.isDue = true
        }
      })
    )
  }

  private poll(started: Started<E, PE>): Effect.Effect<void> {
    this.idle.unsafeClose()
    return this.production.pipe(
      Effect.flatMap((production) => (production === null ? Effect.void : this.tell(started, production))),
      Effect.ensuring(Effect.sync(() => this.idle.unsafeOpen()))
    )
  }

  /** What the producer gave in the end; nothing when it is to be asked again by another poll. */
  private get production(): Effect.Effect<Production<E, PE> | null> {
    const { backoff, produce } = this.settings
    return backoff === undefined
      ? Effect.exit(produce)
      : Effect.flatMap(Schedule.driver(backoff), (driver) => this.attempt(driver))
  }

  private attempt(driver: Schedule.ScheduleDriver<unknown, PE>): Effect.Effect<Production<E, PE> | null> {
    return Effect.flatMap(Effect.exit(this.settings.produce), (exit) => {
      const error = exit._tag === "Failure" ? Cause.failureOption(exit.cause) : Option.none()
      return exit._tag === "Success" || Option.isNone(error)
        ? Effect.succeed(exit)
        : Effect.logWarning("a source could not produce a task; it tries again", exit.cause).pipe(
            Effect.zipRight(this.backOff(driver.next(error.value))),
            Effect.flatMap((isOver) => (isOver ? this.isReplaced(exit) : this.attempt(driver)))
          )
    })
  }

  /** Waits before another attempt. True when there is to be none: the schedule is done, or the source was stopped. */
  private backOff(wait: Effect.Effect<unknown, Option.Option<never>>): Effect.Effect<boolean> {
    const over = Effect.match(wait, { onFailure: () => true, onSuccess: () => false })
    const stopped: Effect.Effect<boolean> = Effect.suspend(() => {
      this.changed.unsafeClose()
      return this.started === null || this.isDue ? Effect.succeed(true) : Effect.zipRight(this.changed.await, stopped)
    })
    return Effect.raceFirst(over, stopped)
  }

  private isReplaced(exit: Production<E, PE>): Effect.Effect<Production<E, PE> | null> {
    return Effect.sync(() => (this.isDue ? null : exit))
  }

  /** Tells whom the source was started for last; what a poll gives after a stop belongs to who began it. */
  private tell(begun: Started<E, PE>, production: Production<E, PE>): Effect.Effect<void> {
    const { sink } = this.started ?? begun
    const telling =
      production._tag === "Failure"
        ? sink.taskProductionFailed(production.cause)
        : production.value === undefined
          ? sink.noTasksFound
          : sink.taskStarted(production.value)
    return Effect.catchAllCause(telling, (cause) => {
      if (Option.isSome(Cause.failureOption(cause)) && this.started?.sink === sink) {
        this.started = null
        this.isDue = false
      }
      return Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.logError("a consumer did not take what its source told it", cause)
    })
  }
}

import { ExecutorUnavailable } from "@effect-tasks/core/TaskError"
import type * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import { Deferred, Duration, Effect, type Scope } from "effect"
import type { Start } from "./host.js"
import { liveClock } from "./liveClock.js"
import { PoolWorker } from "./worker.js"

export interface Settings {
  /** As errors name it. */
  readonly entry: string
  readonly start: Start
  /** The names of the tasks that each worker has to serve. */
  readonly tasks: ReadonlyArray<string>
  readonly poolSize: number
  readonly eager: boolean
  readonly startTimeout: Duration.Duration
  readonly grace: Duration.Duration
  readonly idleTimeout: Duration.Duration
  readonly maxTasksPerWorker: number
  readonly onLine: (line: typeof TaskExecutor.Line.Type) => void
}

type Reserve = Effect.Effect<TaskExecutor.Perform, ExecutorUnavailable, Scope.Scope>

/** Workers of one kind, started when they are needed. They end with the Scope. */
export const make = (settings: Settings): Effect.Effect<Reserve, ExecutorUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const pool = new Pool(settings, yield* Effect.scope)
    yield* Effect.addFinalizer(() => pool.close)
    if (settings.eager) {
      yield* Effect.forEach(Array.from({ length: settings.poolSize }), () => pool.add, {
        concurrency: "unbounded",
        discard: true
      })
    }
    return pool.reserve
  })

class Pool {
  private readonly settings: Settings
  private readonly scope: Scope.Scope
  private readonly places: Effect.Semaphore
  private readonly workers = new Set<PoolWorker>()
  private idle: Array<PoolWorker> = []
  private isClosed = false

  constructor(settings: Settings, scope: Scope.Scope) {
    this.settings = settings
    this.scope = scope
    this.places = Effect.unsafeMakeSemaphore(settings.poolSize)
  }

  /** A place, and a worker in it; both until the Scope closes. */
  readonly reserve: Reserve = Effect.uninterruptibleMask((restore) =>
    restore(this.places.take(1)).pipe(
      Effect.zipRight(Effect.onError(this.checkOut(restore), () => this.places.release(1))),
      Effect.tap((worker) => Effect.addFinalizer(() => this.checkIn(worker))),
      Effect.map((worker) => worker.perform)
    )
  )

  /** One more worker, which waits for its first attempt. */
  readonly add: Effect.Effect<void, ExecutorUnavailable> = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(this.begin(restore), (worker) => this.rest(worker))
  )

  private checkOut(restore: Restore): Effect.Effect<PoolWorker, ExecutorUnavailable> {
    return Effect.suspend(() => {
      for (let worker = this.idle.pop(); worker !== undefined; worker = this.idle.pop()) {
        if (worker.isUsable) {
          return Effect.succeed(worker)
        }
      }
      return this.begin(restore)
    })
  }

  /** Starts a worker, and waits until it is ready. */
  private begin(restore: Restore): Effect.Effect<PoolWorker, ExecutorUnavailable> {
    const { startTimeout } = this.settings
    return Effect.flatMap(this.start(), (worker) =>
      Deferred.await(worker.ready).pipe(
        Effect.timeoutFail({
          duration: startTimeout,
          onTimeout: () => `it was not ready within ${Duration.format(startTimeout)}; does it call NodeExecutor.serve?`
        }),
        restore,
        Effect.flatMap((tasks) => this.check(tasks)),
        Effect.mapError((reason) => this.unavailable(reason)),
        Effect.onError(() => worker.kill),
        Effect.as(worker),
        Effect.withClock(liveClock)
      )
    )
  }

  private start(): Effect.Effect<PoolWorker, ExecutorUnavailable> {
    return Effect.suspend(() => {
      if (this.isClosed) {
        return this.unavailable("its pool is closed")
      }
      const worker = new PoolWorker(this.settings)
      this.workers.add(worker)
      return Effect.as(
        Effect.forkDaemon(
          Effect.map(Deferred.await(worker.exited), () => {
            this.workers.delete(worker)
          })
        ),
        worker
      )
    }).pipe(Effect.catchAllDefect((error) => this.unavailable(String(error))))
  }

  private check(served: ReadonlyArray<string>): Effect.Effect<void, string> {
    const missing = this.settings.tasks.filter((task) => !served.includes(task))
    return missing.length === 0
      ? Effect.void
      : Effect.fail(`it does not serve ${missing.join(", ")}; give the task to its NodeExecutor.serve`)
  }

  private unavailable(reason: string): ExecutorUnavailable {
    return new ExecutorUnavailable({ entry: this.settings.entry, reason })
  }

  /** One that has served its time makes its place free when it has ended. */
  private checkIn(worker: PoolWorker): Effect.Effect<void> {
    return Effect.suspend(() =>
      worker.isUsable && !this.isClosed && worker.served < this.settings.maxTasksPerWorker
        ? Effect.zipRight(this.rest(worker), this.places.release(1))
        : Effect.asVoid(Effect.forkDaemon(Effect.zipRight(worker.close, this.places.release(1))))
    )
  }

  private rest(worker: PoolWorker): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.idle.push(worker)
      const { idleTimeout } = this.settings
      return Duration.isFinite(idleTimeout)
        ? Effect.asVoid(Effect.forkIn(this.closeIdle(worker, worker.served, idleTimeout), this.scope))
        : Effect.void
    })
  }

  /** Closes a worker that has had nothing to do. */
  private closeIdle(worker: PoolWorker, served: number, after: Duration.Duration): Effect.Effect<void> {
    return Effect.sleep(after).pipe(
      Effect.withClock(liveClock),
      Effect.interruptible,
      Effect.flatMap(() => {
        if (worker.served !== served || !this.idle.includes(worker)) {
          return Effect.void
        }
        this.idle = this.idle.filter((other) => other !== worker)
        return worker.close
      })
    )
  }

  /** Ends all workers. Nobody is to have a place any more. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isClosed = true
    return Effect.forEach(Array.from(this.workers), (worker) => worker.close, {
      concurrency: "unbounded",
      discard: true
    })
  })
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

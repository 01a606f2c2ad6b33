import { Cause, type Context, type Duration, Effect, Exit, Fiber, Scope } from "effect"
import type { NewRun } from "../TaskRun.js"
import type { Definition } from "./definition.js"
import { type QueueError, type QueueOptions, TaskManager } from "./managerTag.js"
import * as outage from "./outage.js"
import type { RunId } from "./run.js"

/*
 * What a request leaves to be done when its response has been sent.
 */

/** Documented in `BackgroundTasks`. */
export interface AddOptions extends QueueOptions {
  readonly mode?: "afterResponse" | "now" | undefined
}

type Manager = typeof TaskManager.Service

/** What one request has left, in the order in which it came. */
export class Collected {
  private readonly steps: Array<Effect.Effect<void>> = []
  private readonly manager: Manager
  private isOver = false

  constructor(manager: Manager) {
    this.manager = manager
  }

  /** Makes a run, and queues it at once or with the rest. What comes when the rest is under way goes at once. */
  add<D extends Definition>(task: D, payload: unknown, options: AddOptions): Effect.Effect<RunId, QueueError> {
    const { mode = "afterResponse", ...queueing } = options
    return Effect.flatMap(this.manager.createRun(task, payload, queueing), (run) => {
      if (mode === "now" || this.isOver) {
        return Effect.map(this.manager.queueRun(run), ({ id }) => id)
      }
      this.steps.push(queueLater(run))
      return Effect.succeed(run.id)
    })
  }

  /** Notes an effect, with the services that it has now. */
  readonly run = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<void, never, Exclude<R, Scope.Scope>> =>
    Effect.contextWith((context: Context.Context<Exclude<R, Scope.Scope>>) => {
      const isolated = Effect.scoped(self).pipe(
        Effect.provide(context),
        Effect.catchAllCause((cause) => Effect.logError("what a request left to be done failed", cause)),
        Effect.asVoid
      )
      this.steps.push(isolated as Effect.Effect<void>)
    })

  /** All of it, one after the other. */
  get all(): Effect.Effect<void> | undefined {
    this.isOver = true
    return this.steps.length === 0 ? undefined : Effect.forEach(this.steps, (step) => step, { discard: true })
  }
}

/** Tried again while the backend is away; a failure has nobody else to be told to. */
const queueLater = (run: NewRun<Definition>): Effect.Effect<void> =>
  outage.survive(run.queue).pipe(
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.zipRight(
            Effect.logError("a run of a request could not be queued before the end of the grace"),
            Effect.interrupt
          )
        : Effect.logError("a run of a request could not be queued", cause)
    ),
    Effect.annotateLogs({ task: run.task.name, runId: run.id })
  )

/** Performs what requests have left, each in a fiber of its own, and waits for it in the end. */
export class Runner {
  private readonly fibers = new Set<Fiber.RuntimeFiber<void>>()
  readonly manager: Manager

  constructor(manager: Manager) {
    this.manager = manager
  }

  start(self: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.map(Effect.forkDaemon(Effect.interruptible(self)), (fiber) => {
      this.fibers.add(fiber)
      fiber.addObserver(() => this.fibers.delete(fiber))
    })
  }

  /** Waits for all of it, for no longer than the grace; then it is interrupted. */
  end(grace: Duration.Duration): Effect.Effect<void> {
    const idle = Effect.suspend(() => Fiber.awaitAll(Array.from(this.fibers)))
    return Effect.zipRight(
      Effect.timeoutOption(Effect.interruptible(idle), grace),
      Effect.suspend(() =>
        this.fibers.size === 0
          ? Effect.void
          : Effect.zipRight(
              Effect.logWarning(`${this.fibers.size} requests had more to be done than the grace allows`),
              Fiber.interruptAll(Array.from(this.fibers))
            )
      )
    )
  }
}

export const makeRunner = (grace: Duration.Duration): Effect.Effect<Runner, never, TaskManager | Scope.Scope> =>
  Effect.flatMap(TaskManager, (manager) =>
    Effect.acquireRelease(
      Effect.sync(() => new Runner(manager)),
      (runner) => runner.end(grace)
    )
  )

/**
 * Gives a request a place for what it leaves to be done. Its scope closes when the response has been sent, a streamed body
 * too; then that is begun, if the handler has not failed.
 */
export const around = <A extends { readonly status: number }, E, R>(
  runner: Runner,
  use: (collected: Collected) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => {
    const collected = new Collected(runner.manager)
    let isWanted = false
    const finish = Effect.suspend(() => {
      const { all } = collected
      return all === undefined || !isWanted ? Effect.void : runner.start(all)
    })
    return Effect.zipRight(
      Scope.addFinalizer(scope, finish),
      Effect.onExit(use(collected), (exit) =>
        Effect.sync(() => {
          isWanted = Exit.isSuccess(exit) && exit.value.status < 500
        })
      )
    )
  })

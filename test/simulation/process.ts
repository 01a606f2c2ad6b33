import { Backend, TaskConsumer, TaskGroup, TaskLogger, TaskManager, TaskTest } from "@effect-tasks/core"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import type { Services } from "./backends.js"
import type { Feature } from "./features/feature.js"
import type { ProcessPlan } from "./plan.js"
import type { Owner } from "./time.js"

type Provided = TaskManager.TaskManager | TaskTest.Chaos | Backend.Backend

/** What a process needs of its world. */
export interface Surroundings {
  readonly services: Services
  readonly features: ReadonlyArray<Feature>
  readonly observer: TaskLogger.Observer
  readonly fork: (effect: Effect.Effect<unknown, unknown>, ended?: (exit: Exit.Exit<unknown, unknown>) => void) => void
}

/** One life of a simulated process: from its start to its orderly end, or to its death. */
export class Process implements Owner {
  isDead = false
  isStopping = false
  isStopped = false
  readonly name: string
  private readonly plan: ProcessPlan
  private context: Context.Context<Provided> | null = null
  private consumers: ReadonlyArray<typeof TaskConsumer.TaskConsumer.Service> = []
  private readonly scope = Effect.runSync(Scope.make())

  constructor(name: string, plan: ProcessPlan) {
    this.name = name
    this.plan = plan
  }

  get isUp(): boolean {
    return this.context !== null && !this.isDead && !this.isStopping
  }

  get consumes(): boolean {
    return this.plan.consumers.length > 0
  }

  start({ features, fork, observer, services }: Surroundings): void {
    const runtime = TaskManager.layer.pipe(
      Layer.provideMerge(TaskTest.chaos({ seed: this.name, ...this.plan.chaos })),
      Layer.provideMerge(Backend.layer(Effect.succeed(services))),
      Layer.provide(TaskLogger.layer(observer))
    )
    const group = TaskGroup.make(...features.flatMap(({ tasks }) => tasks))
    const handlers = features.map(({ handlers }) => handlers).reduce((a, b) => Layer.merge(a, b))
    const started = Effect.gen(this, function* () {
      const context = yield* Layer.build(runtime)
      this.context = context
      this.consumers = yield* Effect.forEach(this.plan.consumers, (options) => TaskConsumer.make(group, options)).pipe(
        Effect.provide(handlers),
        Effect.provide(context)
      )
    })
    fork(Scope.extend(started, this.scope))
  }

  /** An effect in this process; nothing where it is not up. */
  inside(effect: Effect.Effect<unknown, unknown, Provided>): Effect.Effect<unknown, unknown> {
    const { context } = this
    return context === null || !this.isUp ? Effect.void : Effect.provide(effect, context)
  }

  readonly calm: Effect.Effect<void> = Effect.suspend(() =>
    this.context === null ? Effect.void : Context.get(this.context, TaskTest.Chaos).calm
  )

  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.isStopping = true
    return Effect.forEach(this.consumers, ({ gracefullyStop }) => gracefullyStop, { concurrency: "unbounded" }).pipe(
      Effect.zipRight(Scope.close(this.scope, Exit.void)),
      Effect.zipRight(
        Effect.sync(() => {
          this.isStopped = true
        })
      )
    )
  })

  /** Whether all its consumers are at work. */
  readonly isReady: Effect.Effect<boolean> = Effect.suspend(() =>
    Effect.every(this.consumers, ({ alive, ready }) => Effect.zipWith(alive, ready, (alive, ready) => alive && ready))
  )
}

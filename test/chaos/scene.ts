import type { CommandExecutor } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { TaskManager } from "@effect-tasks/core"
import { Clock, Context, Effect, Layer, type Scope } from "effect"
import { administer, url } from "../postgres/database.js"
import { backendOf } from "./backends.js"
import type { Journal } from "./journal.js"
import * as Workers from "./workers.js"

/** Worker processes that serve one schema, on which faults are tried one after the other. */
export class Scene extends Context.Tag("@effect-tasks/test/chaos/Scene")<
  Scene,
  {
    readonly schema: string
    readonly journal: Journal
    /** Those that are expected to be alive, and when the others were killed. */
    readonly alive: Array<Workers.Worker>
    readonly killedAt: Map<string, number>
    readonly start: (name: string) => Effect.Effect<Workers.Worker, Workers.StartError>
    /** The number of the next run, and how many there are. */
    readonly next: () => number
    readonly numbered: () => number
  }
>() {}

export interface Options {
  /** The url under which workers and producers see the server; default: that of the tests. */
  readonly url?: string
  /** Whether the server is the test's own, and leaves nothing behind. */
  readonly owned?: boolean
  /** The workers' names, each with what is wrong with its clock, in milliseconds. */
  readonly workers: Readonly<Record<string, number>>
}

/** Workers stop by SIGTERM, whatever they have been through, and those that do not are killed. */
const stopInTime = ({ process }: Workers.Worker) =>
  Effect.flatMap(process.isRunning, (isRunning) =>
    isRunning
      ? process.kill("SIGTERM").pipe(
          Effect.disconnect,
          Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error("a worker did not stop") }),
          Effect.onError(() => Effect.ignore(process.kill("SIGKILL"))),
          Effect.orDie
        )
      : Effect.void
  )

const make = (options: Options, schema: string, server: string) =>
  Effect.gen(function* () {
    const journal: Journal = []
    const alive: Array<Workers.Worker> = []
    let last = 0
    const surroundings = yield* Effect.context<CommandExecutor.CommandExecutor | Scope.Scope>()
    const backend = { _tag: "Postgres", url: server, schema } as const
    const start = (name: string) =>
      Effect.provide(Workers.start({ name, backend, clockShift: options.workers[name] ?? 0 }, journal), surroundings)
    alive.push(...(yield* Effect.forEach(Object.keys(options.workers), start)))
    yield* Effect.forEach(alive, ({ isReady }) => isReady)
    yield* Effect.addFinalizer(() => Effect.forEach(alive, stopInTime, { concurrency: "unbounded" }).pipe(Effect.orDie))
    return Scene.of({
      schema,
      journal,
      alive,
      killedAt: new Map<string, number>(),
      start,
      next: () => ++last,
      numbered: () => last
    })
  })

/** The name of a schema that nobody else uses; it is dropped at the end of the scope. */
const ownSchema = Effect.acquireRelease(
  Effect.map(Clock.currentTimeMillis, (now) => `chaos_${process.pid}_${now.toString(36)}`),
  (schema) => Effect.orDie(administer((sql) => sql.unsafe(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)))
)

/** The scene, and the manager of its producers. */
export const layer = (options: Options) =>
  Layer.unwrapScoped(
    Effect.gen(function* () {
      const schema = options.owned === true ? "effect_tasks" : yield* ownSchema
      const server = options.url ?? url
      const manager = TaskManager.layer.pipe(Layer.provide(backendOf({ _tag: "Postgres", url: server, schema })))
      return Layer.provideMerge(Layer.scoped(Scene, make(options, schema, server)), manager)
    })
  ).pipe(Layer.provideMerge(NodeContext.layer))

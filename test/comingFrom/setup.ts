/** What the tests of this folder share: tasks, their handlers, a consumer in virtual time, and processes on one file. */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { it } from "@effect/vitest"
import {
  type Backend,
  CurrentRun,
  RetryPolicy,
  Task,
  TaskConsumer,
  TaskGroup,
  TaskManager,
  type TaskRun,
  TaskScheduler,
  TaskTest
} from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Clock, Effect, Exit, Layer, Schema, Scope } from "effect"

export class Oops extends Schema.TaggedError<Oops>("comingFrom/Oops")("Oops", { code: Schema.Number }) {}

/** Adds two numbers. */
export const Add = Task.make("Add", {
  description: "Adds two numbers.\nSlowly, if need be.",
  payload: { a: Schema.Number, b: Schema.Number },
  success: Schema.Number,
  tags: ["math"]
})

/** Fails with the code that it is given, at once and for good. */
export const Refuse = Task.make("Refuse", { payload: { code: Schema.Number }, error: Oops })

/** Fails until the attempt that it is given. */
export const Flaky = Task.make("Flaky", {
  payload: { until: Schema.Number },
  success: Schema.Number,
  error: Oops,
  retry: RetryPolicy.make({ retries: 3, delay: "1 second", backoff: 2 })
})

/** Takes so many seconds. */
export const Slow = Task.make("Slow", { payload: { seconds: Schema.Number } })

/** The same, but it is not to be performed again when a shutdown interrupts it. */
export const Once = Task.make("Once", { payload: { seconds: Schema.Number }, requeueOnInterrupt: false })

/** Logs a text. */
export const Talk = Task.make("Talk", { payload: { text: Schema.String } })

export const all = TaskGroup.make(Add, Refuse, Flaky, Slow, Once, Talk)

const sleep = ({ seconds }: { readonly seconds: number }) => Effect.sleep(`${seconds} seconds`)

export const handlers = all.toLayer({
  Add: ({ a, b }) => Effect.succeed(a + b),
  Refuse: ({ code }) => new Oops({ code }),
  Flaky: ({ until }) =>
    Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
      attempt < until ? new Oops({ code: attempt }) : Effect.succeed(attempt)
    ),
  Slow: sleep,
  Once: sleep,
  Talk: ({ text }) => Effect.log(text)
})

/** A consumer of a group on a memory backend, in virtual time, with its handlers at hand for `execute` too. */
export const kit = <Tasks extends Task.Any, H extends TaskGroup.Handlers<Tasks>>(
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: H,
  options: TaskConsumer.Options = {}
) =>
  TaskTest.consumer(group, options).pipe(
    Layer.provideMerge(group.toLayer(handlers)),
    Layer.provideMerge(TaskTest.layer)
  )

/** The same, with a scheduler that fires the schedules of the group. */
export const scheduling = <Tasks extends Task.Any, H extends TaskGroup.Handlers<Tasks>>(
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: H
) => TaskScheduler.layer(group).pipe(Layer.provideMerge(kit(group, handlers)))

/** The tasks above, served. */
export const Kit = TaskTest.consumer(all).pipe(Layer.provideMerge(handlers), Layer.provideMerge(TaskTest.layer))

/** The test of a row, with the tasks above. */
export const row = (
  name: string,
  body: () => Effect.Effect<void, unknown, Layer.Layer.Success<typeof Kit> | Scope.Scope>
) => it.scoped(name, () => Effect.provide(body(), Kit))

/** The states that a run has gone through. */
export const statesOf = ({ id }: { readonly id: TaskRun.RunId }) =>
  Effect.map(TaskTest.events, (events) => events.filter(({ run }) => run.id === id).map(({ state }) => state))

/** A new database file. */
export const temporaryFile = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return path.join(yield* fs.makeTempDirectoryScoped(), "tasks.db")
}).pipe(Effect.provide(NodeContext.layer))

/** A producer on a database file, with a connection of its own. */
export const producer = (filename: string) =>
  TaskManager.layer.pipe(Layer.provideMerge(SqliteBackend.layer({ filename })))

/** A worker of the tasks above on a database file, with a connection of its own, as another process would have. */
export const worker = (filename: string) =>
  TaskConsumer.layer(all, { grace: 0 }).pipe(Layer.provide(handlers), Layer.provideMerge(producer(filename)))

/** Opens a Layer as a process that the test ends when it likes; at the latest it ends with the test. */
export const open = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(layer, scope)
    return { context, close: Scope.close(scope, Exit.void) }
  })

const pause = Effect.withClock(Effect.sleep("5 millis"), Clock.make())

/** Asks again, in real time, until the record of a run is as it is to be. */
export const eventually = <E, R>(
  poll: Effect.Effect<TaskRun.TaskRun, E, R>,
  holds: (run: TaskRun.TaskRun) => boolean,
  patience = 2_000
): Effect.Effect<TaskRun.TaskRun, E, R> =>
  Effect.flatMap(poll, (run) => {
    if (holds(run)) {
      return Effect.succeed(run)
    }
    return patience === 0
      ? Effect.dieMessage(`the run stays ${run.state}`)
      : Effect.zipRight(pause, eventually(poll, holds, patience - 1))
  })

/** Waits, in real time, until a run has a state. */
export const becomes = <E, R>(
  { poll }: { readonly poll: Effect.Effect<TaskRun.TaskRun, E, R> },
  state: TaskRun.TaskRun["state"]
) => eventually(poll, (run) => run.state === state)

/** Queues a run, and waits in real time until a worker performs it. */
export const started = <T extends Task.Any, E, R>(queue: Effect.Effect<TaskRun.Handle<T>, E, R>) =>
  Effect.tap(queue, (run) => becomes(run, "running"))

/**
 * A process on a backend that several share. It dies, as by a `kill -9`, when it is told so; nothing of it is closed. Its test
 * is in virtual time, so nothing of it goes on afterwards either.
 */
export const mortal = <E>(backend: Layer.Layer<Backend.Backend, E>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      TaskConsumer.layer(all, { grace: 0 }).pipe(
        Layer.provide(handlers),
        Layer.provideMerge(TaskManager.layer),
        Layer.provideMerge(TaskTest.chaos({ seed: 1 })),
        Layer.provide(backend)
      ),
      scope
    )
    return { context, kill: Effect.flatMap(TaskTest.Chaos, ({ kill }) => kill).pipe(Effect.provide(context)) }
  })

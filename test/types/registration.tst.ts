import { Backend, Task, TaskConsumer, TaskEvents, TaskGroup, TaskManager, type TaskRun } from "@effect-tasks/core"
import { type Context, Effect, Layer, Schema, type Scope } from "effect"
import { describe, expect, test } from "tstyche"

const Greet = Task.make("Greet", { payload: { name: Schema.String } })
const Clean = Task.make("Clean")
const Draft = Task.make("Draft")
const tasks = { Greet, Clean, _Draft: Draft, retries: 3, make: () => Clean }

declare const runtimeQueue: TaskManager.RuntimeQueue
declare const launch: <A, E>(layer: Layer.Layer<A, E>) => void

const launched = <T extends Task.Any, R>(group: TaskGroup.TaskGroup<T>, handlers: Layer.Layer<R>) =>
  TaskConsumer.layer(group).pipe(
    Layer.provide(handlers),
    Layer.provide(TaskManager.layer),
    Layer.provide(Backend.layerMemory)
  )

describe("a group of a module", () => {
  test("knows each exported task, and nothing else", () => {
    const group = TaskGroup.fromModule(tasks)
    expect(group).type.toBe<TaskGroup.TaskGroup<typeof Greet | typeof Clean>>()
    expect<TaskGroup.Tasks<typeof group>>().type.toBe<typeof Greet | typeof Clean>()
  })

  test("a missing handler is a type error that names its task", () => {
    const complete = Layer.merge(
      Greet.toLayer(() => Effect.void),
      Clean.toLayer(() => Effect.void)
    )
    expect(launch).type.toBeCallableWith(launched(TaskGroup.fromModule(tasks), complete))
    const incomplete = launched(
      TaskGroup.fromModule(tasks),
      Greet.toLayer(() => Effect.void)
    )
    expect(launch).type.not.toBeCallableWith(incomplete)
    expect<Layer.Layer.Context<typeof incomplete>>().type.toBe<Task.Handler<"Clean">>()
  })

  test("merged groups know the tasks of all of them", () => {
    const merged = TaskGroup.merge(TaskGroup.make(Greet), TaskGroup.make(Clean), TaskGroup.make(Greet, Draft))
    expect(merged).type.toBe<TaskGroup.TaskGroup<typeof Greet | typeof Clean | typeof Draft>>()
    expect(TaskGroup.merge()).type.toBe<TaskGroup.TaskGroup<never>>()
  })
})

describe("what queues later", () => {
  test("takes the payload of its task", () => {
    expect(Greet.createRun).type.toBeCallableWith({ name: "a" }, { delay: "1 second" })
    expect(Greet.createRun).type.not.toBeCallableWith({ name: 1 })
    expect(Clean.createRun).type.toBeCallableWith()
    expect(runtimeQueue).type.toBeCallableWith(Greet, { name: "a" }, { priority: "high" })
    expect(runtimeQueue).type.not.toBeCallableWith(Greet, { name: 1 })
    expect(runtimeQueue(Greet, { name: "a" })).type.toBe<"accepted" | "full" | "closed">()
  })

  test("a run that is made gives the handle of its task", () => {
    expect(Greet.createRun({ name: "a" })).type.toBe<
      Effect.Effect<TaskRun.NewRun<typeof Greet>, Task.CreateError, TaskManager.TaskManager>
    >()
    const manager = Effect.flatMap(TaskManager.TaskManager, (manager) =>
      Effect.flatMap(Greet.createRun({ name: "a" }), manager.queueRun)
    )
    expect<Effect.Effect.Success<typeof manager>>().type.toBe<TaskRun.Handle<typeof Greet>>()
  })
})

describe("a handler of events", () => {
  test("is a plain function, or gives an Effect, whose services are asked for", () => {
    expect(TaskEvents.on("success", () => undefined)).type.toBe<
      Effect.Effect<void, never, TaskEvents.TaskEvents | Scope.Scope>
    >()
    expect(TaskEvents.on("success", async () => 1, { tag: "a" })).type.toBe<
      Effect.Effect<void, never, TaskEvents.TaskEvents | Scope.Scope>
    >()
    const needy = TaskEvents.on("all", ({ run }) => Effect.zipRight(Mailer, Effect.fail(run.id)))
    expect(needy).type.toBe<Effect.Effect<void, never, TaskEvents.TaskEvents | Scope.Scope | Mailer>>()
  })

  test("that gives an Effect only sometimes asks for its services all the same", () => {
    const sometimes = TaskEvents.on("all", ({ run }) => (run.attempt > 1 ? Effect.asVoid(Mailer) : undefined))
    expect(sometimes).type.toBe<Effect.Effect<void, never, TaskEvents.TaskEvents | Scope.Scope | Mailer>>()
  })

  test("is of a known state", () => {
    expect(TaskEvents.on).type.not.toBeCallableWith("done", () => undefined)
    expect(TaskEvents.off).type.not.toBeCallableWith("done", "tag")
  })
})

interface Mailer {
  readonly _: unique symbol
}
declare const Mailer: Context.Tag<Mailer, number>

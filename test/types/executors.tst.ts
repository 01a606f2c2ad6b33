import {
  Backend,
  RetryPolicy,
  Task,
  TaskConsumer,
  type TaskError,
  type TaskExecutor,
  TaskGroup,
  TaskManager
} from "@effect-tasks/core"
import { NodeExecutor } from "@effect-tasks/node"
import { Effect, Layer, Schema } from "effect"
import { describe, expect, test } from "tstyche"

const Hash = Task.make("Hash", { payload: { text: Schema.String }, success: Schema.String, executor: "thread" })
const Render = Task.make("Render", { executor: "process" })
const Both = TaskGroup.make(Hash, Render)

const remote = NodeExecutor.layer(Both, { entry: "/worker.js", thread: { poolSize: 2 } })

describe("a task that is performed elsewhere", () => {
  test("says where, by one of three words", () => {
    expect(Task.make).type.toBeCallableWith("Hash", { executor: "inline" })
    expect(Task.make).type.not.toBeCallableWith("Hash", { executor: "fiber" })
  })

  test("may fail as its executor does, and its retry schedule knows", () => {
    expect<TaskError.ExecutorCrashed>().type.toBeAssignableTo<Task.Failure<never>>()
    const isCrash = (failure: Task.Failure<never>) => failure._tag === "ExecutorCrashed"
    expect(Task.make).type.toBeCallableWith("Hash", { retry: RetryPolicy.make({ while: isCrash }) })
  })
})

describe("the handlers of an executor", () => {
  test("are the handlers of the tasks, and need nothing", () => {
    expect(remote).type.toBe<
      Layer.Layer<
        Task.Handler<"Hash"> | Task.Handler<"Render">,
        TaskError.DuplicateTask | TaskError.InvalidOption | TaskError.ExecutorUnavailable
      >
    >()
    const consumer = TaskConsumer.layer(Both).pipe(
      Layer.provide(remote),
      Layer.provide(TaskManager.layer),
      Layer.provide(Backend.layerMemory)
    )
    expect<Layer.Layer.Context<typeof consumer>>().type.toBe<never>()
  })

  test("of any executor need it", () => {
    expect<
      Layer.Layer.Context<ReturnType<typeof TaskExecutor.layer<typeof Hash>>>
    >().type.toBe<TaskExecutor.TaskExecutor>()
  })

  test("are served with all that the tasks of the group need", () => {
    const HashLive = Hash.toLayer(({ text }) => Effect.succeed(text))
    const RenderLive = Render.toLayer(() => Effect.void)
    expect(NodeExecutor.serve<typeof Hash, never>).type.toBeCallableWith(TaskGroup.make(Hash), HashLive)
    expect(NodeExecutor.serve<typeof Hash | typeof Render, never>).type.not.toBeCallableWith(Both, HashLive)
    expect(NodeExecutor.serve<typeof Hash | typeof Render, never>).type.toBeCallableWith(
      Both,
      Layer.merge(HashLive, RenderLive)
    )
  })

  test("that need a service are not complete", () => {
    class Mailer extends Effect.Tag("Mailer")<Mailer, { readonly send: Effect.Effect<void> }>() {}
    const RenderLive = Render.toLayer(() => Mailer.send)
    expect(NodeExecutor.serve<typeof Render, never>).type.not.toBeCallableWith(TaskGroup.make(Render), RenderLive)
  })
})

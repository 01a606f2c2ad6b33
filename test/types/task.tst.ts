import { CurrentRun, RetryPolicy, Task, type TaskError, type TaskManager, type TaskRun } from "@effect-tasks/core"
import { Context, Effect, type Layer, Schedule, Schema } from "effect"
import { describe, expect, test } from "tstyche"

class SmtpError extends Schema.TaggedError<SmtpError>()("SmtpError", { code: Schema.Number }) {}
class Limits extends Context.Tag("Limits")<Limits, { readonly retries: number }>() {}

const SendEmail = Task.make("SendEmail", {
  payload: { to: Schema.String, subject: Schema.String },
  success: Schema.Struct({ messageId: Schema.String }),
  error: SmtpError
})

describe("a payload", () => {
  test("must fit its schema", () => {
    expect(SendEmail.queue).type.toBeCallableWith({ to: "a", subject: "b" })
    expect(SendEmail.queue).type.not.toBeCallableWith({ to: "a" })
    expect(SendEmail.queue).type.not.toBeCallableWith({ to: 1, subject: "b" })
    expect(SendEmail.queueAll).type.not.toBeCallableWith([{ to: "a" }])
    expect(SendEmail.execute).type.not.toBeCallableWith({ subject: "b" })
  })

  test("is left out where the task has none", () => {
    const Clean = Task.make("Clean")
    expect(Clean.queue).type.toBeCallableWith()
    expect(Clean.queue).type.toBeCallableWith(undefined, { delay: "1 second" })
  })

  test("may be any schema without services", () => {
    const Double = Task.make("Double", { payload: Schema.NumberFromString })
    expect(Double.queue).type.toBeCallableWith(1)
    expect(Double.queue).type.not.toBeCallableWith("1")
    const needy = Schema.declare((u): u is string => typeof u === "string").pipe(
      (schema) => schema as Schema.Schema<string, string, Limits>
    )
    expect(Task.make).type.not.toBeCallableWith("Needy", { payload: needy })
  })
})

describe("a retry schedule", () => {
  test("takes the task's error, a timeout or a defect", () => {
    Task.make("Ok", {
      error: SmtpError,
      retry: Schedule.recurs(3).pipe(
        Schedule.whileInput((failure: Task.Failure<SmtpError>) => failure._tag !== "SmtpError" || failure.code >= 500)
      )
    })
    const isWorthIt = (failure: Task.Failure<SmtpError>) => failure._tag !== "TaskDefect"
    Task.make("Sugar", { error: SmtpError, retry: RetryPolicy.make({ retries: 3, while: isWorthIt }) })
    Task.make("Plain", { error: SmtpError, retry: RetryPolicy.make({ retries: 3, delay: "1 second", backoff: 2 }) })
    Task.make("Default", { error: SmtpError, retry: RetryPolicy.make() })
    Task.make("Typed", { error: SmtpError, retry: RetryPolicy.make<Task.Failure<SmtpError>>({ retries: 3 }) })
  })

  test("does not compile with the error of another task", () => {
    expect(Task.make).type.not.toBeCallableWith("Wrong", {
      error: SmtpError,
      retry: Schedule.recurs(3).pipe(Schedule.whileInput((failure: "other") => failure === "other"))
    })
  })

  test("does not compile with a service requirement", () => {
    const needy = Schedule.recurs(3).pipe(Schedule.tapOutput(() => Effect.asVoid(Limits)))
    expect(needy).type.toBeAssignableTo<Schedule.Schedule<number, unknown, Limits>>()
    expect(Task.make).type.not.toBeCallableWith("Needy", { retry: needy })
    expect(Task.make).type.toBeCallableWith("Free", { retry: Schedule.recurs(3) })
  })
})

describe("what comes back", () => {
  test("queue gives a typed handle and needs only the manager", () => {
    expect(SendEmail.queue({ to: "a", subject: "b" })).type.toBe<
      Effect.Effect<TaskRun.Handle<typeof SendEmail>, Task.QueueError, TaskManager.TaskManager>
    >()
  })

  test("execute needs the handler", () => {
    expect<Effect.Effect.Context<ReturnType<typeof SendEmail.execute>>>().type.toBe<
      TaskManager.TaskManager | Task.Handler<"SendEmail">
    >()
  })

  test("waiting gives the typed success or the typed error", () => {
    type Wait = ReturnType<typeof SendEmail.queueAndWait>
    expect<Effect.Effect.Success<Wait>>().type.toBe<{ readonly messageId: string }>()
    expect<Effect.Effect.Error<Wait>>().type.toBeAssignableFrom<
      | SmtpError
      | TaskError.TaskTimeout
      | TaskError.TaskDefect
      | TaskError.TaskCancelled
      | TaskError.TaskAborted
      | TaskError.WaitTimeout
    >()
    expect<Effect.Effect.Error<Wait>>().type.not.toBeAssignableFrom<string>()
  })
})

describe("CurrentRun", () => {
  const reads = Effect.map(CurrentRun.CurrentRun, (run) => run.attempt)

  test("is given to a handler", () => {
    const layer = SendEmail.toLayer(() => Effect.as(reads, { messageId: "1" }))
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<never>()
  })

  test("does not compile anywhere else", () => {
    expect(Effect.runPromise<number, never>).type.not.toBeCallableWith(reads)
    expect(Effect.runPromise<never, never>).type.not.toBeCallableWith(CurrentRun.abort("no"))
    expect(Effect.runPromise<never, never>).type.not.toBeCallableWith(CurrentRun.snooze("1 second"))
    expect(Effect.runPromise<void, never>).type.not.toBeCallableWith(CurrentRun.progress(1))
  })
})

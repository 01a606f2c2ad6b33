import { Backend, Task, TaskConsumer, type TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, Layer, Schema } from "effect"
import { describe, expect, test } from "tstyche"

const SendEmail = Task.make("SendEmail", { payload: { to: Schema.String } })
const Digest = Task.make("Digest", { payload: { day: Schema.String } })
const Mail = TaskGroup.make(SendEmail, Digest)

const SendEmailLive = SendEmail.toLayer(({ to }) => Effect.log(to))
const DigestLive = Digest.toLayer(({ day }) => Effect.log(day))

declare const launch: <A, E>(layer: Layer.Layer<A, E>) => void

const complete = TaskConsumer.layer(Mail).pipe(
  Layer.provide([SendEmailLive, DigestLive]),
  Layer.provide(TaskManager.layer),
  Layer.provide(Backend.layerMemory)
)

const incomplete = TaskConsumer.layer(Mail).pipe(
  Layer.provide(SendEmailLive),
  Layer.provide(TaskManager.layer),
  Layer.provide(Backend.layerMemory)
)

describe("the handlers of a consumer", () => {
  test("all of them are needed, and nothing more", () => {
    expect(launch).type.toBeCallableWith(complete)
    expect<Layer.Layer.Context<typeof complete>>().type.toBe<never>()
  })

  test("a missing one is an error that names its task", () => {
    expect(launch).type.not.toBeCallableWith(incomplete)
    expect<Layer.Layer.Context<typeof incomplete>>().type.toBe<Task.Handler<"Digest">>()
  })

  test("services that a handler needs stay in the Layer's requirements", () => {
    class Mailer extends Effect.Tag("Mailer")<Mailer, { readonly send: Effect.Effect<void> }>() {}
    const layer = SendEmail.toLayer(() => Mailer.send)
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<Mailer>()
  })

  test("a handler fails only with the task's own error", () => {
    expect(SendEmail.toLayer).type.not.toBeCallableWith(() => Effect.fail("smtp" as const))
  })

  test("a handler gives the task's own success", () => {
    const Count = Task.make("Count", { success: Schema.Number })
    expect(Count.toLayer).type.toBeCallableWith(() => Effect.succeed(1))
    expect(Count.toLayer).type.not.toBeCallableWith(() => Effect.succeed("1"))
  })

  test("the handlers of a group are given by name, all of them", () => {
    expect(Mail.toLayer).type.toBeCallableWith({ SendEmail: () => Effect.void, Digest: () => Effect.void })
    expect(Mail.toLayer).type.not.toBeCallableWith({ SendEmail: () => Effect.void })
  })

  test("what is added to a consumer needs its handlers too: a missing one names its task", () => {
    const added = Effect.flatMap(TaskConsumer.TaskConsumer, (consumer) => consumer.add(Mail))
    expect<Effect.Effect.Context<typeof added>>().type.toBe<
      TaskConsumer.TaskConsumer | Task.Handler<"SendEmail"> | Task.Handler<"Digest">
    >()
    const partly = Effect.provide(added, SendEmailLive)
    expect<Effect.Effect.Context<typeof partly>>().type.toBe<TaskConsumer.TaskConsumer | Task.Handler<"Digest">>()
    expect<Effect.Effect.Error<typeof added>>().type.toBe<TaskError.DuplicateTask>()
  })
})

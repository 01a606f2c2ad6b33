import { Subscription, TaskSource } from "@effect-tasks/core"
import { type Cause, Context, Effect, type Layer, type Option, type Schedule, type Scope, Stream } from "effect"
import { describe, expect, it } from "tstyche"

class Database extends Context.Tag("Database")<Database, number>() {}
class Mailer extends Context.Tag("Mailer")<Mailer, number>() {}
class Lost {
  readonly _tag = "Lost"
}

declare const send: Effect.Effect<number, "bounced", Mailer>
declare const find: Effect.Effect<Option.Option<typeof send>, Lost, Database>
declare const messages: Stream.Stream<Subscription.Message<string>, Lost, Database>
declare const connect: Effect.Effect<typeof messages, "refused", Database | Scope.Scope>

describe("a source", () => {
  it("keeps the errors of tasks and of finding them apart, and what both need", () => {
    const source = TaskSource.polling({ interval: 1, produce: find })
    expect(source).type.toBe<TaskSource.TaskSource<"bounced", Lost, Database | Mailer>>()
    expect(TaskSource.polling({ interval: 1, produce: Effect.succeed(undefined) })).type.toBe<TaskSource.TaskSource>()
  })

  it("may back off by its producer's own error only", () => {
    const retry = null as unknown as Schedule.Schedule<number, "other">
    expect(TaskSource.polling).type.not.toBeCallableWith({ interval: 1, produce: find, backoff: retry })
  })

  it("is reported of with both errors", () => {
    const source = TaskSource.polling({ interval: 1, produce: find })
    const consumer = null as unknown as TaskSource.ParallelLimitedConsumer
    const report = consumer.consume(source)
    expect<Effect.Effect.Success<typeof report>["failures"]>().type.toBe<
      ReadonlyArray<Cause.Cause<"bounced" | Cause.TimeoutException>>
    >()
    expect<Effect.Effect.Success<typeof report>["productionFailures"]>().type.toBe<ReadonlyArray<Cause.Cause<Lost>>>()
  })
})

describe("a subscription", () => {
  it("gives its handler the body of its messages, whichever form the pull has", () => {
    Subscription.make("a", {
      pull: messages,
      handle: (body) => {
        expect(body).type.toBe<string>()
        return Effect.void
      }
    })
    Subscription.make("b", {
      pull: connect,
      handle: (body) => {
        expect(body).type.toBe<string>()
        return Effect.void
      },
      isFatal: (failure) => {
        expect(failure).type.toBe<Subscription.PullFailure<Lost | "refused">>()
        return false
      }
    })
  })

  it("needs what its pull and its handler need, but no Scope", () => {
    const subscription = Subscription.make("a", {
      pull: connect,
      handle: () =>
        Effect.zipRight(
          Effect.addFinalizer(() => Effect.void),
          send
        )
    })
    expect(subscription).type.toBe<Subscription.Subscription<Database | Mailer>>()
    const other = Subscription.make("b", { pull: Stream.never, handle: () => Effect.void })
    expect(other).type.toBe<Subscription.Subscription>()
    const layer = Subscription.layer([subscription, other])
    expect<Layer.Layer.Context<typeof layer>>().type.toBe<Database | Mailer>()
  })
})

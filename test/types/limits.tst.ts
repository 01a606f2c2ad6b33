import { Limit, Task } from "@effect-tasks/core"
import { Schema } from "effect"
import { describe, expect, it } from "tstyche"

const payload = { who: Schema.String, at: Schema.Date }

const A = Task.make("A", { payload })
const who = (payload: { readonly who: string }) => payload.who
const at = (payload: { readonly at: Date }) => payload.at.getTime()

describe("the limits of a task", () => {
  it("have keys of the task's own payload, as it is decoded", () => {
    expect(
      Task.make("A", {
        payload,
        limit: Limit.all(
          Limit.concurrency({ max: 1, key: who }),
          Limit.tokenBucket({
            limit: 1,
            every: "1 second",
            key: (payload: typeof A.payloadSchema.Type) => at(payload)
          }),
          Limit.concurrency({ max: 20 }),
          Limit.perConsumer({ max: 2 })
        )
      })
    ).type.not.toRaiseError()
    expect(Task.make("A", { payload, limit: Limit.concurrency({ max: 1, key: at }) })).type.not.toRaiseError()
    expect(
      Task.make("A", {
        payload: { at: Schema.Date },
        limit: Limit.all(Limit.concurrency({ max: 1, key: at }), Limit.concurrency({ max: 1, key: who }))
      })
    ).type.toRaiseError("who")
    expect(Limit.concurrency).type.not.toBeCallableWith({ max: 1, key: (payload: { readonly at: Date }) => payload.at })
  })

  it("may be given to tasks of any payload without a key", () => {
    expect(Task.make("A", { limit: Limit.concurrency({ max: 1 }) })).type.not.toRaiseError()
    expect(
      Task.make("A", { payload: Schema.String, limit: Limit.fixedWindow({ limit: 1, window: "1 day" }) })
    ).type.not.toRaiseError()
  })

  it("have a number", () => {
    expect(Limit.concurrency({})).type.toRaiseError("max")
  })
})

describe("an idempotency key", () => {
  it("is debounced, throttled, or held, but not two of these", () => {
    expect(
      A.queue(
        { who: "a", at: new Date(0) },
        { idempotencyKey: { key: "k", debounce: "1 second", maxWait: "1 minute" } }
      )
    ).type.not.toRaiseError()
    expect(
      A.queue({ who: "a", at: new Date(0) }, { idempotencyKey: { key: "k", onConflict: "drop" } })
    ).type.toRaiseError()
  })
})

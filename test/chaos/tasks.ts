import { CurrentRun, Limit, Task, TaskGroup } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { say } from "./lines.js"

/** Short, so that takeovers are seen within the test. */
export const lease = "2 seconds"

export const Work = Task.make("Work", {
  payload: { n: Schema.Int, millis: Schema.Int },
  success: Schema.Int,
  // a run may be unlucky more often than three times here: the tests kill without looking
  maxCrashes: 20
})

const accountOf = ({ account }: { readonly account: string }) => account

/** What the limits of `Limited` are, and of the queue that it waits in. */
export const limits = { all: 6, perAccount: 2, queue: 5, rate: { limit: 40, every: 1_000, burst: 10 } }

export const Limited = Task.make("Limited", {
  payload: { account: Schema.String, millis: Schema.Int },
  queue: "limited",
  limit: Limit.all(
    Limit.concurrency({ max: limits.all }),
    Limit.concurrency({ max: limits.perAccount, key: accountOf }),
    Limit.tokenBucket({ ...limits.rate, key: accountOf })
  ),
  maxCrashes: 20
})

export const Chaos = TaskGroup.make(Work, Limited)

export const LimitedLive = Limited.toLayer(({ millis }) => Effect.sleep(millis))

export const WorkLive = Work.toLayer(({ millis, n }) =>
  Effect.gen(function* () {
    const { id } = yield* CurrentRun.CurrentRun
    yield* Effect.sleep(millis)
    yield* say("performed", id)
    return n
  })
)

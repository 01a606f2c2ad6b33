/** Handlers of events: plain functions and Effects, with tags and without, and how they are kept apart. */

import { assert, describe, it } from "@effect/vitest"
import { Backend, Task, TaskConsumer, TaskEvents, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Deferred, Effect, Exit, Layer, Schema, Scope } from "effect"
import { quietly } from "./fixtures/logging.js"

const Greet = Task.make("Greet", { payload: { name: Schema.String }, success: Schema.String })
const Group = TaskGroup.make(Greet)
const GreetLive = Greet.toLayer(({ name }) => Effect.succeed(`hello ${name}`))

const runtime = Layer.provideMerge(TaskManager.layer, Backend.layerMemory)

/** Lets all fibers of this process rest. */
const rest = Effect.promise(() => new Promise<void>((resolve) => setTimeout(() => setImmediate(() => resolve()), 0)))

/** Performs one run to its end, and lets all handlers see it. */
const perform = (name: string) => Effect.zipLeft(Greet.queueAndWait({ name }), rest)

const withConsumer = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.zipRight(TaskConsumer.make(Group, { grace: 0 }), self).pipe(Effect.provide([GreetLive, runtime]), quietly)

describe("TaskEvents.on", () => {
  it.scoped("takes a plain function as well as an Effect, one event after the other", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TaskEvents.on("all", ({ state }) => seen.push(`plain ${state}`))
      yield* TaskEvents.on("success", ({ state }) => Effect.sync(() => seen.push(`effect ${state}`)))
      yield* perform("a")
      assert.sameMembers(seen, ["plain init", "plain queued", "plain running", "plain success", "effect success"])
      assert.deepStrictEqual(
        seen.filter((line) => line.startsWith("plain")),
        ["plain init", "plain queued", "plain running", "plain success"]
      )
    }).pipe(withConsumer)
  )

  it.scoped("waits for the promise of a plain function before the next event", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const gates: Array<() => void> = []
      yield* TaskEvents.on("success", async ({ run }) => {
        steps.push(`begin ${(run.payload as { name: string }).name}`)
        await new Promise<void>((resolve) => gates.push(resolve))
        steps.push("end")
      })
      yield* perform("a")
      yield* perform("b")
      assert.deepStrictEqual(steps, ["begin a"])
      gates[0]?.()
      yield* rest
      assert.deepStrictEqual(steps, ["begin a", "end", "begin b"])
    }).pipe(withConsumer)
  )

  // a handler that raises, in the systems that people come from, broke queueing, or made a failure of a success
  it.scoped(
    "a handler that throws, rejects, fails or dies touches neither queueing, nor the run, nor other handlers",
    () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        let raised = 0
        const raise = () => {
          raised++
          throw new Error("thrown")
        }
        yield* TaskEvents.on("all", raise)
        yield* TaskEvents.on("all", () =>
          Effect.zipRight(
            Effect.sync(() => raised++),
            Effect.fail("failed")
          )
        )
        yield* TaskEvents.on("all", () =>
          Effect.zipRight(
            Effect.sync(() => raised++),
            Effect.die("died")
          )
        )
        yield* TaskEvents.on("all", async () => {
          raised++
          throw new Error("rejected")
        })
        yield* TaskEvents.on("all", ({ state }) => seen.push(state))
        assert.strictEqual(yield* perform("a"), "hello a")
        yield* rest
        assert.deepStrictEqual(seen, ["init", "queued", "running", "success"])
        assert.strictEqual(raised, 16)
        const manager = yield* TaskManager.TaskManager
        const { failure, success } = yield* manager.counts()
        assert.deepStrictEqual({ failure, success }, { failure: 0, success: 1 })
      }).pipe(withConsumer)
  )
})

describe("a tag", () => {
  it.scoped("of one state and tag there is one handler, the latest", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const note = (who: string) => (event: { readonly state: string }) => seen.push(`${who} ${event.state}`)
      yield* TaskEvents.on("success", note("first"), { tag: "a" })
      yield* TaskEvents.on("success", note("second"), { tag: "a" })
      yield* TaskEvents.on("success", note("other tag"), { tag: "b" })
      yield* TaskEvents.on("queued", note("other state"), { tag: "a" })
      yield* TaskEvents.on("success", note("no tag"))
      yield* TaskEvents.on("success", note("no tag either"))
      yield* perform("a")
      assert.sameMembers(seen, [
        "second success",
        "other tag success",
        "other state queued",
        "no tag success",
        "no tag either success"
      ])
    }).pipe(withConsumer)
  )

  it.scoped("what happened before a replacement goes to the earlier handler, each event to one of them", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const slow = ({ run }: { readonly run: { readonly id: string } }) =>
        Effect.zipRight(
          Deferred.await(gate),
          Effect.sync(() => seen.push(`slow ${run.id}`))
        )
      yield* TaskEvents.on("queued", slow, { tag: "a" })
      const first = yield* Greet.queue({ name: "a" })
      const second = yield* Greet.queue({ name: "b" })
      yield* TaskEvents.on("queued", ({ run }) => seen.push(`quick ${run.id}`), { tag: "a" })
      const third = yield* Greet.queue({ name: "c" })
      yield* rest
      assert.deepStrictEqual(seen, [`quick ${third.id}`])
      yield* Deferred.succeed(gate, undefined)
      yield* rest
      assert.deepStrictEqual(seen, [`quick ${third.id}`, `slow ${first.id}`, `slow ${second.id}`])
    }).pipe(withConsumer)
  )

  it.scoped("a scope takes away its own handler only; what it replaced stays replaced", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const register = (who: string) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          yield* Scope.extend(
            TaskEvents.on("success", () => seen.push(who), { tag: "a" }),
            scope
          )
          return { close: Scope.close(scope, Exit.void) }
        })
      const first = yield* register("first")
      const second = yield* register("second")
      yield* first.close
      yield* perform("a")
      assert.deepStrictEqual(seen, ["second"])
      yield* second.close
      yield* perform("b")
      assert.deepStrictEqual(seen, ["second"])
    }).pipe(withConsumer)
  )

  it.scoped("off takes a handler away, and says whether it was there", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TaskEvents.on("success", () => seen.push("a"), { tag: "a" })
      yield* TaskEvents.on("success", () => seen.push("b"), { tag: "b" })
      assert.isFalse(yield* TaskEvents.off("failure", "a"))
      assert.isTrue(yield* TaskEvents.off("success", "a"))
      assert.isFalse(yield* TaskEvents.off("success", "a"))
      yield* perform("a")
      assert.deepStrictEqual(seen, ["b"])
    }).pipe(withConsumer)
  )
})

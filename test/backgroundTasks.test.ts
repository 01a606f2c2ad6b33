/** What requests leave to be done after their responses, over a real server. */

import http from "node:http"
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Backend, BackgroundTasks, Task, TaskManager } from "@effect-tasks/core"
import { Context, Deferred, Effect, Exit, Layer, Schema, Scope, Stream } from "effect"
import { quietly } from "./fixtures/logging.js"

const Note = Task.make("Note", { payload: { n: Schema.Int } })

const runtime = Layer.provideMerge(TaskManager.layer, Backend.layerMemory)

type App = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  BackgroundTasks.BackgroundTasks | TaskManager.TaskManager | Scope.Scope
>

/** Serves one route; gives its address, and what stops server and background in this order. */
const serve = (handler: App, options?: BackgroundTasks.Options) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const app = HttpRouter.empty.pipe(HttpRouter.get("/", handler), BackgroundTasks.middleware)
    const server = NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1" })
    const context = yield* Layer.buildWithScope(
      HttpServer.serve(app).pipe(Layer.provideMerge(server), Layer.provide(BackgroundTasks.layer(options))),
      scope
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    assert(address._tag === "TcpAddress")
    const url = `http://127.0.0.1:${address.port}/`
    return { url, close: Scope.close(scope, Exit.void) }
  })

const get = (url: string) =>
  Effect.promise(async (signal) => {
    const response = await fetch(url, { signal })
    return { status: response.status, text: await response.text() }
  })

const queued = Effect.flatMap(TaskManager.TaskManager, (manager) =>
  Effect.map(manager.counts(), (counts) => counts.queued)
)

const tasks = BackgroundTasks.BackgroundTasks

describe("BackgroundTasks", () => {
  it.live("the client has the whole body before anything begins; then all is done in order, each by itself", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const step = (name: string) => Effect.sync(() => steps.push(name))
      const body = Stream.make("one ", "two ", "three").pipe(Stream.tap(() => Effect.sleep("10 millis")))
      const done = yield* Deferred.make<void>()
      const { close, url } = yield* serve(
        Effect.gen(function* () {
          const background = yield* tasks
          yield* background.run(step("first"))
          yield* background.run(Effect.zipRight(step("failing"), Effect.fail("failed")))
          const id = yield* background.add(Note, { n: 1 })
          yield* background.run(Effect.zipRight(step("last"), Deferred.succeed(done, undefined)))
          const text = Stream.concat(Stream.make(`${id} `), body).pipe(Stream.ensuring(step("sent")))
          return HttpServerResponse.stream(Stream.encodeText(text))
        })
      )
      const { text } = yield* get(url)
      yield* Deferred.await(done)
      assert.deepStrictEqual(steps, ["sent", "first", "failing", "last"])
      const manager = yield* TaskManager.TaskManager
      const [run] = (yield* manager.runs()).items
      assert.strictEqual(text, `${run?.id} one two three`)
      yield* close
    }).pipe(Effect.provide(runtime), quietly)
  )

  it.live("nothing is done when the handler fails, or answers with 500; with 404 it is", () =>
    Effect.gen(function* () {
      const answers = [
        Effect.fail("failed"),
        Effect.die("died"),
        Effect.succeed(HttpServerResponse.empty({ status: 503 })),
        Effect.succeed(HttpServerResponse.empty({ status: 404 }))
      ]
      let calls = 0
      const { close, url } = yield* serve(
        Effect.gen(function* () {
          yield* (yield* tasks).add(Note, { n: 1 })
          return yield* answers[calls++]!
        })
      )
      const statuses = yield* Effect.forEach(answers, () => Effect.map(get(url), ({ status }) => status))
      yield* close
      assert.deepStrictEqual(statuses, [500, 500, 503, 404])
      assert.strictEqual(yield* queued, 1)
    }).pipe(Effect.provide(runtime), quietly)
  )

  it.live("a run that is added with mode now is queued before the answer, whatever becomes of the request", () =>
    Effect.gen(function* () {
      const counts: Array<number> = []
      const { close, url } = yield* serve(
        Effect.gen(function* () {
          yield* (yield* tasks).add(Note, { n: 1 }, { mode: "now" })
          counts.push(yield* queued)
          return yield* Effect.fail("failed")
        })
      )
      yield* get(url)
      yield* close
      assert.deepStrictEqual(counts, [1])
    }).pipe(Effect.provide(runtime), quietly)
  )

  it.live("a client that goes away before the answer leaves nothing to be done", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const ended = yield* Deferred.make<void>()
      const { close, url } = yield* serve(
        Effect.gen(function* () {
          yield* (yield* tasks).add(Note, { n: 1 })
          yield* Deferred.succeed(begun, undefined)
          return yield* Effect.ensuring(Effect.never, Deferred.succeed(ended, undefined))
        })
      )
      const asking = yield* Effect.fork(get(url))
      yield* Deferred.await(begun)
      yield* asking.interruptAsFork(asking.id())
      yield* Deferred.await(ended)
      yield* close
      assert.strictEqual(yield* queued, 0)
    }).pipe(Effect.provide(runtime), quietly)
  )

  it.live("the end of the server waits for what is under way, for as long as the grace", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const note = (line: string) => Effect.sync(() => log.push(line))
      const handler = (effect: Effect.Effect<unknown>) =>
        Effect.flatMap(tasks, (background) => Effect.as(background.run(effect), HttpServerResponse.empty()))
      const patient = yield* serve(handler(Effect.zipRight(Effect.sleep("50 millis"), note("finished"))))
      yield* get(patient.url)
      yield* patient.close
      assert.deepStrictEqual(log, ["finished"])
      const cut = yield* serve(handler(Effect.onInterrupt(Effect.never, () => note("interrupted"))), { grace: 10 })
      yield* get(cut.url)
      yield* cut.close
      assert.deepStrictEqual(log, ["finished", "interrupted"])
    }).pipe(Effect.provide(runtime), quietly)
  )
})

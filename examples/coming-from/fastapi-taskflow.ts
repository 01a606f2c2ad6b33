/*
 * For people who know fastapi-taskflow: a web application that sends mail after its responses. The program calls its own
 * endpoints, restarts the application on the same file, prints the history of both instances, and checks what it claims.
 */
import { createServer } from "node:http"
import {
  FetchHttpClient,
  FileSystem,
  HttpClient,
  HttpClientRequest,
  HttpClientResponse,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse,
  Path
} from "@effect/platform"
import { NodeContext, NodeHttpServer } from "@effect/platform-node"
import { BackgroundTasks, RetryPolicy, Task, TaskConsumer, TaskGroup, TaskManager, TaskRun } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Console, Context, Effect, Layer, Schema } from "effect"
import { conclude, run, table, until, warningsOnly } from "./report.js"

class SmtpError extends Schema.TaggedError<SmtpError>()("SmtpError", { code: Schema.Number }) {}

const SendEmail = Task.make("SendEmail", {
  payload: { to: Schema.String, subject: Schema.String },
  error: SmtpError,
  retry: RetryPolicy.make({ retries: 2, delay: "50 millis" })
})

const SendEmailLive = SendEmail.toLayer(({ subject, to }) =>
  to.includes("@") ? Effect.log(`${subject} to ${to}`) : new SmtpError({ code: 550 })
)

/** What the endpoints show of a run. */
const Shown = Schema.Struct({
  id: TaskRun.RunId,
  to: Schema.String,
  subject: Schema.String,
  state: Schema.String,
  attempts: Schema.Number,
  consumer: Schema.String,
  log: Schema.Array(Schema.String)
})

const show = (run: TaskRun.TaskRun, log: ReadonlyArray<string> = []) =>
  Effect.map(Schema.decodeUnknown(SendEmail.payloadSchema)(run.payload), ({ subject, to }) => ({
    id: run.id,
    to,
    subject,
    state: run.state,
    attempts: run.attempts.length,
    consumer: run.attempts.at(-1)?.consumer ?? "",
    log
  }))

const Signup = Schema.Struct({ email: Schema.String })
const Queued = Schema.Struct({ welcome: TaskRun.RunId, reminder: TaskRun.RunId })
const ById = Schema.Struct({ id: TaskRun.RunId })

/** POST /signup: the mail is queued when the response has been sent; the reminder is durable before that. */
const signup = Effect.gen(function* () {
  const { email } = yield* HttpServerRequest.schemaBodyJson(Signup)
  const tasks = yield* BackgroundTasks.BackgroundTasks
  const welcome = yield* tasks.add(SendEmail, { to: email, subject: "welcome" })
  const reminder = yield* tasks.add(SendEmail, { to: email, subject: "reminder" }, { delay: "7 days", mode: "now" })
  return yield* HttpServerResponse.json({ welcome, reminder }, { status: 202 })
})

/** GET /runs: the newest, whichever instance performed them. */
const listRuns = Effect.gen(function* () {
  const { items } = yield* (yield* TaskManager.TaskManager).runs({ limit: 100 })
  return yield* HttpServerResponse.json(yield* Effect.forEach(items, (run) => show(run)))
})

/** GET /runs/:id, with its log. */
const getRun = Effect.gen(function* () {
  const { id } = yield* HttpRouter.schemaPathParams(ById)
  const manager = yield* TaskManager.TaskManager
  const run = yield* manager.get(id)
  const lines = yield* manager.logs(id)
  return yield* HttpServerResponse.json(
    yield* show(
      run,
      lines.map(({ message }) => message)
    )
  )
}).pipe(Effect.catchTag("RunNotFound", () => HttpServerResponse.empty({ status: 404 })))

/** POST /runs/:id/now: what waits is performed at once. */
const hurry = Effect.gen(function* () {
  const { id } = yield* HttpRouter.schemaPathParams(ById)
  const result = yield* (yield* TaskManager.TaskManager).edit(id, { delay: 0 })
  return yield* HttpServerResponse.json({ result })
})

const app = HttpRouter.empty.pipe(
  HttpRouter.post("/signup", signup),
  HttpRouter.get("/runs", listRuns),
  HttpRouter.get("/runs/:id", getRun),
  HttpRouter.post("/runs/:id/now", hurry),
  BackgroundTasks.middleware
)

/** One instance of the application. */
const Application = (filename: string, name: string) =>
  HttpServer.serve(app).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })),
    Layer.provide(BackgroundTasks.layer()),
    Layer.provide(TaskConsumer.layer(TaskGroup.make(SendEmail), { name }).pipe(Layer.provide(SendEmailLive))),
    Layer.provide(TaskManager.layer),
    Layer.provide(SqliteBackend.layer({ filename, retention: { success: "7 days" } }))
  )

/** The endpoints of an instance, as a client calls them. */
const clientOf = (url: string) =>
  Effect.map(HttpClient.HttpClient, (http) => {
    const client = http.pipe(HttpClient.mapRequest(HttpClientRequest.prependUrl(url)))
    const ok = HttpClient.filterStatusOk(client)
    return {
      signup: (email: string) =>
        HttpClientRequest.post("/signup").pipe(
          HttpClientRequest.bodyJson({ email }),
          Effect.flatMap(ok.execute),
          Effect.flatMap(HttpClientResponse.schemaBodyJson(Queued))
        ),
      runs: Effect.flatMap(ok.get("/runs"), HttpClientResponse.schemaBodyJson(Schema.Array(Shown))),
      /** A run is there when its response has been sent, or a moment later; until then it is not found. */
      ended: (id: TaskRun.RunId) =>
        until(
          Effect.flatMap(client.get(`/runs/${id}`), (response) =>
            response.status === 404 ? Effect.succeed(undefined) : HttpClientResponse.schemaBodyJson(Shown)(response)
          ),
          (run) => run?.state === "success" || run?.state === "failure"
        ),
      hurry: (id: TaskRun.RunId) => Effect.scoped(ok.post(`/runs/${id}/now`))
    }
  })

/** Starts an instance, uses its endpoints, and stops it in order. */
const during = <A, E, R>(
  instance: ReturnType<typeof Application>,
  use: (client: Effect.Effect.Success<ReturnType<typeof clientOf>>) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const { address } = Context.get(yield* Layer.build(instance), HttpServer.HttpServer)
    const url = address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}` : ""
    return yield* Effect.flatMap(clientOf(url), use)
  }).pipe(Effect.scoped)

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const filename = path.join(yield* fs.makeTempDirectoryScoped(), "tasks.db")

  const first = yield* during(Application(filename, "first"), (client) =>
    Effect.gen(function* () {
      const ada = yield* client.signup("ada@example.com")
      const nobody = yield* client.signup("nobody")
      return { ada, sent: yield* client.ended(ada.welcome), failed: yield* client.ended(nobody.welcome) }
    })
  )

  // the same file, a new process
  const second = yield* during(Application(filename, "second"), (client) =>
    Effect.gen(function* () {
      const eve = yield* client.signup("eve@example.com")
      yield* client.ended(eve.welcome)
      yield* client.hurry(first.ada.reminder)
      return { reminded: yield* client.ended(first.ada.reminder), runs: yield* client.runs }
    })
  )

  yield* report(first, second)
})

type Run = typeof Shown.Type | undefined

const report = (
  { failed, sent }: { readonly failed: Run; readonly sent: Run },
  { reminded, runs }: { readonly reminded: Run; readonly runs: ReadonlyArray<typeof Shown.Type> }
) =>
  Effect.gen(function* () {
    const instanceOf = ({ consumer }: typeof Shown.Type) => consumer.split("-")[0]
    const rows = runs.map((run) => [run.to, run.subject, run.state, run.attempts, instanceOf(run)])
    yield* Console.log(`${table(["to", "subject", "state", "attempts", "instance"], rows)}\n`)
    const welcomed = runs.filter(({ state, subject }) => subject === "welcome" && state === "success")
    yield* conclude(
      Object.entries({
        "what was left to be done was done after the response, and its log is kept":
          sent?.state === "success" && sent.log.join() === "welcome to ada@example.com",
        "a mail that fails was tried three times": failed?.state === "failure" && failed.attempts === 3,
        "what waited has survived the restart, and was performed by the second instance":
          reminded?.state === "success" && instanceOf(reminded) === "second",
        "the history is one for both instances": welcomed.map(instanceOf).sort().join() === "first,second",
        "nothing is lost: each signup has its two runs": runs.length === 6
      })
    )
  })

run(program.pipe(Effect.scoped, Effect.provide([FetchHttpClient.layer, NodeContext.layer, warningsOnly])))

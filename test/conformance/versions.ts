import { assert } from "@effect/vitest"
import { Task, TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Effect, HashMap, Logger, Schema } from "effect"
import { advance, type Family, openProcess, serve } from "./harness.js"
import { becomes, Oops } from "./observing.js"

const First = Task.make("Greet", { payload: { name: Schema.String } })

const Second = Task.make("Greet", {
  version: 2,
  payload: { first: Schema.String, last: Schema.String },
  upcasts: { 1: Task.upcast({ name: Schema.String }, toTwoNames) }
})

const Third = Task.make("Greet", {
  version: 3,
  payload: { first: Schema.String, last: Schema.String, at: Schema.Date },
  success: Schema.String,
  upcasts: {
    1: Task.upcast({ name: Schema.String }, toTwoNames),
    2: (payload) => ({ ...(payload as object), at: "2026-01-01T00:00:00.000Z" })
  }
})

function toTwoNames({ name }: { readonly name: string }) {
  const [first, last] = name.split(" ")
  return { first, last }
}

const told = ({ at, first, last }: typeof Third.payloadSchema.Type) =>
  Effect.succeed(`${first} ${last} ${at.getUTCFullYear()}`)

/** Payloads whose form has changed since they were queued. */
export const versions: Family = (rule) => {
  rule("a run is stored with its task's version, and an old one goes through every upcast up to the handler's", () =>
    Effect.gen(function* () {
      const runs = [
        yield* First.queue({ name: "Ada Lovelace" }),
        yield* Second.queue({ first: "Alan", last: "Turing" }),
        yield* Third.queue({ first: "Grace", last: "Hopper", at: new Date("1986-08-14") })
      ]
      yield* serve(TaskGroup.make(Third), { Greet: told })
      const ended = yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      assert.deepStrictEqual(
        ended.map(({ outcome, payload, payloadVersion }) => ({ outcome, payload, payloadVersion })),
        [
          { outcome: success("Ada Lovelace 2026"), payload: { name: "Ada Lovelace" }, payloadVersion: 1 },
          { outcome: success("Alan Turing 2026"), payload: { first: "Alan", last: "Turing" }, payloadVersion: 2 },
          {
            outcome: success("Grace Hopper 1986"),
            payload: { first: "Grace", last: "Hopper", at: "1986-08-14T00:00:00.000Z" },
            payloadVersion: 3
          }
        ]
      )
    })
  )

  rule("a run that is performed in place has its task's version", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const payload = { first: "Grace", last: "Hopper", at: new Date(0) }
      assert.strictEqual(yield* Third.execute(payload).pipe(Effect.provide(Third.toLayer(told))), "Grace Hopper 1970")
      const { items } = yield* manager.runs({ task: "Greet" })
      assert.deepStrictEqual(
        items.map(({ payloadVersion }) => payloadVersion),
        [3]
      )
    })
  )

  rule(
    "an upcast that throws, or whose result does not fit, ends the run; it can be repeated after a better deploy",
    () =>
      Effect.gen(function* () {
        const manager = yield* TaskManager.TaskManager
        const Broken = Task.make("Greet", {
          version: 3,
          payload: { first: Schema.String, last: Schema.String, at: Schema.Date },
          upcasts: {
            1: Task.upcast({ nickname: Schema.String }, ({ nickname }) => ({ first: nickname })),
            2: () => ({ at: "never" })
          }
        })
        const process = yield* openProcess
        const consumer = yield* process.run(serve(TaskGroup.make(Broken), { Greet: () => Effect.void }))
        const old = yield* First.queue({ name: "Ada Lovelace" })
        const error = yield* Effect.flip(old.await)
        assert.instanceOf(error, TaskError.PayloadInvalid)
        assert.match((error as TaskError.PayloadInvalid).issue, /^the upcast from version 1 to 2 failed: .*nickname/s)
        assert.strictEqual((yield* old.poll).state, "failure")
        const unfit = yield* Second.queue({ first: "Alan", last: "Turing" })
        assert.match(((yield* Effect.flip(unfit.await)) as TaskError.PayloadInvalid).issue, /"first"\]\s+└─ is missing/)
        yield* consumer.gracefullyStop
        yield* serve(TaskGroup.make(Third), { Greet: told })
        const again = yield* Third.handle(yield* manager.retry(old.id))
        assert.strictEqual(yield* again.await, "Ada Lovelace 2026")
        assert.deepInclude(yield* again.poll, { payloadVersion: 1, payload: { name: "Ada Lovelace" }, retryOf: old.id })
      })
  )

  rule("a run of a later version is put off, without an attempt, until a consumer comes that knows it", () =>
    Effect.gen(function* () {
      const warned: Array<unknown> = []
      const noting = Logger.make<unknown, void>(({ annotations, logLevel, message }) => {
        if (logLevel._tag === "Warning") {
          warned.push([message, Object.fromEntries(HashMap.toEntries(annotations))])
        }
      })
      const process = yield* openProcess
      const old = yield* process
        .run(serve(TaskGroup.make(Second), { Greet: () => Effect.die("an old consumer performed it") }))
        .pipe(Effect.provide(Logger.add(noting)))
      const run = yield* Third.queue({ first: "Grace", last: "Hopper", at: new Date(0) })
      const { attempt, attempts, dueAt } = yield* becomes(run, "scheduled")
      assert.deepStrictEqual({ attempt, attempts, dueAt }, { attempt: 0, attempts: [], dueAt: 10_000 })
      const message = ["a run is of a later version than the task here; it is put off"]
      const about = { task: "Greet", runId: run.id, payloadVersion: 3, taskVersion: 2 }
      assert.deepStrictEqual(warned, [[message, about]])
      yield* advance("9 seconds")
      assert.strictEqual(warned.length, 1)
      yield* advance("1 second")
      assert.strictEqual((yield* run.poll).dueAt, 20_000)
      assert.strictEqual(warned.length, 2)
      yield* old.gracefullyStop
      const newer = yield* openProcess
      yield* newer.run(serve(TaskGroup.make(Third), { Greet: told }))
      yield* advance("10 seconds")
      assert.strictEqual(yield* run.await, "Grace Hopper 1970")
      const ended = yield* run.poll
      assert.deepStrictEqual([ended.attempt, ended.crashes, ended.attempts.length], [0, 0, 1])
      assert.deepStrictEqual(yield* (yield* TaskManager.TaskManager).logs(run.id), [])
    })
  )

  rule("a run keeps its version when it is tried again, and when it is repeated", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const seen: Array<string> = []
      const Failing = Task.make("Greet", {
        version: 2,
        payload: { first: Schema.String, last: Schema.String },
        error: Oops,
        upcasts: { 1: Task.upcast({ name: Schema.String }, toTwoNames) }
      })
      yield* serve(TaskGroup.make(Failing), {
        Greet: ({ last }) =>
          Effect.zipRight(
            Effect.sync(() => seen.push(last)),
            new Oops({ code: 1 })
          )
      })
      const run = yield* First.queue({ name: "Ada Lovelace" })
      yield* becomes(run, "failure")
      const again = yield* Failing.handle(yield* manager.retry(run.id))
      yield* becomes(again, "failure")
      const third = yield* Failing.handle(yield* manager.retry(again.id))
      assert.deepInclude(yield* becomes(third, "failure"), { payloadVersion: 1, payload: { name: "Ada Lovelace" } })
      assert.deepStrictEqual(seen, ["Lovelace", "Lovelace", "Lovelace"])
    })
  )

  rule("a version without its upcasts is refused, where the compiler did not see it", () =>
    Effect.gen(function* () {
      const untyped = Task.make as unknown as (name: string, options: object) => typeof First
      const refused = (options: object) =>
        Effect.flip(untyped("Greet", { payload: First.payloadSchema, ...options }).queue({ name: "Ada Lovelace" }))
      const keep = (payload: unknown) => payload
      const option = "upcasts of task Greet"
      assert.deepInclude(yield* refused({ version: 0 }), { option: "version of task Greet", value: 0 })
      assert.deepInclude(yield* refused({ version: 1.5 }), { option: "version of task Greet", value: 1.5 })
      assert.deepInclude(yield* refused({ version: 2 }), { option, expected: "an upcast from version 1" })
      assert.deepInclude(yield* refused({ version: 4, upcasts: { 1: keep, 3: keep } }), {
        option,
        expected: "an upcast from version 2"
      })
      assert.deepInclude(yield* refused({ version: 2, upcasts: { 1: keep, 2: keep } }), {
        option,
        expected: "no upcast from version 2, as the task is of version 2"
      })
    })
  )
}

const success = (value: string) => ({ _tag: "Success" as const, value })

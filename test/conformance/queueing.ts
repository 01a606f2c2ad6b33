import { assert } from "@effect/vitest"
import { CurrentRun, Store, Task, TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Duration, Effect, Option, Schema } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, recordEvents } from "./observing.js"

const Greet = Task.make("Greet", { payload: { name: Schema.NonEmptyString } })
const Note = Task.make("Note", { payload: Schema.String, tags: ["note"], priority: "low", queue: "notes" })

const nothingQueued = Effect.gen(function* () {
  const store = yield* Store.Store
  assert.deepStrictEqual(yield* store.counts({}), {})
})

/** What a manager accepts, and what of. */
export const queueing: Family = (rule) => {
  rule("a payload that does not fit its schema is refused at the call, and nothing is queued or told of", () =>
    Effect.gen(function* () {
      const events = yield* recordEvents
      const error = yield* Effect.flip(Greet.queue({ name: "" }))
      assert.strictEqual(error._tag, "ParseError")
      yield* nothingQueued
      yield* quiet
      assert.deepStrictEqual(events, [])
    })
  )

  rule("a payload is measured in encoded bytes: at the limit it is accepted, above it nothing is queued", () =>
    Effect.gen(function* () {
      const process = yield* openProcessWith({ manager: { maxPayloadBytes: 12 } })
      // two quotes, two bytes for ü, three for €, four for 😀
      const error = yield* Effect.flip(process.run(Note.queue("ü€😀ab")))
      assert.deepStrictEqual(error, new TaskError.PayloadTooLarge({ task: "Note", bytes: 13, maxBytes: 12 }))
      yield* nothingQueued
      const run = yield* process.run(Note.queue("ü€😀a"))
      assert.strictEqual((yield* run.poll).payload, "ü€😀a")
    })
  )

  rule("a payload of a megabyte is accepted, a larger one is not", () =>
    Effect.gen(function* () {
      const most = "a".repeat(TaskManager.defaultMaxPayloadBytes - 2)
      const error = yield* Effect.flip(Note.queue(`${most}a`))
      assert.strictEqual(error._tag, "PayloadTooLarge")
      const run = yield* Note.queue(most)
      assert.strictEqual((yield* run.poll).payload, most)
    })
  )

  rule("several runs are queued together, in order, or not at all", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Greet.queueAll([{ name: "a" }, { name: "" }, { name: "c" }]))
      assert.strictEqual(error._tag, "ParseError")
      yield* nothingQueued
      const runs = yield* Greet.queueAll(["a", "b", "c"].map((name) => ({ name })))
      const payloads = yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ payload }) => payload))
      assert.deepStrictEqual(payloads, [{ name: "a" }, { name: "b" }, { name: "c" }])
      assert.deepStrictEqual(yield* Greet.queueAll([]), [])
    })
  )

  rule("each option that is out of its range is refused by name, and nothing is queued", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [string, Task.QueueOptions]> = [
        ["priority", { priority: 1.5 }],
        ["priority", { priority: 1_001 }],
        ["at", { at: new Date(Number.NaN) }],
        ["delay", { delay: Number.POSITIVE_INFINITY }],
        ["queue", { queue: "" }],
        ["group", { group: "a\nb" }],
        ["tags", { tags: ["ok", "x".repeat(201)] }],
        ["idempotencyKey", { idempotencyKey: "" }],
        ["idempotencyKey.hold", { idempotencyKey: { key: "k", hold: Duration.infinity } }],
        ["idempotencyKey.throttle", { idempotencyKey: { key: "k", throttle: Number.POSITIVE_INFINITY } }],
        ["idempotencyKey.debounce", { idempotencyKey: { key: "k", debounce: Duration.infinity } }],
        ["idempotencyKey.maxWait", { idempotencyKey: { key: "k", debounce: "1 second", maxWait: Duration.infinity } }]
      ]
      for (const [option, options] of wrong) {
        const error = yield* Effect.flip(Greet.queue({ name: "a" }, options))
        assert.deepInclude(error, { _tag: "InvalidOption", option })
      }
      const several = yield* Effect.flip(Greet.queueAll([{ name: "a" }, { name: "b" }], { idempotencyKey: "k" }))
      assert.deepInclude(several, { _tag: "InvalidOption", option: "idempotencyKey" })
      const task = yield* Effect.flip(Task.make("Bad", { maxConcurrency: 0 }).queue())
      assert.deepInclude(task, { _tag: "InvalidOption", option: "maxConcurrency of task Bad" })
      yield* nothingQueued
    })
  )

  rule("a run has the policies of its task, unless the call says otherwise", () =>
    Effect.gen(function* () {
      const usual = yield* Effect.flatMap(Note.queue("a"), (run) => run.poll)
      assert.deepInclude(usual, { queue: "notes", priority: -10, tags: ["note"], group: null, state: "queued" })
      const special = yield* Effect.flatMap(
        Note.queue("a", { queue: "urgent", priority: 7, tags: ["x", "note"], group: "tenant" }),
        (run) => run.poll
      )
      assert.deepInclude(special, { queue: "urgent", priority: 7, tags: ["note", "x"], group: "tenant" })
    })
  )

  rule("a run is due after its delay, at its time, or now when that time has passed", () =>
    Effect.gen(function* () {
      yield* advance("1 minute")
      const due = (options: Task.QueueOptions) =>
        Effect.flatMap(Note.queue("a", options), (run) => Effect.map(run.poll, ({ dueAt, state }) => [state, dueAt]))
      assert.deepStrictEqual(yield* due({}), ["queued", 60_000])
      assert.deepStrictEqual(yield* due({ delay: "2 seconds" }), ["scheduled", 62_000])
      assert.deepStrictEqual(yield* due({ at: 90_000 }), ["scheduled", 90_000])
      assert.deepStrictEqual(yield* due({ at: new Date(90_000) }), ["scheduled", 90_000])
      assert.deepStrictEqual(yield* due({ at: 1_000 }), ["queued", 60_000])
      assert.deepStrictEqual(yield* due({ delay: 0 }), ["queued", 60_000])
    })
  )

  rule("a delayed run is performed at its due time, not before", () =>
    Effect.gen(function* () {
      const performed: Array<number> = []
      yield* serve(TaskGroup.make(Greet), {
        Greet: () => Effect.map(CurrentRun.CurrentRun, ({ startedAt }) => void performed.push(startedAt))
      })
      const run = yield* Greet.queue({ name: "a" }, { delay: "1 minute" })
      yield* advance(59_999)
      assert.deepStrictEqual(performed, [])
      yield* advance(1)
      yield* becomes(run, "success")
      assert.deepStrictEqual(performed, [60_000])
    })
  )

  rule("a run that becomes due sooner than those a consumer waits for wakes it in time", () =>
    Effect.gen(function* () {
      const performed: Array<string> = []
      yield* serve(TaskGroup.make(Greet), { Greet: ({ name }) => Effect.sync(() => void performed.push(name)) })
      yield* Greet.queue({ name: "later" }, { delay: "1 hour" })
      yield* quiet
      yield* Greet.queue({ name: "sooner" }, { delay: "1 minute" })
      yield* advance("1 minute")
      yield* eventually(Effect.sync(() => assert.deepStrictEqual(performed, ["sooner"])))
    })
  )

  rule("a run that a handler queues knows its parent and the first of its chain", () =>
    Effect.gen(function* () {
      const Chain = Task.make("Chain", { payload: { depth: Schema.Number } })
      yield* serve(TaskGroup.make(Chain), {
        Chain: ({ depth }) => (depth === 0 ? Effect.void : Effect.asVoid(Chain.queue({ depth: depth - 1 })))
      })
      const first = yield* Chain.queue({ depth: 2 })
      const manager = yield* TaskManager.TaskManager
      const chain = yield* eventually(
        Effect.filterOrFail(manager.runs({ rootId: first.id, state: ["success"] }), ({ items }) => items.length === 2)
      )
      const [third, second] = chain.items
      assert.deepInclude(second!, { parentId: first.id, rootId: first.id })
      assert.deepInclude(third!, { parentId: second!.id, rootId: first.id })
      assert.deepInclude(yield* first.poll, { parentId: null, rootId: null })
    })
  )

  rule("a handler's span continues the trace of the span that queued the run", () =>
    Effect.gen(function* () {
      const traces: Array<string> = []
      yield* serve(TaskGroup.make(Greet), {
        Greet: () =>
          Effect.flatMap(Effect.orDie(Effect.currentSpan), (span) =>
            Effect.sync(() => {
              traces.push(span.traceId)
              assert.strictEqual(Option.getOrThrow(span.parent).traceId, span.traceId)
            })
          )
      })
      const producer = yield* Effect.gen(function* () {
        yield* Greet.queueAndWait({ name: "a" })
        return yield* Effect.currentSpan
      }).pipe(Effect.withSpan("producer"))
      assert.deepStrictEqual(traces, [producer.traceId])
    })
  )

  rule("a run that was queued is performed after a restart", () =>
    Effect.gen(function* () {
      const first = yield* openProcess
      const { id } = yield* first.run(Greet.queue({ name: "a" }))
      yield* first.close
      const second = yield* openProcess
      const names: Array<string> = []
      yield* second.run(serve(TaskGroup.make(Greet), { Greet: ({ name }) => Effect.sync(() => void names.push(name)) }))
      yield* becomes(yield* second.run(Greet.handle(id)), "success")
      assert.deepStrictEqual(names, ["a"])
    })
  )

  rule("a run may be queued as the child of any other one", () =>
    Effect.gen(function* () {
      const Step = Task.make("Step")
      const first = yield* Step.queue()
      const second = yield* Step.queue(undefined, { parent: first })
      const third = yield* Step.queue(undefined, { parent: yield* second.poll })
      assert.deepInclude(yield* second.poll, { parentId: first.id, rootId: first.id })
      assert.deepInclude(yield* third.poll, { parentId: second.id, rootId: first.id })
    })
  )
}

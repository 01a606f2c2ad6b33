/** Encryption: the cipher itself, keys that come and go, and what lies at rest. */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Backend,
  Broker,
  CurrentRun,
  PayloadCipher,
  RetryPolicy,
  Store,
  Task,
  TaskConsumer,
  TaskError,
  type TaskEvents,
  TaskExecutor,
  TaskGroup,
  TaskManager,
  TaskRun,
  TaskSchedule,
  TaskScheduler
} from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import {
  ConfigProvider,
  Effect,
  FastCheck,
  Layer,
  Logger,
  LogLevel,
  Option,
  Redacted,
  Schema,
  type Scope,
  TestClock
} from "effect"
import * as cipher from "../packages/core/src/internal/cipher.js"
import { administer, emptySchema, isSkipped, keepAll, url } from "./postgres/database.js"

const base64 = (byte: number) => Redacted.make(Buffer.alloc(32, byte).toString("base64"))

const A: PayloadCipher.Key = { id: "A", key: base64(1) }
const B: PayloadCipher.Key = { id: "B", key: Redacted.make(new Uint8Array(32).fill(2)) }

type Env = Backend.Backend | TaskManager.TaskManager | TaskEvents.TaskEvents

/** One process on a backend, with these keys; without any it has no cipher. */
const open = (
  backend: Layer.Layer<Backend.Backend, unknown>,
  keys: ReadonlyArray<PayloadCipher.Key>,
  logs = true
): Layer.Layer<Env, unknown> =>
  TaskManager.layer.pipe(
    Layer.provideMerge(keys.length === 0 ? Layer.empty : PayloadCipher.layer({ keys, logs })),
    Layer.provideMerge(backend),
    // what the handlers log is of no interest to who runs the tests
    Layer.provideMerge(Logger.remove(Logger.defaultLogger))
  )

const inProcess =
  (backend: Layer.Layer<Backend.Backend, unknown>, keys: ReadonlyArray<PayloadCipher.Key>) =>
  <A, E>(self: Effect.Effect<A, E, Env | Scope.Scope>) =>
    Effect.provide(Effect.scoped(self), open(backend, keys))

/** A memory that outlives the processes on it. */
const sharedMemory = Effect.map(Layer.build(Backend.layerMemory), Layer.succeedContext)

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const Pay = Task.make("Pay", {
  payload: { card: Schema.String },
  success: Schema.Struct({ receipt: Schema.String }),
  error: Refused,
  retry: RetryPolicy.make({ retries: 2, delay: 0 })
})

const serve = TaskConsumer.make(TaskGroup.make(Pay), { grace: 0, lease: "1 second" }).pipe(
  Effect.provide(Pay.toLayer(({ card }) => Effect.succeed({ receipt: `for ${card}` })))
)

const ended = (id: TaskRun.RunId) =>
  Effect.flatMap(TaskManager.TaskManager, (manager) =>
    Effect.zipRight(Effect.exit(manager.handle(Pay, id).await), manager.get(id))
  )

describe("the cipher", () => {
  const place = ["payload", "a run"]

  const made = (keys: ReadonlyArray<PayloadCipher.Key>) => Effect.runSync(Effect.cached(cipher.make(keys)))

  const withA = made([A])
  const withAnother = made([{ ...B, id: "A" }])
  // the key is here under other ids too, so that the id itself is what counts
  const withMany = made([A, ...Array.from("Bab019-_rk", (id) => ({ ...A, id }))])

  it.effect.prop("gives back whatever text it was given", [FastCheck.fullUnicodeString()], ([text]) =>
    Effect.gen(function* () {
      const { open, seal } = yield* withA
      const sealed = yield* Effect.promise(() => seal(text, "r", place))
      assert.strictEqual(yield* Effect.promise(() => open(sealed, () => place)), text)
      const again = yield* Effect.promise(() => seal(text, "r", place))
      assert.notStrictEqual(again, sealed, "no two envelopes are alike")
    })
  )

  const characters = "ABab019-_.~rk\n= "

  it.effect.prop(
    "gives nothing when one character of the envelope is another one, the id of the key included",
    [FastCheck.fullUnicodeString(), FastCheck.nat(), FastCheck.constantFrom(...characters)],
    ([text, at, character]) =>
      Effect.gen(function* () {
        const { open, seal } = yield* withMany
        const sealed = yield* Effect.promise(() => seal(text, "r", place))
        const i = at % sealed.length
        const other = sealed[i] === character ? (character === "A" ? "B" : "A") : character
        const changed = sealed.slice(0, i) + other + sealed.slice(i + 1)
        assert.isNull(yield* Effect.promise(() => open(changed, () => place)))
      })
  )

  it.effect.prop(
    "gives nothing in another place, or under another key",
    [FastCheck.fullUnicodeString(), FastCheck.string()],
    ([text, run]) =>
      Effect.gen(function* () {
        const { open, seal } = yield* withA
        const sealed = yield* Effect.promise(() => seal(text, "r", place))
        assert.isNull(yield* Effect.promise(() => open(sealed, () => ["payload", `not ${run}`])))
        assert.isNull(yield* Effect.promise(() => open(sealed, () => ["outcome", "a run"])))
        const other = yield* withAnother
        assert.isNull(yield* Effect.promise(() => other.open(sealed, () => place)))
      })
  )

  it.effect.prop("gives nothing for a text that is no envelope", [FastCheck.string()], ([text]) =>
    Effect.gen(function* () {
      const { open } = yield* withA
      assert.isNull(yield* Effect.promise(() => open(`~1.A.r.${text}`, () => place)))
      assert.isNull(yield* Effect.promise(() => open(text, () => place)))
    })
  )
})

describe("options", () => {
  const refusalOf = (keys: ReadonlyArray<PayloadCipher.Key>) =>
    Effect.flip(Effect.scoped(Layer.build(open(Backend.layerMemory, keys)))) as Effect.Effect<TaskError.InvalidOption>

  it.effect("keys that cannot be used are refused, and never shown", () =>
    Effect.gen(function* () {
      const short = Redacted.make("c2hvcnQ=")
      const wrong = [
        [{ ...A, id: "a.b" }],
        [{ ...A, id: "" }],
        [A, A],
        [{ ...A, key: short }],
        [B, { ...A, key: Redacted.make("not base64!") }]
      ]
      const options: Array<string> = []
      for (const keys of wrong) {
        const error = yield* refusalOf(keys)
        assert.strictEqual(error._tag, "InvalidOption")
        options.push(error.option)
        assert.notMatch(`${error.message} ${JSON.stringify(error)}`, /c2hvcnQ|not base64!|short\b/)
      }
      assert.deepStrictEqual(options, ["keys[0].id", "keys[0].id", "keys[1].id", "keys[0].key", "keys[1].key"])
      const none = yield* Effect.flip(
        Effect.scoped(Layer.build(PayloadCipher.layer({ keys: [] }))).pipe(Effect.provide(Backend.layerMemory))
      )
      assert.strictEqual(none.option, "keys")
    })
  )

  it.effect("keys are read from the configuration, and a value that is none is not shown", () =>
    Effect.gen(function* () {
      const read = (value: string) =>
        Effect.withConfigProvider(
          PayloadCipher.keys("TASK_KEYS"),
          ConfigProvider.fromMap(new Map([["TASK_KEYS", value]]))
        )
      const text = (key: PayloadCipher.Key) => [key.id, Redacted.value(key.key)]
      assert.deepStrictEqual((yield* read("b:QUJD, a:REVG,")).map(text), [
        ["b", "QUJD"],
        ["a", "REVG"]
      ])
      const error = yield* Effect.flip(read("secretsecret"))
      assert.notInclude(String(error), "secretsecret")
      assert.include(String(error), "TASK_KEYS")
    })
  )

  it.effect("a generated key is one, and no other", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* PayloadCipher.generateKey, yield* PayloadCipher.generateKey]
      assert.lengthOf(Buffer.from(Redacted.value(one), "base64"), 32)
      assert.notStrictEqual(Redacted.value(one), Redacted.value(other))
    })
  )
})

describe("keys that come and go", () => {
  const queueOne = (card: string) => Effect.map(Pay.queue({ card }), ({ id }) => id)

  it.scopedLive(
    "the first key encrypts, all decrypt; without its key a run fails, and with it again it is retried",
    () =>
      Effect.gen(function* () {
        const memory = yield* sharedMemory
        const inA = inProcess(memory, [A])
        const inBoth = inProcess(memory, [B, A])
        const inB = inProcess(memory, [B])
        const old = yield* inA(queueOne("old"))
        const lost = yield* inA(queueOne("lost"))
        yield* inProcess(
          memory,
          []
        )(
          Effect.gen(function* () {
            const manager = yield* TaskManager.TaskManager
            assert.deepStrictEqual((yield* manager.get(old)).payload, new TaskRun.Encrypted({ keyId: "A" }))
            // the one that is to be lost waits for its turn
            yield* manager.edit(lost, { delay: "1 hour" })
          })
        )

        const fresh = yield* inBoth(
          Effect.gen(function* () {
            yield* serve
            assert.deepStrictEqual((yield* ended(old)).outcome, { _tag: "Success", value: { receipt: "for old" } })
            const fresh = yield* queueOne("fresh")
            assert.strictEqual((yield* ended(fresh)).state, "success")
            return fresh
          })
        )

        const again = yield* inB(
          Effect.gen(function* () {
            const manager = yield* TaskManager.TaskManager
            assert.deepStrictEqual((yield* manager.get(fresh)).payload, { card: "fresh" })
            yield* serve
            yield* manager.edit(lost, { delay: 0 })
            const other = yield* queueOne("other")
            assert.strictEqual((yield* ended(other)).state, "success", "the consumer goes on")
            const run = yield* ended(lost)
            assert.strictEqual(run.state, "failure")
            assert.deepStrictEqual(run.payload, new TaskRun.Encrypted({ keyId: "A" }))
            assert.deepStrictEqual(run.outcome, { _tag: "Undecryptable", keyId: "A" })
            assert.lengthOf(run.attempts, 1, "it is not tried again by itself")
            const error = yield* Effect.flip(manager.handle(Pay, lost).await)
            assert.instanceOf(error, TaskError.RunUndecryptable)
            assert.include(error.message, "the payload of Pay")
            assert.include(error.message, '"A"')
            const refusal = yield* Effect.flip(manager.retry(lost))
            assert.instanceOf(refusal, TaskError.RunUndecryptable)
            assert.strictEqual(yield* manager.retryAll({ task: "Pay" }), 0)
            return lost
          })
        )

        yield* inBoth(
          Effect.gen(function* () {
            const manager = yield* TaskManager.TaskManager
            yield* serve
            const run = yield* ended(yield* manager.retry(again))
            assert.deepStrictEqual(run.outcome, { _tag: "Success", value: { receipt: "for lost" } })
            assert.strictEqual(run.retryOf, lost)
          })
        )
      })
  )

  it.scopedLive("a result without its key is a typed failure, and shown as encrypted", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      const id = yield* inProcess(memory, [A])(
        Effect.gen(function* () {
          yield* serve
          const id = yield* queueOne("x")
          yield* ended(id)
          return id
        })
      )
      for (const keys of [[B], []]) {
        yield* inProcess(
          memory,
          keys
        )(
          Effect.gen(function* () {
            const manager = yield* TaskManager.TaskManager
            const error = yield* Effect.flip(manager.handle(Pay, id).await)
            assert.instanceOf(error, TaskError.RunUndecryptable)
            assert.include(error.message, "the result of Pay")
            const run = yield* manager.get(id)
            assert.deepStrictEqual(run.outcome, new TaskRun.Encrypted({ keyId: "A" }))
            assert.strictEqual(run.state, "success")
            assert.deepStrictEqual(Object.keys(JSON.parse(JSON.stringify(run.outcome))).sort(), ["_tag", "keyId"])
          })
        )
      }
    })
  )

  it.scopedLive("a consumer without a cipher performs nothing that is encrypted, whatever its schema accepts", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      const Any = Task.make("Any", { payload: Schema.Unknown })
      const id = yield* inProcess(memory, [A])(Effect.map(Any.queue("secret"), ({ id }) => id))
      yield* inProcess(
        memory,
        []
      )(
        Effect.gen(function* () {
          const seen: Array<unknown> = []
          const handler = Any.toLayer((payload) => Effect.sync(() => void seen.push(payload)))
          yield* Effect.provide(TaskConsumer.make(TaskGroup.make(Any), { grace: 0 }), handler)
          const manager = yield* TaskManager.TaskManager
          const error = yield* Effect.flip(manager.handle(Any, id).await)
          assert.strictEqual(error._tag, "RunUndecryptable")
          assert.deepStrictEqual(seen, [])
        })
      )
    })
  )

  it.scopedLive(
    "what was queued before there was a cipher is performed, and what looks like an envelope is no such thing",
    () =>
      Effect.gen(function* () {
        const memory = yield* sharedMemory
        const texts = ["plain", "~1.A.r.AAAA", '{"_tag":"Encrypted","keyId":"A","sealed":"~1.A.r.AAAA"}']
        const ids = yield* inProcess(memory, [])(Effect.forEach(texts, queueOne))
        yield* inProcess(memory, [A])(
          Effect.gen(function* () {
            yield* serve
            for (const [i, id] of ids.entries()) {
              const run = yield* ended(id)
              assert.deepStrictEqual(run.payload, { card: texts[i] })
              assert.deepStrictEqual(run.outcome, { _tag: "Success", value: { receipt: `for ${texts[i]}` } })
            }
          })
        )
      })
  )

  it.scoped("the payload of one run does not open in another one", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      const [one, other] = yield* inProcess(memory, [A])(Effect.all([queueOne("one"), queueOne("other")]))
      const stored = (id: TaskRun.RunId) =>
        Effect.flatMap(Store.Store, (store) => Effect.map(store.get([id]), ([run]) => Option.getOrThrow(run!)))
      // whoever can write the database puts the one payload into the other's place
      yield* inProcess(
        memory,
        []
      )(
        Effect.gen(function* () {
          const moved = { ...(yield* stored(other)), payload: (yield* stored(one)).payload, state: "success" as const }
          yield* (yield* Broker.Broker).cancel({ ids: [other], reason: "moved", now: 0 })
          yield* (yield* Store.Store).record([{ run: { ...moved, fence: 9 }, logs: [] }])
        })
      )
      yield* inProcess(memory, [A])(
        Effect.gen(function* () {
          const manager = yield* TaskManager.TaskManager
          assert.deepStrictEqual((yield* manager.get(one)).payload, { card: "one" })
          assert.deepStrictEqual((yield* manager.get(other)).payload, new TaskRun.Encrypted({ keyId: "A" }))
        })
      )
    })
  )
})

describe("schedules", () => {
  const Declared = Task.make("Declared", {
    payload: { card: Schema.String },
    schedule: TaskSchedule.every("1 hour"),
    schedulePayload: { card: "declared" }
  })
  const Plain = Task.make("Plain", { schedule: TaskSchedule.every("1 minute", { overlap: "allow" }) })

  const client = Effect.provide(TaskScheduler.TaskScheduler, TaskScheduler.client)
  const add = (name: string, card: string) =>
    Effect.flatMap(client, (scheduler) =>
      scheduler.add(name, {
        task: Pay,
        payload: { card },
        schedule: TaskSchedule.every("1 minute", { overlap: "allow" })
      })
    )
  const storedOf = (name: string) =>
    Effect.flatMap(Store.Store, (store) =>
      Effect.flatMap(store.schedules, (all) => Option.fromNullable(all.find((one) => one.name === name)))
    )
  const payloadsOf = (schedule: string) =>
    Effect.flatMap(TaskManager.TaskManager, (manager) =>
      Effect.map(manager.runs({ tag: `schedule:${schedule}` }), ({ items }) => items.map(({ payload }) => payload))
    )
  const start = TaskScheduler.make(TaskGroup.make(Plain), { scope: "plain" })

  /** Lets time pass until something is so; encryption takes real time. */
  const until = <E, R>(isSo: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
    Effect.gen(function* () {
      while (!(yield* isSo)) {
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 2)))
      }
    })
  const isFired = (schedule: string, times: number) =>
    Effect.map(payloadsOf(schedule), (payloads) => payloads.length >= times)

  it.scoped("keep their payload under the first key, and whoever has the key fires them", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      yield* inProcess(memory, [A])(add("made", "x"))
      const inClear = inProcess(memory, [])
      const before = yield* inClear(storedOf("made"))
      assert.match(before.run, /"payload":"~1\.A\.r\./)
      yield* inProcess(memory, [B, A])(
        Effect.gen(function* () {
          const scheduler = yield* start
          assert.deepStrictEqual((yield* scheduler.get("made")).payload, { card: "x" })
          yield* TestClock.adjust("1 minute")
          yield* until(isFired("made", 1))
          yield* scheduler.trigger("made")
          assert.deepStrictEqual(yield* payloadsOf("made"), [{ card: "x" }, { card: "x" }])
        })
      )
      // whatever is written of it is encrypted anew, so the old key is not needed for ever
      const after = yield* inClear(storedOf("made"))
      assert.match(after.run, /"payload":"~1\.B\.r\./)
      assert.deepStrictEqual(
        yield* inClear(payloadsOf("made")),
        Array.from({ length: 2 }, () => new TaskRun.Encrypted({ keyId: "B" }))
      )
      yield* inProcess(memory, [B])(
        Effect.gen(function* () {
          assert.deepStrictEqual((yield* (yield* client).get("made")).payload, { card: "x" })
          assert.deepStrictEqual(yield* payloadsOf("made"), [{ card: "x" }, { card: "x" }])
        })
      )
    })
  )

  for (const keys of [[B], []]) {
    it.scoped(
      `one that cannot be decrypted is left as it is, ${keys.length === 0 ? "without a cipher" : "without its key"}`,
      () =>
        Effect.gen(function* () {
          const memory = yield* sharedMemory
          yield* inProcess(memory, [A])(add("made", "x"))
          const errors: Array<string> = []
          const heard = Logger.make<unknown, void>(({ logLevel, message }) => {
            if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) {
              errors.push(`${logLevel.label} ${[message].flat().join(" ")}`)
            }
          })
          yield* inProcess(
            memory,
            keys
          )(
            Effect.gen(function* () {
              const before = yield* storedOf("made")
              const scheduler = yield* start
              for (const times of [1, 2]) {
                yield* TestClock.adjust("1 minute")
                yield* until(isFired("Plain", times))
              }
              assert.deepStrictEqual(yield* payloadsOf("made"), [])
              assert.deepStrictEqual(yield* storedOf("made"), before)
              assert.deepStrictEqual((yield* scheduler.get("made")).payload, new TaskRun.Encrypted({ keyId: "A" }))
              const refusal = yield* Effect.flip(scheduler.trigger("made"))
              assert.strictEqual(refusal._tag, "InvalidSchedule")
              assert.include(refusal.message, 'the key "A"')
              // what needs no payload can be done, and does not make it another one
              yield* scheduler.pause("made")
              yield* scheduler.resume("made")
              assert.strictEqual((yield* storedOf("made")).run, before.run)
            }).pipe(Effect.provide(Logger.add(heard)))
          )
          assert.lengthOf(errors, 1)
          assert.match(errors[0]!, /^ERROR a schedule is left out: the schedule "made".*the key "A".*PayloadCipher/)
          // with the key again it is fired
          yield* inProcess(memory, [A])(
            Effect.gen(function* () {
              yield* start
              yield* TestClock.adjust("1 minute")
              yield* until(isFired("made", 1))
              assert.deepInclude(yield* payloadsOf("made"), { card: "x" })
            })
          )
        })
    )
  }

  it.scoped(
    "what the code declared is compared without being written anew, and is not overwritten without its key",
    () =>
      Effect.gen(function* () {
        const memory = yield* sharedMemory
        const declare = Effect.zipRight(TaskScheduler.make(TaskGroup.make(Declared)), storedOf("Declared"))
        const first = yield* inProcess(memory, [A])(declare)
        assert.deepStrictEqual(JSON.parse(first.run).payload, '{"card":"declared"}')
        yield* inProcess(memory, [A])(
          Effect.flatMap(client, (scheduler) =>
            scheduler.edit("Declared", { task: Declared, payload: { card: "edited" } })
          )
        )
        for (const keys of [[A], [B, A], [B], []]) {
          yield* inProcess(memory, keys)(declare)
        }
        const again = yield* inProcess(memory, [A])(storedOf("Declared"))
        assert.strictEqual(again.revision, first.revision + 1)
        assert.deepStrictEqual(JSON.parse(again.run).payload, '{"card":"edited"}')
        assert.strictEqual(again.declared, first.declared)
      })
  )

  it.scoped("the payload of one does not open in another one, nor in a run", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      yield* inProcess(memory, [A])(Effect.zipRight(add("one", "x"), add("other", "y")))
      yield* inProcess(
        memory,
        []
      )(
        Effect.gen(function* () {
          const [one, other] = [yield* storedOf("one"), yield* storedOf("other")]
          const moved = { ...other, run: one.run, revision: other.revision + 1 }
          yield* (yield* Broker.Broker).putSchedules([{ schedule: moved, expected: other.revision, runs: [] }])
        })
      )
      yield* inProcess(memory, [A])(
        Effect.gen(function* () {
          const scheduler = yield* client
          assert.deepStrictEqual((yield* scheduler.get("other")).payload, new TaskRun.Encrypted({ keyId: "A" }))
          assert.strictEqual((yield* Effect.flip(scheduler.trigger("other")))._tag, "InvalidSchedule")
          assert.deepStrictEqual((yield* scheduler.get("one")).payload, { card: "x" })
        })
      )
    })
  )

  it.effect.prop(
    "a schedule is given back as it was, whatever its texts are",
    [FastCheck.string(), FastCheck.json()],
    ([name, text]) =>
      Effect.gen(function* () {
        const memory = yield* sharedMemory
        const template = JSON.stringify({ payload: text, queue: name })
        yield* inProcess(memory, [A])(
          Effect.gen(function* () {
            yield* add("made", "x")
            const made = yield* storedOf("made")
            const broker = yield* Broker.Broker
            for (const [i, run] of [template, text, name].entries()) {
              const other = { ...made, name: `${name}${i}`, run, declared: text }
              yield* broker.putSchedules([{ schedule: other, expected: null, runs: [] }])
              assert.deepStrictEqual(yield* storedOf(other.name), other)
            }
          })
        )
      }).pipe(Effect.scoped),
    { fastCheck: { numRuns: 15 } }
  )
})

describe("an executor", () => {
  it.scopedLive("gets the payload in clear, and its result is encrypted", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      const Remote = Task.make("Remote", {
        payload: { card: Schema.String },
        success: Schema.String,
        executor: "thread"
      })
      const group = TaskGroup.make(Remote)
      const asked: Array<string> = []
      const place = Layer.succeed(TaskExecutor.TaskExecutor, {
        reserve: () =>
          Effect.succeed<TaskExecutor.Perform>(({ run }) => {
            asked.push(run.payload)
            return Effect.succeed({ _tag: "Outcome", outcome: { _tag: "Success", value: "receipt" } })
          })
      })
      const id = yield* inProcess(memory, [A])(
        Effect.gen(function* () {
          const handlers = Layer.provide(TaskExecutor.layer(group), place)
          yield* Effect.provide(TaskConsumer.make(group, { grace: 0 }), handlers)
          const run = yield* Remote.queue({ card: "x" })
          assert.strictEqual(yield* run.await, "receipt")
          return run.id
        })
      )
      assert.deepStrictEqual(asked, ['{"card":"x"}'])
      const manager = Effect.flatMap(TaskManager.TaskManager, (manager) => manager.get(id))
      const stored = yield* inProcess(memory, [])(manager)
      assert.deepStrictEqual(
        [stored.payload, stored.outcome],
        [new TaskRun.Encrypted({ keyId: "A" }), new TaskRun.Encrypted({ keyId: "A" })]
      )
    })
  )
})

describe("where a payload passes from one request to another's run", () => {
  const replacing = { key: "k", onConflict: "replace" } as const
  const debouncing = { key: "k", debounce: "10 minutes" } as const

  for (const idempotencyKey of [replacing, debouncing]) {
    it.scoped(
      `a request that ${"debounce" in idempotencyKey ? "debounces" : "replaces"} is read under the run's own id`,
      () =>
        Effect.gen(function* () {
          const memory = yield* sharedMemory
          yield* inProcess(memory, [A])(
            Effect.gen(function* () {
              const manager = yield* TaskManager.TaskManager
              // the holder asked for nothing of the kind itself
              const first = yield* Pay.queue({ card: "first" }, { delay: "1 minute", idempotencyKey: "k" })
              const second = yield* Pay.queue({ card: "second" }, { idempotencyKey })
              assert.strictEqual(second.id, first.id)
              assert.deepStrictEqual((yield* first.poll).payload, { card: "second" })
              yield* first.cancel()
              const ended = yield* manager.get(first.id)
              assert.deepStrictEqual(ended.payload, { card: "second" })
              const again = yield* manager.get(yield* manager.retry(first.id))
              assert.deepStrictEqual(again.payload, { card: "second" })
            })
          )
        })
    )
  }

  it.scoped("of several requests of one call each gets its own answer", () =>
    Effect.gen(function* () {
      const memory = yield* sharedMemory
      yield* inProcess(memory, [A])(
        Effect.gen(function* () {
          yield* TestClock.adjust("1 second")
          const runs = yield* Pay.queueAll(Array.from({ length: 50 }, (_, i) => ({ card: String(i) })))
          const cards = yield* Effect.forEach(runs, (run) => Effect.map(run.poll, ({ payload }) => payload))
          assert.deepStrictEqual(
            cards,
            Array.from({ length: 50 }, (_, i) => ({ card: String(i) }))
          )
        })
      )
    })
  )
})

/** What stands nowhere else. */
const secret = "4929-1234-SECRET-ü"

/** The ways in which JSON writes it too. */
const traces = ["4929-1234-SECRET", Buffer.from("4929-1234-SECRET").toString("base64").slice(0, 18)]

/** Schedules with a secret, one declared and one made at runtime, which are fired and triggered; a one-shot, and a buffered run. */
const secretSchedules = Effect.gen(function* () {
  const schedule = TaskSchedule.every("1 hour", { immediately: true, overlap: "allow" })
  const Later = Task.make("Later", { payload: { card: Schema.String } })
  const Fired = Task.make("Fired", {
    payload: { card: Schema.String },
    schedule,
    schedulePayload: { card: secret }
  })
  const manager = yield* TaskManager.TaskManager
  const scheduler = yield* TaskScheduler.make(TaskGroup.make(Fired))
  yield* scheduler.add("made", { task: Later, payload: { card: secret }, schedule })
  yield* scheduler.trigger("made")
  yield* scheduler.once("once", { task: Later, payload: { card: secret }, at: Date.now() + 3_600_000 })
  const buffered = yield* manager.runtimeQueue()
  assert.strictEqual(buffered(Later, { card: secret }), "accepted")
  yield* manager.queueRun(yield* manager.createRun(Later, { card: secret }))
  const payloads = Effect.map(
    Effect.zipWith(manager.runs({ task: "Fired" }), manager.runs({ task: "Later" }), (a, b) => [
      ...a.items,
      ...b.items
    ]),
    (runs) => runs.map(({ payload }) => payload)
  )
  // a tick of each, what was triggered, the one-shot, and the two others
  let all = yield* payloads
  while (all.length < 6) {
    yield* Effect.sleep("5 millis")
    all = yield* payloads
  }
  assert.deepStrictEqual(
    all,
    Array.from({ length: 6 }, () => ({ card: secret }))
  )
  const records = yield* scheduler.list
  assert.deepStrictEqual(
    records.map(({ payload }) => payload),
    [{ card: secret }, { card: secret }]
  )
})

/** Everything that may carry a secret: payload, result, error, defect, reason, log line, progress, and an attempt that crashed. */
const secretWork = Effect.gen(function* () {
  const Work = Task.make("Work", {
    payload: { how: Schema.String, card: Schema.String },
    success: Schema.String,
    error: Refused,
    retry: RetryPolicy.make({ retries: 2, delay: 0 })
  })
  const OldWork = Task.make("Work", { payload: { card: Schema.String } })
  const handler = Work.toLayer(({ card, how }) =>
    Effect.gen(function* () {
      const { attempt } = yield* CurrentRun.CurrentRun
      yield* Effect.logWarning(`paying with ${card}`).pipe(Effect.annotateLogs({ card }), Effect.withLogSpan(card))
      yield* CurrentRun.progress(0.5, `charging ${card}`)
      if (how === "abort") {
        return yield* CurrentRun.abort(`not ${card}`)
      }
      if (how === "fail" || attempt === 1) {
        return yield* new Refused({ why: card })
      }
      return attempt === 2 ? yield* Effect.die(new Error(`no ${card}`)) : card
    })
  )
  const broker = yield* Broker.Broker
  const manager = yield* TaskManager.TaskManager
  const crashing = yield* Work.queue(
    { how: "crash", card: secret },
    { idempotencyKey: { key: "k", onConflict: "replace" } }
  )
  const now = yield* broker.now
  const claimed = yield* Broker.claim(broker, {
    consumer: "dead",
    queues: ["default"],
    queueLimits: [],
    tasks: [{ name: "Work", maxConcurrency: null, limits: [], room: null }],
    limit: 1,
    now,
    leaseUntil: now + 300
  })
  const claim = { id: crashing.id, fence: claimed.runs[0]!.run.fence }
  const progress = JSON.stringify({ value: 0.1, message: secret })
  yield* broker.extend({ claims: [{ ...claim, progress }], leaseUntil: now + 300, now })
  const more = yield* Work.queueAll(["succeed", "fail", "abort"].map((how) => ({ how, card: secret })))
  const unfit = yield* OldWork.queue({ card: secret })
  const replaced = yield* Work.queue({ how: "x", card: secret }, { delay: "1 hour", idempotencyKey: "r" })
  yield* Work.queue(
    { how: "y", card: `${secret}!` },
    { idempotencyKey: { key: "r", onConflict: "replace" }, delay: "1 hour" }
  )
  yield* Effect.provide(TaskConsumer.make(TaskGroup.make(Work), { grace: 0 }), handler)
  const ids = [crashing.id, ...more.map(({ id }) => id), unfit.id]
  yield* Effect.forEach(ids, (id) => Effect.exit(manager.handle(Work, id).await))
  yield* replaced.cancel()
  yield* secretSchedules
  const inline = yield* Effect.provide(Work.execute({ how: "succeed", card: secret }), handler)
  assert.strictEqual(inline, secret)
  return { ids, replaced: replaced.id }
})

/** Above the cipher all can be read. */
const isReadable = ({ ids, replaced }: Effect.Effect.Success<typeof secretWork>) =>
  Effect.gen(function* () {
    const manager = yield* TaskManager.TaskManager
    const [crashed, succeeded, failed, aborted, unfit] = yield* Effect.forEach(ids, (id) => manager.get(id))
    assert.deepStrictEqual(crashed!.outcome, { _tag: "Success", value: secret })
    assert.deepStrictEqual(
      crashed!.attempts.map(({ outcome }) => outcome._tag),
      ["Crashed", "Failure", "Defect", "Success"]
    )
    assert.deepInclude(crashed!.attempts[1]!.outcome, { _tag: "Failure", error: { _tag: "Refused", why: secret } })
    assert.deepStrictEqual(succeeded!.payload, { how: "succeed", card: secret })
    assert.deepStrictEqual(succeeded!.progress, { value: 0.5, message: `charging ${secret}` })
    assert.deepInclude(failed!.outcome, { _tag: "Failure", error: { _tag: "Refused", why: secret } })
    assert.deepStrictEqual(aborted!.outcome, { _tag: "Aborted", reason: `not ${secret}` })
    assert.strictEqual(unfit!.outcome?._tag, "PayloadInvalid")
    assert.deepStrictEqual((yield* manager.get(replaced)).payload, { how: "y", card: `${secret}!` })
    const [line] = yield* manager.logs(ids[1]!)
    assert.deepInclude(line, { message: `paying with ${secret}`, annotations: { card: secret }, spans: [secret] })
  })

interface Resting {
  readonly backend: Layer.Layer<Backend.Backend, unknown>
  /** All that lies there, as text. */
  readonly dump: Effect.Effect<string, unknown>
}

const inMemory: Effect.Effect<Resting, never, Scope.Scope> = Effect.map(sharedMemory, (backend) => ({
  backend,
  dump: Effect.gen(function* () {
    const store = yield* Store.Store
    const runs = yield* store.runs({ limit: 1_000 })
    const lines = yield* Effect.forEach(runs, ({ id }) => store.logs(id, { fromSeq: 0, limit: 1_000 }))
    return JSON.stringify([runs, lines, yield* store.schedules])
  }).pipe(Effect.provide(backend))
}))

const inSqlite = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped()
  return {
    backend: SqliteBackend.layer({ filename: path.join(directory, "tasks.db") }),
    dump: Effect.flatMap(fs.readDirectory(directory), (names) =>
      Effect.map(
        Effect.forEach(names, (name) => fs.readFile(path.join(directory, name))),
        (files) => files.map((bytes) => Buffer.from(bytes).toString("latin1")).join("\n")
      )
    )
  }
}).pipe(Effect.provide(NodeContext.layer))

const inPostgres = Effect.map(emptySchema, (schema) => ({
  backend: PgBackend.layer({ url, schema, retention: keepAll, maxConnections: 3 }),
  dump: administer((sql) =>
    Effect.gen(function* () {
      const tables = yield* sql<{ readonly name: string }>`SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = ${schema} AND table_type = 'BASE TABLE'`
      const rows = yield* Effect.forEach(
        tables,
        ({ name }) => sql<{ readonly row: string }>`SELECT whole::text AS row FROM ${sql(schema)}.${sql(name)} AS whole`
      )
      return rows
        .flat()
        .map(({ row }) => row)
        .join("\n")
    })
  )
}))

/** Works on a backend, and looks at it while it is open and after it. */
const dumps = ({ backend, dump }: Resting, keys: ReadonlyArray<PayloadCipher.Key>) =>
  Effect.gen(function* () {
    const open = yield* inProcess(
      backend,
      keys
    )(
      Effect.gen(function* () {
        const ids = yield* secretWork
        yield* isReadable(ids)
        return yield* dump
      })
    )
    return [open, yield* dump] as const
  })

describe("at rest", () => {
  const secrets = (name: string, place: Effect.Effect<Resting, unknown, Scope.Scope>) => {
    it.scopedLive(`${name}: a secret stands nowhere`, () =>
      Effect.gen(function* () {
        for (const dump of yield* dumps(yield* place, [A])) {
          assert.isAbove(dump.split("~1.A.").length, 10)
          for (const trace of traces) {
            assert.isFalse(dump.includes(trace), `it holds ${trace}`)
          }
        }
      })
    )

    it.scopedLive(`${name}: without a cipher the same search finds it`, () =>
      Effect.gen(function* () {
        const [open] = yield* dumps(yield* place, [])
        assert.isTrue(open.includes(traces[0]!))
      })
    )
  }

  secrets("memory", inMemory)
  secrets("SQLite", inSqlite)
  describe.skipIf(isSkipped)("with a server", () => secrets("PostgreSQL", inPostgres))

  it.scopedLive(
    "log lines are left as they are unless it is asked for, and those that were encrypted stay readable",
    () =>
      Effect.gen(function* () {
        const memory = yield* sharedMemory
        const Talk = Task.make("Talk")
        const talk = (logs: boolean) =>
          Effect.gen(function* () {
            yield* Effect.provide(
              TaskConsumer.make(TaskGroup.make(Talk), { grace: 0 }),
              Talk.toLayer(() => Effect.log("hello").pipe(Effect.annotateLogs({ n: 1 })))
            )
            const run = yield* Talk.queue()
            yield* run.await
            return run.id
          }).pipe(Effect.scoped, Effect.provide(open(memory, [A], logs)))
        const [clear, encrypted] = [yield* talk(false), yield* talk(true)]
        const linesOf = (id: TaskRun.RunId) =>
          Effect.flatMap(TaskManager.TaskManager, (manager) => Effect.map(manager.logs(id), ([line]) => line!))
        yield* inProcess(
          memory,
          []
        )(
          Effect.gen(function* () {
            assert.deepInclude(yield* linesOf(clear), { message: "hello", annotations: { n: 1 } })
            const line = yield* linesOf(encrypted)
            assert.deepInclude(line, { level: "INFO", message: "(encrypted with the key A)" })
          })
        )
        const readable = Effect.forEach([clear, encrypted], linesOf).pipe(Effect.provide(open(memory, [B, A], false)))
        for (const line of yield* readable) {
          assert.deepInclude(line, { message: "hello", annotations: { n: 1 } })
        }
      })
  )
})

import { assert } from "@effect/vitest"
import { Broker, Store, type TaskRun, TaskState } from "@effect-tasks/core"
import { Effect, Option } from "effect"
import {
  claim,
  encoded,
  ended,
  enqueue,
  enqueueAndClaim,
  enqueueOne,
  ids,
  keyed,
  lease,
  line,
  logOf,
  settle,
  stored
} from "./encoded.js"
import { eventually, type Family, openProcess } from "./harness.js"

const query = (fields: Partial<Store.RunQuery> = {}) =>
  Effect.flatMap(Store.Store, (store) => store.runs({ limit: 1_000, ...fields }))

const record = (...runs: ReadonlyArray<TaskRun.Encoded>) =>
  Effect.flatMap(Store.Store, (store) => store.record(runs.map((run) => ({ run, logs: [] }))))

const counts = (fields: Store.CountQuery = {}) => Effect.flatMap(Store.Store, (store) => store.counts(fields))

/** One run in each state but `init`, by state. */
const oneInEachState = Effect.gen(function* () {
  const finals = yield* Effect.forEach(TaskState.Final.literals, (state) =>
    Effect.map(encoded(), (run) => ended(run, state, 5))
  )
  yield* record(...finals)
  const [, queued, scheduled] = yield* enqueue({ priority: 1 }, {}, { dueAt: 9_000 })
  const { runs } = yield* claim()
  return new Map([...finals, runs[0]!.run, queued!, scheduled!].map((run) => [run.state, run]))
})

/** What a store answers, about runs that have ended and about runs that have not. */
export const querying: Family = (rule) => {
  rule("the records of runs are given in the order of the ids, and none for an unknown one", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const done = ended(yield* enqueueAndClaim(), "success", 5)
      yield* settle(done)
      const waits = yield* enqueueOne()
      const unknown = yield* encoded()
      const found = yield* store.get([waits.id, unknown.id, done.id])
      assert.deepStrictEqual(found, [Option.some(waits), Option.none(), Option.some(done)])
      assert.deepStrictEqual(yield* store.get([]), [])
    })
  )

  rule("a query sees each run exactly once, whatever its state", () =>
    Effect.gen(function* () {
      const runs = Array.from((yield* oneInEachState).values())
      assert.strictEqual(runs.length, TaskState.all.length - 1)
      assert.sameDeepMembers([...(yield* query())], runs)
    })
  )

  rule("the newest runs come first", () =>
    Effect.gen(function* () {
      const runs = Array.from((yield* oneInEachState).values())
      const newestFirst = ids(runs).slice().sort().reverse()
      assert.deepStrictEqual(ids(yield* query()), newestFirst)
      assert.deepStrictEqual(ids(yield* query({ limit: 4 })), newestFirst.slice(0, 4))
    })
  )

  rule("runs are found by state, by one or by several", () =>
    Effect.gen(function* () {
      const byState = yield* oneInEachState
      for (const [state, run] of byState) {
        assert.deepStrictEqual(yield* query({ state: [state] }), [run])
      }
      const some = yield* query({ state: ["failure", "running", "scheduled"] })
      assert.sameMembers(
        some.map(({ state }) => state),
        ["failure", "running", "scheduled"]
      )
      assert.deepStrictEqual(yield* query({ state: [] }), [])
    })
  )

  rule("runs are found by task, queue, tag, group, parent and root, exactly, and by several at once", () =>
    Effect.gen(function* () {
      const [parent, root] = yield* Effect.forEach([1, 2], () => encoded())
      const mine = {
        task: "Mail",
        queue: "mail",
        tags: ["a", "50%_off"],
        group: "g1",
        parentId: parent!.id,
        rootId: root!.id
      }
      const near = [
        { ...mine, task: "Mailing" },
        { ...mine, queue: "mail2" },
        { ...mine, tags: ["a b", "50%_off!"] },
        { ...mine, group: null },
        { ...mine, parentId: null },
        { ...mine, rootId: parent!.id }
      ]
      const fields = [mine, ...near]
      const waits = yield* enqueue(...fields)
      const done = (yield* Effect.forEach(fields, encoded)).map((run) => ended(run, "success", 5))
      yield* record(...done)
      const found = (fields: Partial<Store.RunQuery>) => Effect.map(query(fields), (runs) => new Set(ids(runs)))
      /** All but the one whose place is given. */
      const allBut = (i: number) =>
        new Set(ids([...waits, ...done].filter((run) => run !== waits[i] && run !== done[i])))
      assert.deepStrictEqual(yield* found({ task: "Mail" }), allBut(1))
      assert.deepStrictEqual(yield* found({ queue: "mail" }), allBut(2))
      assert.deepStrictEqual(yield* found({ tag: "a" }), allBut(3))
      assert.deepStrictEqual(yield* found({ tag: "50%_off" }), allBut(3))
      assert.deepStrictEqual(yield* found({ group: "g1" }), allBut(4))
      assert.deepStrictEqual(yield* found({ parentId: parent!.id }), allBut(5))
      assert.deepStrictEqual(yield* found({ rootId: root!.id }), allBut(6))
      const { tags: _, ...exact } = mine
      assert.deepStrictEqual(ids(yield* query({ ...exact, tag: "a", state: ["success"] })), [done[0]!.id])
      assert.deepStrictEqual(ids(yield* query({ ...exact, tag: "a", state: ["queued"] })), [waits[0]!.id])
    })
  )

  rule("runs are found by the time of their making, its end excluded", () =>
    Effect.gen(function* () {
      const runs = yield* enqueue(...[10, 20, 30, 40].map((createdAt) => ({ createdAt })))
      assert.deepStrictEqual(ids(yield* query({ createdFrom: 20, createdTo: 40 })), ids([runs[2]!, runs[1]!]))
    })
  )

  rule("pages are disjoint and complete, also when runs are added and end meanwhile", () =>
    Effect.gen(function* () {
      const waits = yield* enqueue(...Array(20).fill({}))
      const done = (yield* Effect.forEach(Array(17), () => encoded())).map((run) => ended(run, "success", 5))
      yield* record(...done)
      const seen: Array<TaskRun.RunId> = []
      let before: TaskRun.RunId | undefined
      for (;;) {
        const page = yield* query({ limit: 5, before })
        if (page.length === 0) {
          break
        }
        seen.push(...ids(page))
        before = page[page.length - 1]!.id
        yield* enqueueOne({ priority: -1 })
        const { runs } = yield* claim()
        yield* settle(...runs.map(({ run }) => ended(run, "failure", 6)))
      }
      assert.deepStrictEqual(
        seen,
        ids([...waits, ...done])
          .slice()
          .sort()
          .reverse()
      )
    })
  )

  rule("runs are counted by state, in all, by queue and by task", () =>
    Effect.gen(function* () {
      yield* enqueue({ priority: 9 }, {}, { queue: "other" }, { task: "U" }, { task: "U", dueAt: 9_000 })
      yield* claim()
      yield* record(...(yield* Effect.forEach([{}, { task: "U" }], encoded)).map((run) => ended(run, "failure", 5)))
      assert.deepStrictEqual(yield* counts(), { queued: 3, scheduled: 1, running: 1, failure: 2 })
      assert.deepStrictEqual(yield* counts({ queue: "other" }), { queued: 1 })
      assert.deepStrictEqual(yield* counts({ task: "U" }), { queued: 1, scheduled: 1, failure: 1 })
      assert.deepStrictEqual(yield* counts({ queue: "default", task: "T" }), { queued: 1, running: 1, failure: 1 })
      assert.deepStrictEqual(yield* counts({ task: "Unknown" }), {})
    })
  )

  rule("a run that ends while others look is seen exactly once", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      yield* enqueue(...Array(60).fill({}))
      const { runs } = yield* claim({ limit: 60 })
      const settleAll = Effect.forEach(runs, ({ run }) => settle(ended(run, "success", 5)), { concurrency: 4 })
      const look = Effect.replicateEffect(
        Effect.gen(function* () {
          const all = yield* query()
          assert.strictEqual(new Set(ids(all)).size, all.length)
          assert.strictEqual(all.length, 60)
          const counted = yield* counts()
          assert.strictEqual((counted.running ?? 0) + (counted.success ?? 0), 60)
        }),
        20
      )
      yield* Effect.all([other.run(settleAll), look], { concurrency: "unbounded" })
    })
  )

  rule("a run performed in place is recorded once, with its lines", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const run = ended(yield* encoded(), "success", 5)
      const logs = [line(run.id, 0), line(run.id, 1)]
      yield* store.record([{ run, logs }])
      yield* store.record([{ run, logs }])
      assert.deepStrictEqual(yield* query(), [run])
      assert.deepStrictEqual(yield* logOf(run.id), logs)
      assert.deepStrictEqual(yield* counts(), { success: 1 })
    })
  )

  rule("of two records of a run the one with the higher fence stands, whatever their order", () =>
    Effect.gen(function* () {
      const run = yield* encoded()
      const first = { ...ended(run, "failure", 5), fence: 1 }
      const second = { ...ended(run, "success", 6), fence: 2 }
      yield* record(first)
      yield* record(second)
      assert.deepStrictEqual(yield* stored(run.id), second)
      yield* record(first)
      assert.deepStrictEqual(yield* stored(run.id), second)
    })
  )

  rule("the record of an older claim frees no key that the newer one holds", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const { idempotency } = keyed("k", { holdMillis: null })
      const stale = yield* enqueueAndClaim({ idempotency })
      const { runs } = yield* claim({ consumer: "B", now: lease })
      yield* settle(ended(runs[0]!.run, "success", lease + 1))
      yield* record(ended(stale, "failure", lease + 2))
      const [result] = yield* broker.enqueue([yield* encoded({ idempotency, createdAt: lease + 3 })])
      assert.deepInclude(result!, { _tag: "Existing" })
    })
  )

  rule("the lines of a run are given in order, from a place on, as many as asked for", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const run = yield* enqueueOne()
      const other = yield* enqueueOne()
      const lines = [0, 1, 2, 3, 4].map((seq) => line(run.id, seq))
      yield* store.appendLogs([...lines.slice(0, 3), line(other.id, 0)])
      yield* store.appendLogs(lines.slice(3))
      assert.deepStrictEqual(yield* logOf(run.id), lines)
      assert.deepStrictEqual(yield* logOf(run.id, { fromSeq: 2, limit: 2 }), lines.slice(2, 4))
      assert.deepStrictEqual(yield* logOf((yield* encoded()).id), [])
    })
  )

  rule("every field of a line is kept", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const run = yield* enqueueOne()
      const full = new Store.LogLine({
        runId: run.id,
        seq: 7,
        attempt: 3,
        at: 1_700_000_000_123,
        level: "WARN",
        message: "two\nlines, 日本語, 😀 and ' \" \\",
        annotations: { text: "ü", number: 1.5, list: [1, { deep: null }] },
        spans: ["outer", "inner"]
      })
      yield* store.appendLogs([full])
      assert.deepStrictEqual(yield* logOf(run.id), [full])
    })
  )

  rule("a line that is there already is left as it is", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const run = yield* enqueueOne()
      yield* store.appendLogs([line(run.id, 0, "first")])
      yield* store.appendLogs([line(run.id, 0, "again"), line(run.id, 1, "second")])
      assert.deepStrictEqual(
        (yield* logOf(run.id)).map(({ message }) => message),
        ["first", "second"]
      )
    })
  )

  rule("lines that arrive late are put in their places", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const run = yield* enqueueOne()
      yield* store.appendLogs([line(run.id, 2), line(run.id, 4)])
      yield* store.appendLogs([line(run.id, 3), line(run.id, 0)])
      assert.deepStrictEqual(
        (yield* logOf(run.id)).map(({ seq }) => seq),
        [0, 2, 3, 4]
      )
    })
  )

  rule("consumers are recorded, renewed and removed", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const consumer = (id: string, seenAt: number) =>
        new Store.ConsumerRecord({
          id,
          startedAt: 1,
          seenAt,
          queues: ["default", "ü"],
          tasks: ["T"],
          maxConcurrentTasks: 10,
          running: 3,
          stopping: seenAt > 5
        })
      yield* store.putConsumers([consumer("A", 1), consumer("B", 2)])
      yield* store.putConsumers([consumer("B", 9)])
      assert.sameDeepMembers([...(yield* store.consumers)], [consumer("A", 1), consumer("B", 9)])
      yield* store.removeConsumers(["A", "unknown"])
      assert.deepStrictEqual(yield* store.consumers, [consumer("B", 9)])
    })
  )

  rule("what one process records another one sees", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const run = ended(yield* encoded(), "success", 5)
      yield* record(run)
      yield* eventually(Effect.map(other.run(query()), (runs) => assert.deepStrictEqual(runs, [run])))
    })
  )
}

import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskConsumer, TaskError, TaskGroup, TaskManager } from "@effect-tasks/core"
import { Deferred, Effect, Either, Exit, Fiber, type Layer, Random, Schedule, Schema } from "effect"
import { advance, eventually, type Family, quiet } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

const Item = Task.make("Item", {
  payload: { n: Schema.Number },
  success: Schema.Number,
  error: Oops
})

type ItemTask = typeof Item
type Items = ReadonlyArray<Task.BatchItem<{ readonly n: number }>>

const options = { maxSize: 3, maxWait: "1 second" } as const

/** Starts a consumer whose handler is this Layer. */
const serve = <E, R>(
  handler: Layer.Layer<Task.Handler<"Item">, E, R>,
  { task = Item, ...options }: TaskConsumer.Options & { readonly task?: ItemTask } = {}
) =>
  TaskConsumer.make(TaskGroup.make(task), { grace: 0, ...options }).pipe(
    Effect.provide(handler),
    Effect.orDie,
    Effect.tap(quiet)
  )

const queue = (count: number, task: ItemTask = Item) => task.queueAll(Array.from({ length: count }, (_, n) => ({ n })))

/** The numbers of the items. */
const numbers = (items: Items) => items.map(({ payload }) => payload.n)

/** Ten times the number of each item. */
const tenfold = (items: Items) => items.map(({ payload }) => Exit.succeed(payload.n * 10))

/** A handler that notes its batches, and gives ten times each number after the time. */
const noting =
  (batches: Array<ReadonlyArray<number>>, millis = 0) =>
  (items: Items) =>
    Effect.sync(() => batches.push(numbers(items))).pipe(
      Effect.zipRight(millis === 0 ? Effect.void : Effect.sleep(millis)),
      Effect.as(tenfold(items))
    )

/** A handler that never ends, and notes its starts and its ends. */
const hanging =
  (steps: Array<string>, finalizer: Effect.Effect<void> = Effect.void) =>
  (items: Items) =>
    Effect.sync(() => steps.push(`began ${numbers(items)}`)).pipe(
      Effect.zipRight(Effect.never),
      Effect.onInterrupt(() =>
        Effect.zipRight(
          finalizer,
          Effect.sync(() => steps.push("ended"))
        )
      )
    )

/** Handlers that perform several runs at once. */
export const batches: Family = (rule) => {
  rule("a batch begins when it is full, in the order of the runs, and each run gets its own exit", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, options, noting(seen)))
      const runs = yield* queue(6)
      const results = yield* Effect.forEach(runs, (run) => run.await)
      assert.deepStrictEqual(results, [0, 10, 20, 30, 40, 50])
      assert.deepStrictEqual(seen, [
        [0, 1, 2],
        [3, 4, 5]
      ])
    })
  )

  rule("a batch that is not full begins when its first item has waited long enough", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, options, noting(seen)))
      const first = yield* Item.queue({ n: 1 })
      yield* becomes(first, "running")
      yield* advance(600)
      const second = yield* Item.queue({ n: 2 })
      yield* becomes(second, "running")
      yield* advance(399)
      assert.deepStrictEqual(seen, [])
      yield* advance(1)
      yield* becomes(second, "success")
      assert.deepStrictEqual(seen, [[1, 2]])
      const third = yield* Item.queue({ n: 3 })
      yield* becomes(third, "running")
      yield* advance(999)
      assert.deepStrictEqual(seen.length, 1)
      yield* advance(1)
      assert.strictEqual((yield* becomes(third, "success")).endedAt, 2_000)
    })
  )

  rule("one batch is under way at a time, and the next is made up meanwhile", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, options, noting(seen, 5_000)))
      const runs = yield* queue(8)
      yield* eventuallySync(() => assert.deepStrictEqual(seen, [[0, 1, 2]]))
      yield* advance(4_999)
      assert.strictEqual(seen.length, 1)
      yield* advance(1)
      yield* eventuallySync(() => assert.deepStrictEqual(seen.slice(1), [[3, 4, 5]]))
      yield* advance(5_000)
      yield* eventuallySync(() => assert.deepStrictEqual(seen.slice(2), [[6, 7]]))
      yield* advance(5_000)
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
    })
  )

  rule("as many batches are under way as the concurrency says", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, { ...options, maxSize: 2, concurrency: 2 }, noting(seen, 5_000)))
      const runs = yield* queue(6)
      yield* eventuallySync(() => assert.strictEqual(seen.length, 2))
      yield* advance(5_000)
      yield* eventuallySync(() => assert.strictEqual(seen.length, 3))
      yield* advance(5_000)
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      assert.deepStrictEqual(seen, [
        [0, 1],
        [2, 3],
        [4, 5]
      ])
    })
  )

  rule("each run ends by its own exit, an Either too, and is retried by itself", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<[n: number, attempt: number]>> = []
      const Retried = Task.make("Item", {
        payload: { n: Schema.Number },
        success: Schema.Number,
        error: Oops,
        retry: Schedule.recurs(1).pipe(Schedule.addDelay(() => "10 seconds"))
      })
      yield* serve(
        Task.batch(Retried, options, (items) => {
          seen.push(items.map(({ payload, run }) => [payload.n, run.attempt]))
          return Effect.succeed(
            items.map(({ payload: { n }, run }) => {
              const oops = new Oops({ code: n })
              return n === 0 || run.attempt > 1 ? Either.right(n) : n === 1 ? Either.left(oops) : Exit.die("no")
            })
          )
        }),
        { task: Retried }
      )
      const [first, second, third] = yield* queue(3, Retried)
      yield* becomes(first!, "success")
      yield* becomes(second!, "scheduled")
      yield* becomes(third!, "scheduled")
      yield* advance("11 seconds")
      const ledgers = yield* Effect.forEach([second!, third!], (run) => becomes(run, "success"))
      assert.deepStrictEqual(
        ledgers.map(({ attempts }) => attempts.map(({ outcome }) => outcome._tag)),
        [
          ["Failure", "Success"],
          ["Defect", "Success"]
        ]
      )
      assert.deepStrictEqual(seen, [
        [
          [0, 1],
          [1, 1],
          [2, 1]
        ],
        [
          [1, 2],
          [2, 2]
        ]
      ])
    })
  )

  for (const [how, handler, expected] of [
    ["fails", () => new Oops({ code: 7 }), { _tag: "Oops", code: 7 }],
    ["dies", () => Effect.die(new Error("boom")), { _tag: "TaskDefect", message: "boom" }],
    [
      "throws",
      () => {
        throw new Error("boom")
      },
      { _tag: "TaskDefect", message: "boom" }
    ],
    [
      "gives too few exits",
      (items: Items) => Effect.succeed(tenfold(items).slice(1)),
      { _tag: "TaskDefect", message: "the batch handler of Item gave 2 exits for 3 runs" }
    ]
  ] as const) {
    rule(`when a batch handler ${how}, every run of the batch fails with that`, () =>
      Effect.gen(function* () {
        yield* serve(Task.batch(Item, options, handler as (items: Items) => Effect.Effect<never, Oops>))
        const runs = yield* queue(3)
        for (const run of runs) {
          const error = yield* Effect.flip(run.await)
          const told = error._tag === "TaskDefect" ? { _tag: error._tag, message: defectOf(error) } : error
          assert.deepInclude(told, expected)
        }
      })
    )
  }

  rule("an item whose run is cancelled before the batch begins leaves it", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, options, noting(seen)))
      const first = yield* Item.queue({ n: 1 })
      yield* becomes(first, "running")
      yield* advance(300)
      const second = yield* Item.queue({ n: 2 })
      yield* becomes(second, "running")
      yield* first.cancel()
      yield* becomes(first, "cancelled")
      yield* becomes(yield* Item.queue({ n: 3 }), "running")
      // now the second item is the first one
      yield* advance(999)
      assert.deepStrictEqual(seen, [])
      yield* advance(1)
      yield* becomes(second, "success")
      assert.deepStrictEqual(seen, [[2, 3]])
    })
  )

  rule("an item whose run is cancelled later ends at once, and the others get their exits", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* serve(Task.batch(Item, options, noting(seen, 5_000)))
      const [first, second, third] = yield* queue(3)
      yield* eventuallySync(() => assert.strictEqual(seen.length, 1))
      yield* second!.cancel()
      yield* becomes(second!, "cancelled")
      assert.strictEqual((yield* first!.poll).state, "running")
      yield* advance("5 seconds")
      assert.deepStrictEqual(yield* Effect.forEach([first!, third!], (run) => run.await), [0, 20])
      assert.strictEqual((yield* second!.poll).state, "cancelled")
    })
  )

  rule(
    "when all its runs are cancelled, the batch is interrupted, and its finalizers run before the last one ends",
    () =>
      Effect.gen(function* () {
        const steps: Array<string> = []
        const gate = yield* Deferred.make<void>()
        yield* serve(Task.batch(Item, { ...options, maxSize: 2 }, hanging(steps, Deferred.await(gate))))
        const [first, second, third, fourth] = yield* queue(4)
        yield* eventuallySync(() => assert.deepStrictEqual(steps, ["began 0,1"]))
        yield* first!.cancel()
        yield* becomes(first!, "cancelled")
        yield* second!.cancel()
        yield* quiet
        assert.strictEqual((yield* second!.poll).state, "running")
        assert.deepStrictEqual(steps, ["began 0,1"])
        yield* Deferred.succeed(gate, undefined)
        yield* becomes(second!, "cancelled")
        // the place of the batch is free again
        yield* eventuallySync(() => assert.deepStrictEqual(steps, ["began 0,1", "ended", "began 2,3"]))
        yield* Effect.forEach([third!, fourth!], (run) => run.cancel())
        yield* Effect.forEach([third!, fourth!], (run) => becomes(run, "cancelled"))
      })
  )

  rule("a shutdown interrupts the batch, and gives all its runs back after its finalizers", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const handler = hanging(steps, Effect.sleep("1 second"))
      const consumer = yield* serve(Task.batch(Item, options, handler))
      const runs = yield* queue(4)
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["began 0,1,2"]))
      yield* Effect.forEach(runs, (run) => becomes(run, "running"))
      const stopping = yield* Effect.fork(consumer.gracefullyStop)
      yield* advance(999)
      const states = Effect.forEach(runs, (run) => Effect.map(run.poll, ({ state }) => state))
      assert.deepStrictEqual(yield* states, ["running", "running", "running", "queued"])
      yield* advance(1)
      const report = yield* Fiber.join(stopping)
      assert.deepStrictEqual(steps, ["began 0,1,2", "ended"])
      assert.sameMembers(
        report.givenBack.map(({ id }) => id),
        runs.map(({ id }) => id)
      )
      yield* serve(Task.batch(Item, options, (items) => Effect.succeed(tenfold(items))))
      yield* advance("1 second")
      assert.deepStrictEqual(yield* Effect.forEach(runs, (run) => run.await), [0, 10, 20, 30])
    })
  )

  rule("a timeout is each run's own, and counts the wait for the batch", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      const Timed = Task.make("Item", {
        payload: { n: Schema.Number },
        success: Schema.Number,
        error: Oops,
        timeout: "3 seconds"
      })
      yield* serve(Task.batch(Timed, { maxSize: 9, maxWait: "2 seconds" }, noting(seen, 2_000)), { task: Timed })
      const first = yield* Timed.queue({ n: 1 })
      yield* becomes(first, "running")
      yield* advance("1500 millis")
      const second = yield* Timed.queue({ n: 2 })
      yield* becomes(second, "running")
      yield* advance("1500 millis")
      assert.instanceOf(yield* Effect.flip(first.await), TaskError.TaskTimeout)
      yield* advance("1 second")
      assert.strictEqual(yield* second.await, 20)
      assert.deepStrictEqual(seen, [[1, 2]])
    })
  )

  rule("what an item performs belongs to its run: progress, lines, verdicts and children; the batch has no run", () =>
    Effect.gen(function* () {
      const manager = yield* TaskManager.TaskManager
      const Child = Task.make("Child", { payload: { of: Schema.Number } })
      const handler = (items: Items) =>
        Effect.gen(function* () {
          yield* Effect.log("for all")
          yield* Child.queue({ of: -1 })
          return yield* Effect.forEach(items, (item) => {
            const { n } = item.payload
            const part = Effect.gen(function* () {
              yield* Effect.log(`for ${n}`)
              yield* CurrentRun.progress(0.5)
              yield* Child.queue({ of: n })
              return yield* n === 0
                ? CurrentRun.abort("enough")
                : n === 1
                  ? CurrentRun.snooze("1 hour")
                  : Effect.succeed(n)
            })
            return Effect.exit(item.use(part))
          })
        })
      yield* serve(Task.batch(Item, options, handler))
      const runs = yield* queue(3)
      const states = ["aborted", "scheduled", "success"] as const
      yield* Effect.forEach(runs, (run, i) => becomes(run, states[i]!))
      const lines = yield* Effect.forEach(runs, ({ id }) => manager.logs(id))
      assert.deepStrictEqual(
        lines.map((lines) => lines.map(({ message }) => message)),
        [["for 0"], ["for 1"], ["for 2"]]
      )
      assert.strictEqual((yield* runs[2]!.poll).progress?.value, 0.5)
      const { items } = yield* manager.runs({ task: "Child" })
      assert.deepStrictEqual(items.map(({ parentId, payload }) => [payload, parentId]).reverse(), [
        [{ of: -1 }, null],
        ...runs.map(({ id }, of) => [{ of }, id])
      ])
    })
  )

  rule("a batch has a Scope of its own, closed when its handler has ended and before its runs have", () =>
    Effect.gen(function* () {
      const steps: Array<string> = []
      const handler = (items: Items) =>
        Effect.acquireRelease(
          Effect.sync(() => steps.push("open")),
          () =>
            Effect.zipRight(
              Effect.sleep("1 second"),
              Effect.sync(() => steps.push("closed"))
            )
        ).pipe(Effect.as(tenfold(items)))
      yield* serve(Task.batch(Item, options, handler))
      const runs = yield* queue(3)
      yield* eventuallySync(() => assert.deepStrictEqual(steps, ["open"]))
      yield* quiet
      assert.strictEqual((yield* runs[0]!.poll).state, "running")
      yield* advance("1 second")
      yield* becomes(runs[0]!, "success")
      assert.deepStrictEqual(steps, ["open", "closed"])
    })
  )

  rule("a run that is performed in place goes through the batch handler too", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      const both = yield* Effect.all([Item.execute({ n: 1 }), Item.execute({ n: 2 }), Item.execute({ n: 3 })], {
        concurrency: "unbounded"
      }).pipe(Effect.provide(Task.batch(Item, options, noting(seen))))
      assert.deepStrictEqual(both, [10, 20, 30])
      assert.deepStrictEqual(seen, [[1, 2, 3]])
    })
  )

  rule("options out of their range are refused when the Layer is built", () =>
    Effect.gen(function* () {
      const build = (changed: Partial<Task.BatchOptions>): Effect.Effect<unknown, unknown> =>
        Effect.flip(
          Effect.provide(
            Effect.void,
            Task.batch(Item, { ...options, ...changed }, () => Effect.succeed([]))
          )
        )
      assert.deepInclude(yield* build({ maxSize: 0 }), { option: "maxSize", value: 0 })
      assert.deepInclude(yield* build({ maxSize: 1.5 }), { option: "maxSize", value: 1.5 })
      assert.deepInclude(yield* build({ concurrency: 0 }), { option: "concurrency", value: 0 })
      assert.deepInclude(yield* build({ maxWait: Number.POSITIVE_INFINITY }), { option: "maxWait" })
    })
  )

  for (const seed of ["a", "b", "c", "d"]) {
    rule(`every run gets just its own exit, whatever the sizes, times and cancellations (seed ${seed})`, () =>
      Effect.gen(function* () {
        const upTo = (n: number) => Random.nextIntBetween(0, n)
        const [maxSize, concurrency, places] = [1 + (yield* upTo(5)), 1 + (yield* upTo(3)), 1 + (yield* upTo(15))]
        const [maxWait, millis] = [yield* upTo(30), yield* upTo(30)]
        const seen: Array<ReadonlyArray<number>> = []
        let underWay = 0
        const handler = (items: Items) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              assert.isAtMost(++underWay, concurrency)
              assert.isAtMost(items.length, maxSize)
              seen.push(numbers(items))
            }),
            () =>
              Effect.as(
                Effect.sleep(millis),
                items.map(({ payload: { n } }) => (n % 3 === 0 ? Exit.fail(new Oops({ code: n })) : Exit.succeed(n)))
              ),
            () => Effect.sync(() => underWay--)
          )
        yield* serve(Task.batch(Item, { maxSize, maxWait, concurrency }, handler), { maxConcurrentTasks: places })
        const runs: Array<Effect.Effect.Success<ReturnType<typeof Item.queue>>> = []
        for (let round = 0; round < 12; round++) {
          for (let i = yield* upTo(4); i > 0; i--) {
            runs.push(yield* Item.queue({ n: runs.length }))
          }
          yield* advance(yield* upTo(20))
          if (runs.length > 0 && (yield* Random.nextBoolean)) {
            yield* runs[yield* upTo(runs.length)]!.cancel()
          }
        }
        const ended = Effect.forEach(runs, (run, n) =>
          Effect.map(run.poll, ({ attempts, outcome, state }) => {
            const expected: { readonly state: string; readonly code: unknown } =
              n % 3 === 0 ? { state: "failure", code: n } : { state: "success", code: n }
            const code =
              outcome?._tag === "Success" ? outcome.value : outcome?._tag === "Failure" ? codeOf(outcome.error) : null
            if (state !== "cancelled") {
              assert.deepStrictEqual({ state, code }, expected)
            }
            assert.isAtMost(attempts.length, 1)
          })
        )
        yield* eventually(Effect.zipRight(advance(60), ended))
        const performed = seen.flat()
        assert.strictEqual(new Set(performed).size, performed.length, "no run was in two batches")
        assert.strictEqual(underWay, 0)
      }).pipe(Effect.withRandom(Random.make(seed)))
    )
  }
}

const codeOf = (error: unknown) => (error as Oops).code

const defectOf = ({ defect }: TaskError.TaskDefect) => (defect as Error).message

import { assert, describe, it } from "@effect/vitest"
import { Batcher } from "@effect-tasks/core"
import { Cause, Deferred, Effect, Exit, Fiber, Scope } from "effect"

/** A batcher that doubles numbers, notes its flushes, and waits in each for the next turn of its gate. */
const makeGated = (options: { readonly maxItems?: number } = {}) =>
  Effect.gen(function* () {
    const flushes: Array<ReadonlyArray<ReadonlyArray<number>>> = []
    const gate = yield* Effect.makeSemaphore(0)
    const batcher = yield* Batcher.make<number, ReadonlyArray<number>, string, never>({
      ...options,
      flush: (groups) =>
        Effect.gen(function* () {
          flushes.push(groups)
          yield* gate.take(1)
          return groups.map((items) =>
            items.includes(0) ? Exit.fail("nought") : Exit.succeed(items.map((item) => item * 2))
          )
        })
    })
    return { batcher, flushes, open: gate.release(1) }
  })

/** Submits from a fiber of its own, which has submitted when this returns. */
const submit = <B, E>(batcher: Batcher.Batcher<number, B, E>, ...items: ReadonlyArray<number>) =>
  Effect.zipLeft(Effect.fork(batcher.submit(items)), Effect.yieldNow())

describe("Batcher", () => {
  it.scoped("flushes a single call at once", () =>
    Effect.gen(function* () {
      const { batcher, flushes, open } = yield* makeGated()
      yield* open
      assert.deepStrictEqual(yield* batcher.submit([1, 2]), [2, 4])
      assert.deepStrictEqual(flushes, [[[1, 2]]])
    })
  )

  it.scoped("joins the calls that come during a flush, and answers each with its own", () =>
    Effect.gen(function* () {
      const { batcher, flushes, open } = yield* makeGated()
      const first = yield* submit(batcher, 1)
      const others = yield* Effect.forEach([2, 3, 4], (n) => submit(batcher, n, 10 * n))
      assert.deepStrictEqual(flushes, [[[1]]])
      yield* open
      assert.deepStrictEqual(yield* Fiber.join(first), [2])
      yield* open
      assert.deepStrictEqual(yield* Effect.forEach(others, Fiber.join), [
        [4, 40],
        [6, 60],
        [8, 80]
      ])
      assert.deepStrictEqual(flushes, [
        [[1]],
        [
          [2, 20],
          [3, 30],
          [4, 40]
        ]
      ])
    })
  )

  it.scoped("lets one call of a flush fail without the others", () =>
    Effect.gen(function* () {
      const { batcher, open } = yield* makeGated()
      const first = yield* submit(batcher, 1)
      const bad = yield* submit(batcher, 0)
      const good = yield* submit(batcher, 2)
      yield* Effect.zipRight(open, open)
      yield* Fiber.join(first)
      assert.strictEqual(yield* Effect.flip(Fiber.join(bad)), "nought")
      assert.deepStrictEqual(yield* Fiber.join(good), [4])
    })
  )

  it.scoped("takes no more calls once a flush has its most items, but any call whole", () =>
    Effect.gen(function* () {
      const { batcher, flushes, open } = yield* makeGated({ maxItems: 3 })
      const fibers = [yield* submit(batcher, 1)]
      for (const items of [[1, 2], [3], [4], [5, 6, 7, 8], [9]]) {
        fibers.push(yield* submit(batcher, ...items))
      }
      yield* Effect.forEach(fibers, () => open)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(flushes, [[[1]], [[1, 2], [3]], [[4]], [[5, 6, 7, 8]], [[9]]])
    })
  )

  it.scoped("takes back what an interrupted caller has handed in, when no flush has taken it yet", () =>
    Effect.gen(function* () {
      const { batcher, flushes, open } = yield* makeGated()
      const first = yield* submit(batcher, 1)
      const second = yield* submit(batcher, 2)
      const third = yield* submit(batcher, 3)
      yield* Fiber.interrupt(second)
      yield* Effect.zipRight(open, open)
      yield* Effect.all([Fiber.join(first), Fiber.join(third)])
      assert.deepStrictEqual(flushes, [[[1]], [[3]]])
    })
  )

  it.scoped("ends a flush whose caller was interrupted, and goes on", () =>
    Effect.gen(function* () {
      const { batcher, flushes, open } = yield* makeGated()
      const first = yield* submit(batcher, 1)
      yield* Fiber.interrupt(first)
      yield* Effect.zipRight(open, open)
      assert.deepStrictEqual(yield* batcher.submit([2]), [4])
      assert.deepStrictEqual(flushes, [[[1]], [[2]]])
    })
  )

  for (const [how, end] of [
    ["fails", Effect.fail("no")],
    ["dies", Effect.die("no")]
  ] as const) {
    it.scoped(`tells all callers of a flush that ${how}, and works on`, () =>
      Effect.gen(function* () {
        let broken = true
        const gate = yield* Deferred.make<void>()
        const batcher = yield* Batcher.make<number, string, string, never>({
          flush: (groups) =>
            Effect.zipRight(
              Deferred.await(gate),
              Effect.suspend(() => (broken ? end : Effect.succeed(groups.map(() => Exit.succeed("done")))))
            )
        })
        const fibers = [yield* submit(batcher, 1), yield* submit(batcher, 2), yield* submit(batcher, 3)]
        yield* Deferred.succeed(gate, undefined)
        for (const fiber of fibers) {
          const exit = yield* Fiber.await(fiber)
          assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === "no")
        }
        broken = false
        assert.strictEqual(yield* batcher.submit([4]), "done")
      })
    )
  }

  it.effect("flushes what callers wait for when its scope closes, and lets nobody in any more", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { batcher, flushes, open } = yield* Scope.extend(makeGated(), scope)
      const first = yield* submit(batcher, 1)
      const second = yield* submit(batcher, 2)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      assert.isTrue(Exit.isInterrupted(yield* Effect.exit(batcher.submit([3]))))
      yield* open
      assert.deepStrictEqual(yield* Fiber.join(first), [2])
      yield* open
      assert.deepStrictEqual(yield* Fiber.join(second), [4])
      yield* Fiber.join(closing)
      assert.deepStrictEqual(flushes, [[[1]], [[2]]])
    })
  )

  it.scoped("gives each of many callers its own answer, in few flushes", () =>
    Effect.gen(function* () {
      let flushes = 0
      const batcher = yield* Batcher.make<number, number, never, never>({
        flush: (groups) =>
          Effect.gen(function* () {
            flushes++
            yield* Effect.yieldNow()
            return groups.map((items) => Exit.succeed(items.reduce((a, b) => a + b, 0)))
          })
      })
      const numbers = Array.from({ length: 500 }, (_, n) => n)
      const answers = yield* Effect.forEach(numbers, (n) => batcher.submit([n, 1_000]), { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers,
        numbers.map((n) => n + 1_000)
      )
      assert.isBelow(flushes, 50)
    })
  )
})

import { assert } from "@effect/vitest"
import { Broker, type Locking } from "@effect-tasks/core"
import { Effect, Queue } from "effect"
import { eventually, type Family, openProcess } from "./harness.js"

const acquire = (name: string, owner: string, now: number, leaseUntil: number) =>
  Effect.flatMap(Broker.Broker, (broker) => broker.acquireLock({ name, owner, now, leaseUntil }))

const fenceOf = (result: Locking.LockResult): number => {
  assert(result._tag === "Acquired")
  return result.fence
}

/** Locks, as a broker has them. */
export const locks: Family = (rule) => {
  rule("a lock has one holder, until its lease has ended or it is released", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const first = fenceOf(yield* acquire("a", "one", 0, 1_000))
      assert.deepStrictEqual(yield* acquire("a", "two", 999, 2_000), { _tag: "Held", until: 1_000 })
      const other = fenceOf(yield* acquire("b", "two", 0, 1_000))
      assert.notStrictEqual(other, first)
      const second = fenceOf(yield* acquire("a", "two", 1_000, 2_000))
      assert.isAbove(second, first)
      yield* broker.releaseLocks([{ name: "a", fence: second }])
      const third = fenceOf(yield* acquire("a", "three", 1_000, 2_000))
      assert.isAbove(third, second)
    })
  )

  rule("a wish that is repeated gets the lock that it got before", () =>
    Effect.gen(function* () {
      const fence = fenceOf(yield* acquire("a", "one", 0, 1_000))
      assert.strictEqual(fenceOf(yield* acquire("a", "one", 500, 1_500)), fence)
      assert.deepStrictEqual(yield* acquire("a", "two", 1_200, 3_000), { _tag: "Held", until: 1_500 })
    })
  )

  rule("leases are extended, each to its own end; a lock that is not held is lost", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const a = { name: "a", fence: fenceOf(yield* acquire("a", "one", 0, 1_100)) }
      const b = { name: "b", fence: fenceOf(yield* acquire("b", "one", 0, 1_100)) }
      const old = { name: "c", fence: fenceOf(yield* acquire("c", "one", 0, 1_000)) }
      const taken = fenceOf(yield* acquire("c", "two", 1_000, 2_000))
      const gone = { name: "d", fence: 1_000_000 }
      const renewal = [
        { ...a, leaseUntil: 1_500 },
        { ...b, leaseUntil: 2_500 },
        { ...old, leaseUntil: 9_000 },
        { ...gone, leaseUntil: 9_000 }
      ]
      assert.deepStrictEqual(yield* broker.renewLocks({ locks: renewal, now: 1_050 }), [old, gone])
      assert.deepStrictEqual(yield* acquire("a", "two", 1_400, 5_000), { _tag: "Held", until: 1_500 })
      assert.deepStrictEqual(yield* acquire("b", "two", 1_400, 5_000), { _tag: "Held", until: 2_500 })
      assert.deepStrictEqual(yield* acquire("c", "three", 1_400, 5_000), { _tag: "Held", until: 2_000 })
      // who lost it cannot release it either
      yield* broker.releaseLocks([old, gone])
      assert.deepStrictEqual(yield* acquire("c", "three", 1_400, 5_000), { _tag: "Held", until: 2_000 })
      yield* broker.releaseLocks([{ name: "c", fence: taken }, a])
      assert.isAbove(fenceOf(yield* acquire("c", "three", 1_400, 5_000)), taken)
      assert.isAbove(fenceOf(yield* acquire("a", "three", 1_400, 5_000)), a.fence)
    })
  )

  rule("of many who ask at the same time one gets the lock", () =>
    Effect.gen(function* () {
      const processes = yield* Effect.replicateEffect(openProcess, 3)
      const asks = Array.from({ length: 24 }, (_, i) => processes[i % 3]!.run(acquire("a", `owner ${i}`, 0, 1_000)))
      const results = yield* Effect.all(asks, { concurrency: "unbounded" })
      assert.strictEqual(results.filter(({ _tag }) => _tag === "Acquired").length, 1)
    })
  )

  rule("names and owners are taken as they are", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const names = ["a", "A", "a ", "\u001fa", "\u001fa\u001fb", 'it"s', "ä", "%", "a".repeat(400)]
      const refs = yield* Effect.forEach(names, (name) =>
        Effect.map(acquire(name, "one", 0, 1_000), (result) => ({ name, fence: fenceOf(result) }))
      )
      const renewal = refs.map((ref) => ({ ...ref, leaseUntil: 2_000 }))
      assert.deepStrictEqual(yield* broker.renewLocks({ locks: renewal, now: 0 }), [])
      yield* broker.releaseLocks(refs)
      for (const name of names) {
        fenceOf(yield* acquire(name, "two", 0, 1_000))
      }
    })
  )

  rule("a release is told of", () =>
    Effect.gen(function* () {
      const broker = yield* Broker.Broker
      const other = yield* openProcess
      const signals = yield* other.run(Effect.flatMap(Broker.Broker, (broker) => broker.signals))
      const fence = fenceOf(yield* acquire("a", "one", 0, 1_000))
      yield* broker.releaseLocks([{ name: "a", fence }])
      const heard: Array<Broker.Signal> = []
      yield* eventually(
        Effect.gen(function* () {
          heard.push(...(yield* Queue.takeAll(signals)))
          const isIt = (signal: Broker.Signal) =>
            signal._tag === "Changed" || (signal._tag === "Unlocked" && signal.names.includes("a"))
          assert.isTrue(heard.some(isIt))
        })
      )
    })
  )
}

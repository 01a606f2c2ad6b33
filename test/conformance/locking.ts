import { assert } from "@effect/vitest"
import { CurrentRun, RetryPolicy, Task, TaskError, TaskGroup, TaskLock } from "@effect-tasks/core"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { advance, eventually, type Family, openProcess, openProcessWith, quiet, serve } from "./harness.js"
import { becomes, eventuallySync } from "./observing.js"

const away = new TaskError.BackendError({ backend: "test", operation: "renewLocks", transient: true })

/** A process whose locks are no longer extended from some moment on. */
const failingProcess = (isAway: () => boolean) =>
  openProcessWith({
    broker: (broker) => ({
      ...broker,
      renewLocks: (renewal) => (isAway() ? away : broker.renewLocks(renewal)),
      releaseLocks: (locks) => (isAway() ? away : broker.releaseLocks(locks))
    })
  })

const tagOf = <A, E extends { readonly _tag: string }, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(self), ({ _tag }) => _tag)

/** Takes a lock in a fiber of its own, and holds it until it is told to let go. */
const hold = (name: string, options?: TaskLock.Options) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const taking = yield* Effect.fork(Scope.extend(TaskLock.acquire(name, options), scope))
    const lock = yield* Effect.flatten(taking.await)
    return { lock, release: Scope.close(scope, Exit.void) }
  })

/** Locks of programs and of handlers. */
export const locking: Family = (rule) => {
  rule("24 claimants in several processes hold a lock one after the other, with growing fences", () =>
    Effect.gen(function* () {
      const processes = yield* Effect.replicateEffect(openProcess, 3)
      const fences: Array<number> = []
      let inside = 0
      let most = 0
      const claim = TaskLock.withLock("a")((lock) =>
        Effect.gen(function* () {
          most = Math.max(most, ++inside)
          fences.push(lock.fence)
          yield* Effect.yieldNow()
          inside--
        })
      )
      const all = yield* Effect.fork(
        Effect.forEach(Array(24), (_, i) => processes[i % 3]!.run(claim), { concurrency: "unbounded" })
      )
      // where a release is seen late, who waits asks again
      while (all.unsafePoll() === null) {
        yield* advance("1 second")
      }
      yield* Fiber.join(all)
      assert.strictEqual(most, 1)
      assert.strictEqual(fences.length, 24)
      assert.deepStrictEqual(
        fences,
        fences.slice().sort((a, b) => a - b)
      )
      assert.strictEqual(new Set(fences).size, 24)
    })
  )

  rule("a lock is kept for longer than its lease, and is free when its scope is closed", () =>
    Effect.gen(function* () {
      const other = yield* openProcess
      const { release } = yield* hold("a", { lease: "1 second" })
      yield* advance("5 seconds")
      assert.strictEqual(yield* other.run(tagOf(TaskLock.acquire("a", { wait: 0 }))), "LockTimeout")
      yield* release
      assert.strictEqual((yield* other.run(TaskLock.acquire("a", { wait: 0 }))).name, "a")
    })
  )

  rule("a lock is released however its effect ends", () =>
    Effect.gen(function* () {
      const use = TaskLock.withLock("a", { wait: 0 })
      assert.strictEqual(yield* use(Effect.succeed(1)), 1)
      assert.strictEqual(yield* Effect.flip(use(Effect.fail("failed"))), "failed")
      const died = yield* Effect.exit(use(Effect.die("died")))
      assert.isTrue(Exit.isFailure(died) && Cause.isDie(died.cause))
      const begun = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(use(Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)))
      yield* Deferred.await(begun)
      assert.strictEqual(yield* tagOf(use(Effect.void)), "LockTimeout")
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* use(Effect.succeed(2)), 2)
    })
  )

  rule("waiting ends with a typed error after its time, and can be interrupted", () =>
    Effect.gen(function* () {
      const { release } = yield* hold("a")
      const waiting = yield* Effect.fork(Effect.flip(TaskLock.withLock("a", { wait: "3 seconds" })(Effect.void)))
      const second = yield* Effect.fork(TaskLock.withLock("a", { wait: "3 seconds" })(Effect.void))
      const third = yield* Effect.fork(TaskLock.withLock("a")(Effect.succeed("third")))
      yield* advance("1 second")
      yield* Fiber.interrupt(second)
      assert.isNull(waiting.unsafePoll())
      yield* advance("2 seconds")
      const error = yield* Fiber.join(waiting)
      assert(error._tag === "LockTimeout")
      assert.deepInclude(error, { lock: "a", waitedMillis: 3_000 })
      yield* release
      assert.strictEqual(yield* Fiber.join(third), "third")
    })
  )

  rule("after a crash the lock is free when its lease has ended; its holder was interrupted before", () =>
    Effect.gen(function* () {
      let isAway = false
      const crashing = yield* failingProcess(() => isAway)
      const log: Array<string> = []
      const note = (line: string) => Effect.sync(() => log.push(line))
      const holding = yield* Effect.fork(
        crashing.run(
          Effect.exit(
            TaskLock.withLock("a", { lease: "6 seconds" })(
              Effect.onInterrupt(Effect.zipRight(note("first"), Effect.never), () => note("interrupted"))
            )
          )
        )
      )
      yield* quiet
      isAway = true
      const second = yield* Effect.fork(TaskLock.withLock("a")((lock) => Effect.as(note("second"), lock.fence)))
      yield* advance("5 seconds")
      const exit = yield* Fiber.join(holding)
      assert.isTrue(Exit.isFailure(exit))
      const error = yield* Effect.flip(exit)
      assert(error._tag === "LockLost")
      assert.deepStrictEqual(log, ["first", "interrupted"])
      yield* advance("2 seconds")
      assert.isAbove(yield* Fiber.join(second), error.fence)
      assert.deepStrictEqual(log, ["first", "interrupted", "second"])
    })
  )

  rule("an outage that is shorter than the lease loses nothing", () =>
    Effect.gen(function* () {
      let isAway = false
      const process = yield* failingProcess(() => isAway)
      const holding = yield* Effect.fork(
        process.run(TaskLock.withLock("a", { lease: "6 seconds" })(Effect.as(Effect.sleep("20 seconds"), "held")))
      )
      yield* advance("2 seconds")
      isAway = true
      yield* advance("3 seconds")
      isAway = false
      yield* advance("15 seconds")
      assert.strictEqual(yield* Fiber.join(holding), "held")
    })
  )

  rule("who holds a lock cannot take it once more, nor can the fibers that it forks", () =>
    Effect.gen(function* () {
      const again = TaskLock.withLock("a")(Effect.void)
      yield* TaskLock.withLock("a")(
        Effect.gen(function* () {
          assert.strictEqual(yield* tagOf(again), "LockReentered")
          assert.strictEqual(yield* Effect.flatMap(Effect.fork(tagOf(again)), Fiber.join), "LockReentered")
          yield* TaskLock.withLock("b")(Effect.void)
        })
      )
      yield* again
    })
  )

  rule("a name or a lease that is none is refused", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* tagOf(TaskLock.acquire("")), "InvalidOption")
      assert.strictEqual(yield* tagOf(TaskLock.acquire("a\u001fb")), "InvalidOption")
      assert.strictEqual(yield* tagOf(TaskLock.acquire("a", { lease: 0 })), "InvalidOption")
      assert.strictEqual(yield* tagOf(TaskLock.acquire("a", { lease: Duration.infinity })), "InvalidOption")
    })
  )

  rule("the locks of a task belong to it, and are free when the attempt has ended", () =>
    Effect.gen(function* () {
      const Sync = Task.make("Sync", { payload: { name: Schema.optional(Schema.String) }, success: Schema.Number })
      const Other = Task.make("Other", { success: Schema.Number })
      const gate = yield* Deferred.make<void>()
      let inside = 0
      yield* serve(TaskGroup.make(Sync, Other), {
        Sync: ({ name }) =>
          Effect.gen(function* () {
            const { fence } = yield* CurrentRun.lock(name, { wait: 0 })
            inside++
            yield* Deferred.await(gate)
            return fence
          }),
        Other: () => Effect.map(CurrentRun.lock(), ({ fence }) => fence)
      })
      const whole = yield* Sync.queue({})
      const named = yield* Sync.queue({ name: "a" })
      yield* eventuallySync(() => assert.strictEqual(inside, 2))
      // the same names, elsewhere
      yield* Other.queueAndWait()
      yield* TaskLock.withLock("Sync", { wait: 0 })(Effect.void)
      yield* TaskLock.withLock("a", { wait: 0 })(Effect.void)
      const refused = yield* Sync.queue({ name: "a" })
      const { outcome } = yield* becomes(refused, "failure")
      assert.strictEqual(outcome?._tag === "Defect" ? outcome.name : undefined, "LockTimeout")
      yield* Deferred.succeed(gate, undefined)
      yield* whole.await
      const fence = yield* named.await
      const next = yield* Sync.queueAndWait({ name: "a" })
      assert.isAbove(next, fence)
      yield* quiet
    })
  )

  rule("a handler that loses its lock is interrupted, and its attempt fails with LockLost", () =>
    Effect.gen(function* () {
      let isAway = false
      const process = yield* failingProcess(() => isAway)
      const once = RetryPolicy.make({ retries: 1, delay: 0 })
      const Sync = Task.make("Sync", { success: Schema.String, retry: once })
      let interrupted = 0
      yield* process.run(
        serve(TaskGroup.make(Sync), {
          Sync: () =>
            Effect.gen(function* () {
              const { attempt } = yield* CurrentRun.CurrentRun
              yield* CurrentRun.lock("a", { lease: "2 seconds" })
              if (attempt > 1) {
                return "second"
              }
              isAway = true
              return yield* Effect.onInterrupt(Effect.never, () =>
                Effect.sync(() => {
                  interrupted++
                  isAway = false
                })
              )
            })
        })
      )
      const run = yield* Sync.queue()
      // the second attempt waits for the end of the lease that the first one has lost
      const { attempts } = yield* eventually(
        Effect.zipRight(
          advance("500 millis"),
          Effect.filterOrFail(run.poll, ({ state }) => state === "success")
        )
      )
      assert.strictEqual(interrupted, 1)
      const [first] = attempts
      assert.strictEqual(first?.outcome._tag === "Defect" ? first.outcome.name : undefined, "LockLost")
    })
  )
}

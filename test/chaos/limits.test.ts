import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { TaskManager, type TaskRun } from "@effect-tasks/core"
import { Clock, Console, Effect, Layer } from "effect"
import { administer, isSkipped, url } from "../postgres/database.js"
import { backendOf } from "./backends.js"
import type { Journal } from "./journal.js"
import { killing } from "./killing.js"
import type { BackendOrders } from "./orders.js"
import { runsOf } from "./records.js"
import { Limited, limits } from "./tasks.js"
import * as Workers from "./workers.js"

const accounts = ["a", "b", "c", "d"]
const runs = 160

/** The most runs that were seen to hold a place at one time: in all, and of each account. */
class Seen {
  all = 0
  readonly ofAccount = new Map<unknown, number>()

  note(running: ReadonlyArray<TaskRun.TaskRun>): void {
    this.all = Math.max(this.all, running.length)
    for (const account of accounts) {
      const count = running.filter((run) => accountOf(run) === account).length
      this.ofAccount.set(account, Math.max(this.ofAccount.get(account) ?? 0, count))
    }
  }
}

/** Looks again and again. What one query gives stood in the database at one moment. */
const looking = (seen: Seen) =>
  Effect.gen(function* () {
    const manager = yield* TaskManager.TaskManager
    return yield* manager.runs({ task: Limited.name, state: ["running"], limit: 100 }).pipe(
      Effect.map(({ items }) => seen.note(items)),
      Effect.zipRight(Effect.sleep("5 millis")),
      Effect.forever
    )
  })

/** By how many runs more than the rate allows have begun in some time; takeovers use no token. */
const overRate = (found: ReadonlyArray<TaskRun.TaskRun>): number => {
  const { burst, every, limit } = limits.rate
  const begun = found.map(({ attempts }) => attempts[0]?.startedAt ?? 0).sort((a, b) => a - b)
  const excess = begun.flatMap((from, i) =>
    begun.slice(i).map((to, n) => n + 1 - Math.floor(burst + ((to - from) * limit) / every))
  )
  return Math.max(0, ...excess)
}

const accountOf = ({ payload }: TaskRun.TaskRun): unknown =>
  typeof payload === "object" && payload !== null && "account" in payload ? payload.account : undefined

const trial = (backend: BackendOrders) =>
  Effect.gen(function* () {
    const journal: Journal = []
    const killedAt = new Map<string, number>()
    const start = (name: string) => Workers.start({ name, backend }, journal)
    const seen = new Seen()
    const found = yield* Effect.gen(function* () {
      yield* Effect.fork(looking(seen))
      const handles = yield* Limited.queueAll(
        Array.from({ length: runs }, (_, n) => ({ account: accounts[n % accounts.length]!, millis: 60 }))
      )
      yield* killing({
        alive: yield* Effect.forEach(["worker0", "worker1", "worker2"], start, { concurrency: "unbounded" }),
        kills: 2,
        start,
        killedAt
      })
      yield* Effect.forEach(handles, (handle) => handle.await, { concurrency: "unbounded" })
      return yield* runsOf(Limited.name)
    }).pipe(Effect.provide(TaskManager.layer.pipe(Layer.provide(backendOf(backend)))), Effect.timeout("60 seconds"))

    assert.strictEqual(found.length, runs)
    const mostOfAccounts = accounts.map((account) => seen.ofAccount.get(account) ?? 0)
    yield* Console.log(
      `limits: at one time ${seen.all} of ${limits.queue}; per account ${mostOfAccounts.join(", ")} of ${limits.perAccount}`
    )
    assert.strictEqual(seen.all, limits.queue)
    assert.strictEqual(Math.max(...mostOfAccounts), limits.perAccount)
    for (const account of accounts) {
      assert.strictEqual(overRate(found.filter((run) => accountOf(run) === account)), 0)
    }
  }).pipe(Effect.provide(NodeContext.layer))

describe("limits over three processes, of which two are killed", () => {
  it.scopedLive(
    "hold on SQLite",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        yield* trial({ _tag: "Sqlite", filename: path.join(yield* fs.makeTempDirectoryScoped(), "limits.db") })
      }).pipe(Effect.provide(NodeContext.layer)),
    100_000
  )

  it.skipIf(isSkipped)(
    "hold on PostgreSQL",
    () =>
      Effect.gen(function* () {
        const schema = `limits_${process.pid}_${(yield* Clock.currentTimeMillis).toString(36)}`
        yield* Effect.addFinalizer(() =>
          Effect.orDie(administer((sql) => sql.unsafe(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)))
        )
        yield* trial({ _tag: "Postgres", url, schema })
      }).pipe(Effect.scoped, Effect.runPromise),
    100_000
  )
})

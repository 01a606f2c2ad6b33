/* Outages of the database itself: a file that somebody else has locked, under load. */
import fs from "node:fs/promises"
import os from "node:os"
import path from "node:path"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { assert, describe, it } from "@effect/vitest"
import { Task, TaskConsumer, TaskEvents, TaskGroup, TaskManager } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Clock, Effect, Layer, Schema, TestClock } from "effect"

const Work = Task.make("Work", { payload: { n: Schema.Number } })
const liveClock = Clock.make()
const pause = (millis: number) => Effect.withClock(Effect.sleep(millis), liveClock)

/** Waits in real time until a check holds. */
const eventually = (check: Effect.Effect<boolean>, what: string) =>
  Effect.gen(function* () {
    const deadline = liveClock.unsafeCurrentTimeMillis() + 8_000
    while (!(yield* check)) {
      assert.isBelow(liveClock.unsafeCurrentTimeMillis(), deadline, what)
      yield* pause(5)
    }
  })

/** Virtual time passes in small steps, and the database has real time to answer in between. */
const pass = (seconds: number) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust("500 millis"), pause(2)), seconds * 2 - 1)

const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "effect-tasks-"))),
    (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
  ),
  (directory) => path.join(directory, "tasks.db")
)

/** Locks the file until the Scope closes. */
const lock = (filename: string) =>
  Effect.gen(function* () {
    const other = yield* Layer.build(SqliteClient.layer({ filename }))
    const run = (sql: string) =>
      Effect.provide(
        Effect.flatMap(SqliteClient.SqliteClient, (client) => client.unsafe(sql)),
        other
      )
    yield* Effect.acquireRelease(
      run("BEGIN EXCLUSIVE").pipe(
        Effect.tapError(() => pause(1)),
        Effect.retry({ times: 1_000 })
      ),
      () => Effect.orDie(run("ROLLBACK"))
    )
  })

describe("an outage of the database", () => {
  it.scoped("a file that is locked for 30 seconds under load: not ready, then back by itself, each run ends once", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const backend = yield* Layer.build(
        TaskManager.layer.pipe(Layer.provideMerge(SqliteBackend.layer({ filename, busyTimeout: "2 millis" })))
      )
      yield* Effect.gen(function* () {
        const ends = new Map<string, number>()
        yield* TaskEvents.on("success", ({ run }) =>
          Effect.sync(() => void ends.set(run.id, (ends.get(run.id) ?? 0) + 1))
        )
        const performed = new Map<number, number>()
        const consumer = yield* TaskConsumer.make(TaskGroup.make(Work), { grace: 0, lease: "2 minutes" }).pipe(
          Effect.provide(
            Work.toLayer(({ n }) =>
              Effect.zipRight(
                Effect.sleep(500 + 100 * (n % 20)),
                Effect.sync(() => void performed.set(n, (performed.get(n) ?? 0) + 1))
              )
            )
          )
        )
        const runs = yield* Work.queueAll(Array.from({ length: 200 }, (_, n) => ({ n })))
        yield* pass(3)
        assert.isTrue(yield* consumer.ready)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* lock(filename)
            const before = performed.size
            yield* pass(30)
            yield* eventually(
              Effect.map(consumer.ready, (ready) => !ready),
              "not ready in the outage"
            )
            assert.isTrue(yield* consumer.alive)
            assert.isAtMost(performed.size, before + 30)
          })
        )
        yield* eventually(
          Effect.zipRight(
            pass(5),
            Effect.sync(() => ends.size === runs.length)
          ),
          "all runs end"
        )
        assert.isTrue(yield* consumer.ready)
        assert.isTrue(runs.every(({ id }) => ends.get(id) === 1))
        assert.isTrue(Array.from(performed.values()).every((times) => times === 1))
        const manager = yield* TaskManager.TaskManager
        assert.deepInclude(yield* manager.counts(), { success: 200, queued: 0, running: 0, failure: 0 })
      }).pipe(Effect.provide(backend))
    })
  )
})

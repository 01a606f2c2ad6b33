import { fileURLToPath } from "node:url"
import { Command, FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { TaskManager, TaskScheduler } from "@effect-tasks/core"
import { Clock, Console, Effect, Layer, Schema, Stream } from "effect"
import { freshSchema, isSkipped, url } from "../postgres/database.js"
import { backendOf } from "./backends.js"
import { Beating, beats, count, millis } from "./beats.js"
import { read } from "./lines.js"
import type { BackendOrders } from "./orders.js"
import { runsOf } from "./records.js"

const file = fileURLToPath(new URL("./scheduler.ts", import.meta.url))

/** Starts a scheduler process, and waits until it fires. */
const start = (beating: typeof Beating.Type) =>
  Effect.gen(function* () {
    const ready = yield* Effect.makeLatch()
    const argument = yield* Schema.encode(Schema.parseJson(Beating))(beating)
    const process = yield* Command.start(
      Command.make("node", "--import", "tsx", file, argument).pipe(Command.stderr("inherit"))
    )
    yield* process.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runForEach((line) => (read(line)?.kind === "ready" ? ready.open : Effect.void)),
      Effect.forkScoped
    )
    return { process, isReady: Effect.timeout(ready.await, "60 seconds") }
  })

const sleepUntil = (at: number) => Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, at - now)))

/** Two schedulers at work, one killed half-way and started again: which ticks have been fired, and how often. */
const trial = (backend: BackendOrders) =>
  Effect.gen(function* () {
    const [first, second] = yield* Effect.all([start({ backend }), start({ backend })])
    yield* Effect.all([first.isReady, second.isReady])
    const startAt = (yield* Clock.currentTimeMillis) + 1_000
    // declares the schedule, and fires nothing itself
    yield* Effect.scoped(TaskScheduler.make(beats(startAt)))
    yield* sleepUntil(startAt + (count / 2) * millis)
    yield* first.process.kill("SIGKILL").pipe(Effect.ignore)
    const again = yield* start({ backend })
    yield* again.isReady
    const scheduler = yield* TaskScheduler.TaskScheduler
    yield* scheduler
      .get("Beat")
      .pipe(Effect.delay("200 millis"), Effect.repeat({ until: ({ nextTick }) => nextTick === null }))
    const times = new Map<number, number>()
    for (const { tags } of yield* runsOf("Beat")) {
      const tick = Date.parse(tags.find((tag) => tag.startsWith("tick:"))?.slice("tick:".length) ?? "")
      times.set(tick, (times.get(tick) ?? 0) + 1)
    }
    const ticks = Array.from({ length: count }, (_, i) => startAt + i * millis)
    const lost = ticks.filter((tick) => !times.has(tick)).length
    const twice = Array.from(times.values()).filter((fired) => fired > 1).length
    yield* Console.log(`${backend._tag}: ${times.size} of ${count} ticks fired, ${lost} lost, ${twice} fired twice`)
    assert.deepStrictEqual(
      Array.from(times).sort(([a], [b]) => a - b),
      ticks.map((tick) => [tick, 1])
    )
  }).pipe(
    Effect.provide([
      TaskScheduler.client.pipe(
        Layer.provideMerge(TaskManager.layer),
        Layer.provideMerge(Layer.orDie(backendOf(backend)))
      ),
      NodeContext.layer
    ])
  )

describe("two schedulers, one of them killed", () => {
  it.scopedLive("on SQLite: each tick is fired exactly once", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      yield* trial({ _tag: "Sqlite", filename: path.join(yield* fs.makeTempDirectoryScoped(), "schedule.db") })
    }).pipe(Effect.provide(NodeContext.layer))
  )

  it.scopedLive.skipIf(isSkipped)("on PostgreSQL: each tick is fired exactly once", () =>
    Effect.flatMap(freshSchema, (schema) => trial({ _tag: "Postgres", url, schema }))
  )
})

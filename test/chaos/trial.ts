import { assert } from "@effect/vitest"
import { TaskManager, type TaskRun } from "@effect-tasks/core"
import { Clock, Console, Data, Effect, Fiber, Schedule } from "effect"
import { line, type Moments, recoveries } from "./figures.js"
import { form } from "./form.js"
import { saidOf, times } from "./journal.js"
import { make as makeProduced, type Produced, produce, survive } from "./producing.js"
import { allRuns } from "./records.js"
import { Scene } from "./scene.js"

/** Generous: the machine may have other things to do. */
const drainWithin = "60 seconds"

class TrialFailed extends Data.TaggedError("TrialFailed")<{ readonly message: string }> {}

const often = Schedule.spaced("50 millis")

/** Until every worker that should live has settled something since then. */
const recovered = (since: number) =>
  Effect.flatMap(Scene, ({ alive, journal }) => {
    const missing = () => {
      const found = recoveries(
        journal,
        alive.map(({ name }) => name),
        since
      )
      return alive.filter((_, i) => found[i] === null).map(({ name }) => name)
    }
    return Effect.sync(missing).pipe(
      Effect.repeat({ until: (names) => names.length === 0, schedule: often }),
      Effect.timeoutFail({
        duration: form.recovery,
        onTimeout: () => new TrialFailed({ message: `not recovered: ${missing().join(", ")}` })
      })
    )
  })

/** Until all that was ever queued has ended. */
const drained = Effect.gen(function* () {
  const { numbered } = yield* Scene
  const manager = yield* TaskManager.TaskManager
  let counts: unknown
  yield* survive(manager.counts()).pipe(
    Effect.tap((found) => Effect.sync(() => (counts = found))),
    Effect.repeat({ until: ({ success }) => success >= numbered(), schedule: often }),
    Effect.timeoutFail({
      duration: drainWithin,
      onTimeout: () =>
        new TrialFailed({ message: `of ${numbered()} runs not all have ended: ${JSON.stringify(counts)}` })
    })
  )
})

/** Nothing was lost, nothing was queued twice, nothing has ended twice, and who lives is who should. */
const check = (produced: Produced, found: ReadonlyArray<TaskRun.TaskRun>) =>
  Effect.gen(function* () {
    const { alive, journal, killedAt, numbered } = yield* Scene
    assert.strictEqual(found.length, numbered(), "a run was lost, or queued twice")
    const ids = new Set(produced.ids.values())
    const runs = found.filter(({ id }) => ids.has(id))
    assert.strictEqual(runs.length, produced.ids.size, "a run was lost, or queued twice")
    assert.deepStrictEqual(
      runs.filter(({ state }) => state !== "success").map(({ id, outcome, state }) => ({ id, outcome, state })),
      []
    )
    const settled = times(journal, "settled")
    const wrong = runs.flatMap(({ attempts, consumer, id }) => {
      const count = settled.get(id) ?? 0
      const by = (consumer ?? attempts[attempts.length - 1]?.consumer ?? "").split("-")[0]!
      // who is killed behind the commit has nothing left to say
      return count === 1 || (count === 0 && killedAt.has(by)) ? [] : [{ id, count, by, attempts: attempts.length }]
    })
    assert.deepStrictEqual(wrong, [], "a run was not told of as settled exactly once")
    const running = yield* Effect.filter(alive, ({ process }) => process.isRunning)
    assert.deepStrictEqual(
      running.map(({ name }) => name),
      alive.map(({ name }) => name),
      "a worker process has ended"
    )
    return runs
  })

/** What the workers have warned of, in case of a failure. */
const showWarnings = (since: number) =>
  Effect.flatMap(Scene, ({ journal }) =>
    Console.log(
      saidOf(journal, "warned")
        .filter(({ at }) => at >= since)
        .slice(-60)
        .map(({ about, at, worker }) => `${at - since} ${worker} ${about.slice(0, 300)}`)
        .join("\n")
    )
  )

/**
 * Tries a fault while producers queue and workers work, and checks what has become of the runs. The fault is an effect that
 * lasts as long as the fault.
 */
export const trial = <E, R>(name: string, fault: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    const { alive, journal, next } = yield* Scene
    const produced = makeProduced()
    const loaded = yield* Clock.currentTimeMillis
    const found = yield* Effect.gen(function* () {
      const producers = yield* Effect.fork(produce(produced, next))
      yield* Effect.sleep(form.before)
      const began = yield* Clock.currentTimeMillis
      yield* fault
      const ended = yield* Clock.currentTimeMillis
      yield* Effect.all([recovered(ended), Effect.sleep(form.after)], { concurrency: "unbounded" })
      const unloaded = yield* Clock.currentTimeMillis
      yield* Fiber.interrupt(producers)
      yield* drained
      const moments: Moments = { loaded, began, ended, unloaded }
      return { moments, runs: yield* survive(allRuns) }
    }).pipe(Effect.tapErrorCause(() => showWarnings(loaded)))
    // the lines of the last ones are under way
    yield* Effect.sleep("300 millis")
    const runs = yield* Effect.tapErrorCause(check(produced, found.runs), () => showWarnings(loaded))
    const workers = alive.map(({ name }) => name)
    yield* Console.log(line(name, journal, produced, runs, workers, found.moments))
    yield* Effect.sync(() => produced.answered).pipe(
      Effect.repeat({ until: (answered) => answered >= produced.awaited, schedule: often }),
      Effect.timeoutFail({
        duration: "15 seconds",
        onTimeout: () => new TrialFailed({ message: "somebody waits for a run that has ended" })
      })
    )
    return { ...found.moments, runs }
  }).pipe(Effect.scoped)

/** Tasks that are performed in threads and in child processes, real ones. */

import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { assert } from "@effect/vitest"
import { Backend, TaskConsumer, type TaskError, TaskManager, type TaskRun } from "@effect-tasks/core"
import { NodeExecutor } from "@effect-tasks/node"
import { Cause, Context, Duration, Effect, Exit, HashMap, Layer, Logger, Option, Schedule, Scope, Stream } from "effect"
import { bundle } from "./executor/bundle.js"
import { Again, type Deed, Group, InProcess, InThread, InTime, Refused } from "./executor/tasks.js"
import { layer } from "./sharing.js"

class Entries extends Context.Tag("Entries")<Entries, Effect.Effect.Success<typeof bundle>>() {}

/** What reaches the loggers of the application. */
class Told extends Context.Tag("Told")<
  Told,
  Array<{ readonly level: string; readonly message: unknown; readonly annotations: Record<string, unknown> }>
>() {}

const ToldLive = Layer.unwrapEffect(
  Effect.sync(() => {
    const told: typeof Told.Service = []
    const logger = Logger.make<unknown, void>(({ annotations, logLevel, message }) => {
      told.push({ level: logLevel.label, message, annotations: Object.fromEntries(HashMap.toEntries(annotations)) })
    })
    return Layer.merge(Layer.succeed(Told, told), Logger.replace(Logger.defaultLogger, logger))
  })
)

type Options = Omit<NodeExecutor.Options, "entry"> & { readonly entry?: "worker" | "broken" }

/** The consumer of an application, without its backend. */
const consumer = ({ entry = "worker", ...options }: Options = {}, grace = 0) =>
  Layer.unwrapEffect(
    Effect.map(Entries, (entries) =>
      TaskConsumer.layer(Group, { grace }).pipe(
        Layer.provide(NodeExecutor.layer(Group, { entry: entries(entry), poolSize: 1, ...options }))
      )
    )
  )

const app = (options?: Options) =>
  consumer(options).pipe(
    Layer.provideMerge(TaskManager.layer),
    Layer.provideMerge(Backend.layerMemory),
    Layer.provideMerge(ToldLive)
  )

/** A file that a busy handler writes to. */
const file = Effect.acquireRelease(
  Effect.sync(() => path.join(fs.mkdtempSync(path.join(os.tmpdir(), "effect-tasks-busy-")), "marks")),
  (file) => Effect.sync(() => fs.rmSync(path.dirname(file), { recursive: true, force: true }))
)

/** How much has been written to it so far. */
const sizeOf = (file: string): number => (fs.existsSync(file) ? fs.statSync(file).size : 0)

/** Whether nothing is written to the file any more, while another run is performed. */
const hasStopped = (file: string) =>
  Effect.gen(function* () {
    const before = sizeOf(file)
    yield* InThread.queueAndWait({ deed: { _tag: "Add", a: 1, b: 1 } })
    yield* Effect.sleep("50 millis")
    return sizeOf(file) === before
  })

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Waits for the first report of a handler: the id of its thread or process. */
const begun = (run: Pick<TaskRun.Handle<typeof InThread>, "progress">) =>
  Effect.map(Stream.runHead(run.progress), (progress) => Option.getOrThrow(progress).value)

const untilState = (run: Pick<TaskRun.Handle<typeof InThread>, "poll">, state: string) =>
  Effect.repeat(Effect.delay(run.poll, "10 millis"), { until: (record) => record.state === state })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E => {
  assert.isTrue(Exit.isFailure(exit))
  return Option.getOrThrow(Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none())
}

const kinds = [InThread, InProcess] as const

layer(Layer.scoped(Entries, bundle), { excludeTestServices: true })("tasks in threads and processes", (it) => {
  it.layer(app({ grace: "10 seconds" }))("one worker of each kind", (it) => {
    for (const task of kinds) {
      const perform = (deed: Deed) => Effect.exit(task.queueAndWait({ deed }))

      it.effect(`${task.name}: a success, by the task's schemas`, () =>
        Effect.map(perform({ _tag: "Add", a: 2, b: 3 }), (exit) => assert.deepStrictEqual(exit, Exit.succeed(5)))
      )

      it.effect(`${task.name}: a typed error`, () =>
        Effect.map(perform({ _tag: "Refuse", code: 4 }), (exit) => {
          const error = failureOf(exit)
          assert.instanceOf(error, Refused)
          assert.strictEqual((error as Refused).code, 4)
        })
      )

      it.effect(`${task.name}: a defect, with its name and stack`, () =>
        Effect.map(perform({ _tag: "Die" }), (exit) => {
          const error = failureOf(exit) as TaskError.TaskDefect
          assert.strictEqual(error._tag, "TaskDefect")
          assert.strictEqual((error.defect as Error).name, "RangeError")
          assert.strictEqual((error.defect as Error).message, "out of range")
          assert.match(error.cause, /RangeError: out of range\n +at .*worker/)
        })
      )

      it.effect(`${task.name}: a handler that interrupts itself is broken`, () =>
        Effect.map(perform({ _tag: "Interrupt" }), (exit) =>
          assert.strictEqual((failureOf(exit) as TaskError.TaskDefect)._tag, "TaskDefect")
        )
      )

      it.effect(`${task.name}: a result that is not JSON`, () =>
        Effect.map(perform({ _tag: "Unfit" }), (exit) => {
          const error = failureOf(exit) as TaskError.ResultInvalid
          assert.strictEqual(error._tag, "ResultInvalid")
          assert.include(error.issue, "BigInt")
        })
      )

      it.effect(`${task.name}: aborts, and is put off`, () =>
        Effect.gen(function* () {
          const aborted = failureOf(yield* perform({ _tag: "Abort" })) as TaskError.TaskAborted
          assert.deepStrictEqual([aborted._tag, aborted.reason], ["TaskAborted", "no use"])
          const run = yield* task.queue({ deed: { _tag: "Snooze" } })
          const { attempt, dueAt, snoozes, startedAt } = yield* untilState(run, "scheduled")
          assert.deepStrictEqual([attempt, snoozes], [0, 1])
          assert.isAtLeast(dueAt - startedAt!, 3_600_000)
        })
      )

      it.effect(`${task.name}: knows its run, and is elsewhere`, () =>
        Effect.gen(function* () {
          const run = yield* task.queue({ deed: { _tag: "Facts" } }, { tags: ["blue"], group: "one" })
          const facts = (yield* run.await) as { pid: number; isMainThread: boolean; run: unknown }
          assert.deepStrictEqual(facts.run, {
            attempt: 1,
            group: "one",
            id: run.id,
            rootId: run.id,
            tags: ["blue"],
            task: task.name
          })
          assert.deepStrictEqual(
            [facts.pid === process.pid, facts.isMainThread],
            [task === InThread, task !== InThread]
          )
        })
      )

      it.effect(`${task.name}: lines of all kinds, once and in order, for the run and the application`, () =>
        Effect.gen(function* () {
          const told = yield* Told
          told.length = 0
          const run = yield* task.queue({ deed: { _tag: "Talk" } })
          const lines = Array.from(yield* Stream.runCollect(run.logs))
          const expected = [
            ["INFO", 'first {"more":1}'],
            ["INFO", "second"],
            ["WARN", "third"],
            ["ERROR", "fourth"],
            ["INFO", "fifth, with no end"]
          ]
          assert.deepStrictEqual(
            lines.map(({ level, message }) => [level, message]),
            expected
          )
          assert.deepStrictEqual(lines[0]!.annotations, { who: "me", big: "1" })
          assert.deepStrictEqual(lines[0]!.spans, ["inner"])
          assert.deepStrictEqual(lines[2]!.annotations, { stream: "stderr" })
          assert.isTrue(lines.every(({ attempt, runId }) => attempt === 1 && runId === run.id))
          assert.deepStrictEqual(
            told.map(({ level, message }) => [level, String(message)]),
            expected
          )
          assert.deepStrictEqual(told[0]!.annotations, { who: "me", big: "1" })
        })
      )

      it.effect(`${task.name}: lines and progress are told while the handler is at it`, () =>
        Effect.gen(function* () {
          const run = yield* task.queue({ deed: { _tag: "Tell" } })
          const [half, line] = yield* Effect.all(
            [Stream.runHead(Stream.filter(run.progress, ({ value }) => value === 0.5)), Stream.runHead(run.logs)],
            { concurrency: 2 }
          )
          assert.deepStrictEqual(Option.getOrThrow(half), { value: 0.5, message: "half way" })
          assert.strictEqual(Option.getOrThrow(line).message, "told")
          yield* run.cancel()
          assert.strictEqual(
            (failureOf(yield* Effect.exit(run.await)) as TaskError.TaskCancelled)._tag,
            "TaskCancelled"
          )
        })
      )

      it.effect(`${task.name}: a cancelled handler ends in order, and its worker goes on`, () =>
        Effect.gen(function* () {
          const run = yield* task.queue({ deed: { _tag: "Wait" } })
          const worker = yield* begun(run)
          yield* run.cancel("enough")
          yield* Effect.exit(run.await)
          const lines = Array.from(yield* Stream.runCollect(run.logs))
          assert.deepStrictEqual(
            lines.map(({ message }) => message),
            ["stopped in order"]
          )
          const facts = (yield* task.queueAndWait({ deed: { _tag: "Facts" } })) as { pid: number; threadId: number }
          assert.strictEqual(task === InThread ? facts.threadId : facts.pid, worker)
        })
      )

      for (const deed of ["Exit", "Throw"] as const) {
        it.effect(`${task.name}: ${deed} ends the attempt with a typed failure, and the pool goes on`, () =>
          Effect.gen(function* () {
            const run = yield* task.queue({ deed: { _tag: deed } })
            const error = failureOf(yield* Effect.exit(run.await)) as TaskError.ExecutorCrashed
            assert.deepStrictEqual([error._tag, error.runId, error.attempt], ["ExecutorCrashed", run.id, 1])
            assert.match(error.reason, deed === "Exit" ? /ended with code 7/ : /out of nowhere/)
            assert.deepStrictEqual(yield* perform({ _tag: "Add", a: 1, b: 1 }), Exit.succeed(2))
          })
        )
      }
    }

    it.effect("the task's retry schedule decides after a crash", () =>
      Effect.gen(function* () {
        const run = yield* Again.queue({ deed: { _tag: "Exit" } })
        const error = (yield* Effect.flip(run.await)) as TaskError.ExecutorCrashed
        assert.deepStrictEqual([error._tag, error.attempt], ["ExecutorCrashed", 2])
        const { attempts } = yield* run.poll
        assert.deepStrictEqual(
          attempts.map(({ outcome }) => outcome._tag),
          ["ExecutorCrashed", "ExecutorCrashed"]
        )
      })
    )

    it.effect("a run that is performed in place goes there too", () =>
      Effect.gen(function* () {
        const facts = (yield* InThread.execute({ deed: { _tag: "Facts" } })) as { isMainThread: boolean }
        assert.isFalse(facts.isMainThread)
      }).pipe(Effect.provide(handlers()))
    )
  })

  it.layer(app({ grace: "50 millis" }))("handlers that heed nothing", (it) => {
    for (const task of kinds) {
      it.scoped(`${task.name}: a cancelled loop is stopped with its worker, and another takes its place`, () =>
        Effect.gen(function* () {
          const marks = yield* file
          const run = yield* task.queue({ deed: { _tag: "Spin", file: marks } })
          const worker = yield* begun(run)
          yield* run.cancel("enough")
          const error = failureOf(yield* Effect.exit(run.await)) as TaskError.TaskCancelled
          assert.deepStrictEqual([error._tag, error.reason], ["TaskCancelled", "enough"])
          if (task === InProcess) {
            assert.isFalse(isAlive(worker))
          }
          const facts = (yield* task.queueAndWait({ deed: { _tag: "Facts" } })) as { pid: number; threadId: number }
          assert.notStrictEqual(task === InThread ? facts.threadId : facts.pid, worker)
          assert.isTrue(yield* hasStopped(marks))
        })
      )
    }

    it.scoped("the task's time limit stops a loop", () =>
      Effect.gen(function* () {
        const marks = yield* file
        const error = yield* Effect.flip(InTime.queueAndWait({ deed: { _tag: "Spin", file: marks } }))
        assert.strictEqual((error as TaskError.TaskTimeout)._tag, "TaskTimeout")
        assert.isTrue(yield* hasStopped(marks))
      })
    )
  })

  it.scoped("a process that ignores SIGTERM is killed", () =>
    Effect.gen(function* () {
      const run = yield* InProcess.queue({ deed: { _tag: "Hang", file: yield* file } })
      const pid = yield* begun(run)
      assert.isTrue(isAlive(pid))
      yield* run.cancel()
      yield* Effect.exit(run.await)
      assert.isFalse(isAlive(pid))
    }).pipe(Effect.provide(app({ grace: "50 millis", process: { killAfter: "100 millis" } })))
  )

  it.effect("a thread that takes too much memory fails its attempt only", () =>
    Effect.gen(function* () {
      const error = (yield* Effect.flip(InThread.queueAndWait({ deed: { _tag: "Fill" } }))) as TaskError.ExecutorCrashed
      assert.strictEqual(error._tag, "ExecutorCrashed")
      assert.include(error.reason, "memory limit")
      assert.strictEqual(yield* InThread.queueAndWait({ deed: { _tag: "Add", a: 1, b: 1 } }), 2)
    }).pipe(Effect.provide(app({ thread: { resourceLimits: { maxOldGenerationSizeMb: 64 } } })))
  )

  it.effect("as many attempts at one time as there are places", () =>
    Effect.gen(function* () {
      const deed = { _tag: "Wait" } as const
      const runs = yield* InThread.queueAll([{ deed }, { deed }])
      const threads = yield* Effect.forEach(runs, begun, { concurrency: 2 })
      assert.lengthOf(new Set(threads), 2)
      yield* Effect.forEach(runs, (run) => run.cancel())
    }).pipe(Effect.provide(app({ poolSize: 2 })))
  )

  it.effect("a worker has the environment that it was given, and is replaced when it has served its time", () =>
    Effect.gen(function* () {
      const ask = InProcess.queueAndWait({ deed: { _tag: "Environment", name: "GREETING" } })
      const first = (yield* ask) as { readonly pid: number; readonly value: string; readonly isMarked: boolean }
      // to what it starts, it is no worker
      assert.deepInclude(first, { value: "hello", isMarked: false })
      const second = (yield* ask) as { readonly pid: number }
      assert.notStrictEqual(second.pid, first.pid)
    }).pipe(Effect.provide(app({ process: { env: { GREETING: "hello" }, maxTasksPerWorker: 1 } })))
  )

  it.effect("a worker that has nothing to do is closed after its time", () =>
    Effect.gen(function* () {
      const { pid } = (yield* InProcess.queueAndWait({ deed: { _tag: "Facts" } })) as { readonly pid: number }
      yield* Effect.repeat(
        Effect.sync(() => isAlive(pid)),
        { while: (alive) => alive, schedule: Schedule.spaced("20 millis") }
      )
      assert.strictEqual(yield* InProcess.queueAndWait({ deed: { _tag: "Add", a: 1, b: 1 } }), 2)
    }).pipe(Effect.provide(app({ idleTimeout: "50 millis" })))
  )

  it.scoped("a shutdown stops what is busy and gives its run back", () =>
    Effect.gen(function* () {
      const marks = yield* Effect.all([file, file])
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(consumer(), scope)
      const inThread = yield* InThread.queue({ deed: { _tag: "Spin", file: marks[0] } })
      const inProcess = yield* InProcess.queue({ deed: { _tag: "Spin", file: marks[1] } })
      const [, pid] = yield* Effect.all([begun(inThread), begun(inProcess)], { concurrency: 2 })
      yield* Scope.close(scope, Exit.void)
      for (const run of [inThread, inProcess]) {
        const { attempt, attempts, state } = yield* run.poll
        assert.deepStrictEqual([state, attempt, attempts[0]?.outcome._tag], ["queued", 0, "Interrupted"])
      }
      assert.isFalse(isAlive(pid))
      const size = () => marks.map(sizeOf)
      const before = size()
      yield* Effect.sleep("50 millis")
      assert.deepStrictEqual(size(), before)
    }).pipe(Effect.provide(Layer.provideMerge(TaskManager.layer, Backend.layerMemory)))
  )

  for (const [how, reason] of [
    ["load", /cannot load/],
    ["layer", /no database/],
    ["silent", /not ready within 700ms/],
    ["other", /does not serve /]
  ] as const) {
    it.effect(`an entry that goes wrong fails at once: ${how}`, () =>
      Effect.gen(function* () {
        const options = {
          poolSize: 1,
          startTimeout: how === "silent" ? "700 millis" : "30 seconds",
          env: { BROKEN: how }
        } as const
        const entry = (yield* Entries)("broken")
        const eager = yield* Effect.flip(
          Effect.scoped(Layer.build(NodeExecutor.layer(Group, { ...options, entry, eager: true })))
        )
        assert.strictEqual(eager._tag, "ExecutorUnavailable")
        assert.match(eager.message, reason)
        if (how === "load") {
          const lazy = (yield* Effect.flip(InProcess.queueAndWait({ deed: { _tag: "Facts" } })).pipe(
            Effect.provide(app({ ...options, entry: "broken" }))
          )) as TaskError.ExecutorCrashed
          assert.strictEqual(lazy._tag, "ExecutorCrashed")
          assert.match(lazy.reason, reason)
        }
      })
    )
  }

  it.scoped("a worker that never gets ready holds up no shutdown", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(consumer({ entry: "broken", env: { BROKEN: "silent" } }), scope)
      const run = yield* InThread.queue({ deed: { _tag: "Facts" } })
      yield* untilState(run, "running")
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* run.poll).state, "queued")
    }).pipe(Effect.provide(Layer.provideMerge(TaskManager.layer, Backend.layerMemory)))
  )

  it.effect("options that do not fit, and files that are not there, are typed errors", () =>
    Effect.gen(function* () {
      const entry = (yield* Entries)("worker")
      const build = (options: Partial<NodeExecutor.Options>) =>
        Effect.flip(Effect.scoped(Layer.build(NodeExecutor.layer(Group, { entry, ...options }))))
      const none = yield* build({ entry: new URL("./none.mjs", entry) })
      assert.deepInclude(none, { _tag: "ExecutorUnavailable", reason: "there is no such file" })
      for (const [options, option] of [
        [{ entry: "worker.js" }, "entry"],
        [{ entry: "https://example.com/worker.js" }, "entry"],
        [{ poolSize: 0 }, "poolSize"],
        [{ process: { poolSize: 1.5 } }, "poolSize"],
        [{ maxTasksPerWorker: 0 }, "maxTasksPerWorker"],
        [{ grace: Duration.infinity }, "grace"]
      ] as const) {
        assert.deepInclude(yield* build(options as Partial<NodeExecutor.Options>), { _tag: "InvalidOption", option })
      }
    })
  )
})

const handlers = () =>
  Layer.unwrapEffect(
    Effect.map(Entries, (entries) => NodeExecutor.layer(Group, { entry: entries("worker"), poolSize: 1 }))
  )

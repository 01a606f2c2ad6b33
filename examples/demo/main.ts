/**
 * The demo: every file of a folder is hashed, compressed and reported, by worker processes that share one SQLite file,
 * against a service that is often in trouble. Half way the worker is killed, and another one goes on.
 *
 *     npx -y pnpm@12 demo [PATH]
 */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { TaskManager } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Cause, Console, Duration, Effect, Exit, Layer, Option, Ref, Schema } from "effect"
import { check } from "./check.js"
import * as Files from "./files.js"
import * as Progress from "./progress.js"
import { plural, render } from "./report.js"
import { Screen, layer as ScreenLive } from "./screen.js"
import { Service, layer as ServiceLive } from "./service.js"
import * as Statistics from "./statistics.js"
import { HashFile } from "./tasks.js"
import * as Workers from "./workers.js"

class TooSlow extends Schema.TaggedError<TooSlow>()("TooSlow", {}) {
  override get message(): string {
    return "the work was not done within 55 seconds"
  }
}

class CheckFailed extends Schema.TaggedError<CheckFailed>()("CheckFailed", {}) {}

/** Two workers, one after the other: the first one is killed at its work. */
const work = Effect.fnUntraced(function* (filename: string, files: number) {
  const manager = yield* TaskManager.TaskManager
  const screen = yield* Screen
  const service = yield* Service
  const activity = yield* Ref.make("worker 1")
  const done = yield* Effect.fork(Progress.follow(files, activity))
  const options = { filename, serviceUrl: service.url }

  const first = yield* Workers.start(1, options)
  yield* screen.line(`worker 1 started, process ${first.pid}`)
  yield* Effect.raceFirst(service.halfWay(files), first.watch)
  yield* first.crash
  const { running } = yield* manager.counts()
  yield* screen.line(
    `half way: worker 1 killed with SIGKILL, ${plural(running, "run")} in its hands; their leases end within ${Duration.format(Workers.lease)}`
  )

  const second = yield* Workers.start(2, options)
  yield* Ref.set(activity, "worker 2")
  yield* screen.line(`worker 2 started, process ${second.pid}`)
  yield* Effect.raceFirst(done, second.watch)
  const code = yield* second.stop
  yield* screen.line(`all done; worker 2 was asked to stop, and exited with ${code}`)
})

const demo = Effect.fnUntraced(function* (filename: string, { files, origin }: Files.Found) {
  const screen = yield* Screen
  const service = yield* Service
  yield* screen.line(`${plural(files.length, "file")}: ${origin}`)
  const [took, runs] = yield* Effect.timed(HashFile.queueAll(files))
  yield* screen.line(`queued a run for each in ${Duration.toMillis(took).toFixed(0)} ms, in ${filename}`)
  yield* screen.line(`the service listens at ${service.url}`)

  yield* work(filename, files.length).pipe(
    Effect.scoped,
    Effect.timeoutFail({ duration: "55 seconds", onTimeout: () => new TooSlow() })
  )

  const all = yield* Statistics.allRuns
  const statistics = yield* Statistics.collect(all)
  const checked = yield* check(
    files.map((file, i) => ({ file, run: runs[i]! })),
    all
  )
  const lines = render(statistics, yield* service.answers, files.length, checked)
  yield* Effect.forEach(lines, screen.line, { discard: true })
  if (checked.faults.length > 0) {
    return yield* new CheckFailed()
  }
})

/** A producer: it queues and looks, and has no handler. */
const producer = (filename: string) =>
  TaskManager.layer.pipe(Layer.provide(SqliteBackend.layer({ filename })), Layer.merge(ServiceLive))

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const found = yield* Files.find(process.argv[2])
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "effect-tasks-demo-" })
  const filename = path.join(folder, "tasks.db")
  yield* Effect.provide(demo(filename, found), producer(filename))
}).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(ScreenLive, NodeContext.layer)))

/** One line for what a person can put right, all there is for the rest. The report itself tells of a failed check. */
const tell = (cause: Cause.Cause<Effect.Effect.Error<typeof program>>): Effect.Effect<void> => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  return Cause.isInterruptedOnly(cause) || error?._tag === "CheckFailed"
    ? Effect.void
    : Console.error(`demo: ${error?.message ?? Cause.pretty(cause)}`)
}

NodeRuntime.runMain(Effect.onError(program, tell), {
  disableErrorReporting: true,
  teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1)
})

/* The processes of the subjects: started when they are first asked, ended with the scope. */
import { type ChildProcess, fork } from "node:child_process"
import { FileSystem } from "@effect/platform"
import type { PlatformError } from "@effect/platform/Error"
import { Data, Duration, Effect, type Scope } from "effect"
import type { Lane } from "./plan.js"
import { type Answer, type Backend, type Request, remove } from "./protocol.js"

class SubjectFailed extends Data.TaggedError("SubjectFailed")<{ readonly message: string }> {}

export interface Processes {
  /** Has a lane's process measure a round. One that fails is ended; the next round begins with another. */
  readonly ask: (
    lane: Lane,
    request: Request,
    patience: number
  ) => Effect.Effect<Readonly<Record<string, number>>, { readonly message: string }>
  /** Ends a lane's process. */
  readonly end: (lane: Lane) => Effect.Effect<void>
}

/** A million runs in memory need more than the default heap. */
const flags = ["--expose-gc", "--max-old-space-size=8192"]

const keptOutput = 2_000

interface Running {
  readonly child: ChildProcess
  /** The end of what it wrote to stderr. */
  readonly output: () => string
}

/** What it writes to disk goes to the folder, also when it does not live to remove it. */
const start = (backend: Backend, lane: Lane, folder: string): Running => {
  const child = fork(new URL("./child.js", import.meta.url), [backend, lane.subject, lane.process], {
    env: { ...process.env, TMPDIR: folder },
    execArgv: [...process.execArgv, ...flags],
    stdio: ["ignore", "ignore", "pipe", "ipc"]
  })
  let output = ""
  child.stderr?.on("data", (chunk) => {
    output = `${output}${chunk}`.slice(-keptOutput)
  })
  return { child, output: () => output }
}

const answerOf = ({ child, output }: Running, request: Request | typeof remove) =>
  Effect.async<Answer>((resume) => {
    const onMessage = (answer: Answer) => done(answer)
    const onExit = (code: number | null) => done({ _tag: "Failed", message: `exited with ${code}\n${output()}` })
    const stop = () => {
      child.off("message", onMessage)
      child.off("exit", onExit)
    }
    const done = (answer: Answer) => {
      stop()
      resume(Effect.succeed(answer))
    }
    child.on("message", onMessage)
    child.on("exit", onExit)
    child.send(request, (error) => {
      if (error !== null) {
        done({ _tag: "Failed", message: `${error.message}\n${output()}` })
      }
    })
    return Effect.sync(stop)
  })

const values = (running: Running, request: Request | typeof remove, patience: number) =>
  answerOf(running, request).pipe(
    Effect.timeoutFail({
      duration: Duration.seconds(patience),
      onTimeout: () => new SubjectFailed({ message: `no answer within ${patience} seconds\n${running.output()}` })
    }),
    Effect.flatMap((answer) =>
      answer._tag === "Failed" ? new SubjectFailed({ message: answer.message }) : Effect.succeed(answer.values)
    )
  )

const stop = (running: Running): Effect.Effect<void> =>
  Effect.ignore(values(running, remove, 10)).pipe(Effect.zipRight(Effect.sync(() => running.child.kill("SIGKILL"))))

export const make = (backend: Backend): Effect.Effect<Processes, PlatformError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "effect-tasks-bench-" })
    const all = new Map<string, Running>()
    yield* Effect.addFinalizer(() => Effect.forEach(all.values(), stop, { concurrency: "unbounded", discard: true }))
    const runningOf = (lane: Lane) => {
      const running = all.get(lane.process) ?? start(backend, lane, folder)
      all.set(lane.process, running)
      return running
    }
    const end = ({ process }: Lane) =>
      Effect.suspend(() => {
        const running = all.get(process)
        all.delete(process)
        return running === undefined ? Effect.void : stop(running)
      })
    return {
      ask: (lane, request, patience) =>
        Effect.suspend(() => values(runningOf(lane), request, patience)).pipe(Effect.tapError(() => end(lane))),
      end
    }
  })

/** The entry of the threads and the processes of the tests. */
import { appendFileSync } from "node:fs"
import { isMainThread, threadId } from "node:worker_threads"
import * as CurrentRun from "@effect-tasks/core/CurrentRun"
import * as NodeExecutor from "@effect-tasks/node/NodeExecutor"
import { Effect } from "effect"
import { type Deed, Group, Refused } from "./tasks.js"

/** Keeps its thread busy for ever, and leaves marks of it in a file. */
const spin = (file: string) =>
  Effect.sync((): void => {
    for (;;) {
      for (let i = 0; i < 1_000_000; i++) {
        Math.sqrt(i)
      }
      appendFileSync(file, ".")
    }
  })

const facts = Effect.map(CurrentRun.CurrentRun, ({ attempt, group, id, rootId, tags, task }) => ({
  pid: process.pid,
  isMainThread,
  threadId,
  run: { attempt, group, id, rootId, tags, task }
}))

/** Says where it is performed, and goes on with something. */
const after = (then: Effect.Effect<unknown>) =>
  Effect.zipRight(
    Effect.flatMap(facts, ({ pid, threadId }) => CurrentRun.progress(isMainThread ? pid : threadId, "begun")),
    then
  )

const handle = ({ deed }: { readonly deed: Deed }): Effect.Effect<unknown, Refused, CurrentRun.CurrentRun> => {
  switch (deed._tag) {
    case "Add":
      return Effect.succeed(deed.a + deed.b)
    case "Refuse":
      return new Refused({ code: deed.code })
    case "Die":
      return Effect.die(new RangeError("out of range"))
    case "Interrupt":
      return Effect.interrupt
    case "Facts":
      return facts
    case "Talk":
      return Effect.gen(function* () {
        yield* Effect.logDebug("not wanted")
        yield* Effect.log("first", { more: 1 }).pipe(
          Effect.annotateLogs({ who: "me", big: 1n }),
          Effect.withLogSpan("inner")
        )
        console.log("second")
        process.stderr.write("thi")
        process.stderr.write("rd\n")
        yield* Effect.logError("fourth")
        process.stdout.write("fifth, with no end")
      })
    case "Tell":
      return Effect.gen(function* () {
        yield* CurrentRun.progress(0.25)
        yield* Effect.log("told")
        yield* CurrentRun.progress(0.5, "half way")
        return yield* Effect.never
      })
    case "Abort":
      return CurrentRun.abort("no use")
    case "Snooze":
      return CurrentRun.snooze("1 hour")
    case "RateLimit":
      return CurrentRun.rateLimited("1 minute")
    case "Unfit":
      return Effect.succeed(1n)
    case "Spin":
      return after(spin(deed.file))
    case "Wait":
      return after(Effect.onInterrupt(Effect.never, () => Effect.log("stopped in order")))
    case "Exit":
      return Effect.sync((): void => process.exit(7))
    case "Throw":
      return Effect.async<never>(() => {
        setTimeout(() => {
          throw new Error("out of nowhere")
        })
      })
    case "Fill":
      return Effect.sync((): void => {
        const kept: Array<unknown> = []
        for (;;) {
          kept.push(new Array(100_000).fill(kept.length))
        }
      })
    case "Hang":
      process.on("SIGTERM", () => {})
      return after(spin(deed.file))
    case "Environment":
      return Effect.succeed({
        pid: process.pid,
        value: process.env[deed.name],
        isMarked: process.env["EFFECT_TASKS_WORKER"] !== undefined
      })
  }
}

NodeExecutor.serve(Group, Group.toLayer({ Again: handle, InProcess: handle, InThread: handle, InTime: handle }))

/* Inside a handler: the run, progress, children, verdicts, and the attempt's own Scope. */
import { CurrentRun, Task } from "@effect-tasks/core"
import { Context, Effect, Schema } from "effect"

export class Source extends Context.Tag("Source")<
  Source,
  {
    readonly open: (url: string) => Effect.Effect<{ readonly bytes: number }>
    readonly close: (file: { readonly bytes: number }) => Effect.Effect<void>
    readonly state: (url: string) => Effect.Effect<"ready" | "empty" | "not yet" | "too many requests">
  }
>() {}

export const Resize = Task.make("Resize", { payload: { url: Schema.String } })
export const Import = Task.make("Import", { payload: { url: Schema.String } })

export const ImportLive = Import.toLayer(
  Effect.fn("Import")(function* ({ url }) {
    const source = yield* Source
    const state = yield* source.state(url)
    const run = yield* CurrentRun.CurrentRun // only here: its use elsewhere does not compile
    yield* CurrentRun.progress(0.5, "half way")
    if (run.attempt > 1) yield* Effect.logWarning("again")
    yield* Resize.queue({ url }) // a child: parentId, rootId, trace context
    if (state === "empty") return yield* CurrentRun.abort("nothing to do")
    if (state === "not yet") return yield* CurrentRun.snooze("10 minutes")
    if (state === "too many requests") return yield* CurrentRun.rateLimited("30 seconds")
    yield* Effect.acquireRelease(source.open(url), source.close) // the attempt's own Scope: closed when the attempt ends
  })
)

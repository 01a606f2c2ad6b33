import { fileURLToPath } from "node:url"
import { Command, type CommandExecutor } from "@effect/platform"
import type { PlatformError } from "@effect/platform/Error"
import { Clock, Effect, type ParseResult, Schema, type Scope, Stream } from "effect"
import type { Journal } from "./journal.js"
import { read } from "./lines.js"
import { type Orders, OrdersText } from "./orders.js"

/** A worker process. */
export interface Worker {
  readonly name: string
  readonly process: CommandExecutor.Process
  /** Until it serves; one that does not is a defect. */
  readonly isReady: Effect.Effect<void>
  /** Until it has settled something; ten seconds at the most. */
  readonly isAtWork: Effect.Effect<unknown>
}

export type StartError = PlatformError | ParseResult.ParseError

const workerFile = fileURLToPath(new URL("./worker.ts", import.meta.url))

/** Starts a worker process, and notes in the journal what it says. */
export const start = (
  orders: Orders,
  journal: Journal
): Effect.Effect<Worker, StartError, Scope.Scope | CommandExecutor.CommandExecutor> =>
  Effect.gen(function* () {
    const { name } = orders
    const ready = yield* Effect.makeLatch()
    const atWork = yield* Effect.makeLatch()
    const argument = yield* Schema.encode(OrdersText)(orders)
    const process = yield* Command.start(
      Command.make("node", "--import", "tsx", workerFile, argument).pipe(Command.stderr("inherit"))
    )
    const note = (line: string) =>
      Effect.gen(function* () {
        const said = read(line)
        if (said !== undefined) {
          journal.push({ ...said, worker: name, at: yield* Clock.currentTimeMillis })
          yield* said.kind === "ready" ? ready.open : said.kind === "settled" ? atWork.open : Effect.void
        }
      })
    yield* process.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runForEach(note), Effect.forkScoped)
    return {
      name,
      process,
      isReady: ready.await.pipe(
        Effect.timeoutFail({ duration: "30 seconds", onTimeout: () => new Error(`${name} did not start`) }),
        Effect.orDie
      ),
      isAtWork: Effect.timeoutOption(atWork.await, "10 seconds")
    }
  })

/** The demo's hold on its workers, which are processes. */
import { fileURLToPath } from "node:url"
import { Command, type CommandExecutor } from "@effect/platform"
import { Duration, Effect, Schema, Stream } from "effect"

export class WorkerEnded extends Schema.TaggedError<WorkerEnded>()("WorkerEnded", {
  worker: Schema.Number,
  how: Schema.String
}) {
  override get message(): string {
    return `worker ${this.worker} ended by itself: ${this.how}`
  }
}

export interface Worker {
  readonly number: number
  readonly pid: number
  /** Fails when the worker ends while nobody has asked it to. */
  readonly watch: Effect.Effect<never, WorkerEnded>
  /** `kill -9`: no shutdown, no goodbye. */
  readonly crash: Effect.Effect<void>
  /** SIGTERM: the exit code of its orderly shutdown. */
  readonly stop: Effect.Effect<number>
}

/** How long a dead worker's runs stay its own: short, so that one sees them being taken over. */
export const lease = Duration.seconds(2)

const command = (number: number, env: Record<string, string>) =>
  Command.make(process.execPath, ...process.execArgv, fileURLToPath(new URL("worker.ts", import.meta.url))).pipe(
    Command.env({
      EFFECT_TASKS_CONSUMER_NAME: `worker-${number}`,
      EFFECT_TASKS_CONSUMER_CONCURRENCY: "8",
      EFFECT_TASKS_CONSUMER_QUEUES: "",
      EFFECT_TASKS_CONSUMER_LEASE: `${Duration.toMillis(lease)} millis`,
      EFFECT_TASKS_CONSUMER_GRACE: "2 seconds",
      EFFECT_TASKS_LOG_LEVEL: "warn",
      EFFECT_TASKS_LOG_FORMAT: "json",
      ...env
    }),
    Command.stderr("inherit")
  )

const howItEnded = (process: CommandExecutor.Process): Effect.Effect<string> =>
  Effect.match(process.exitCode, {
    onFailure: (error) => error.message,
    onSuccess: (code) => `exit code ${code}`
  })

/** Starts a worker; it is stopped with the scope. What it logs stays in the record of the runs. */
export const start = Effect.fnUntraced(function* (
  number: number,
  options: { readonly filename: string; readonly serviceUrl: string }
) {
  const process = yield* Command.start(
    command(number, { EFFECT_TASKS_SQLITE_FILENAME: options.filename, DEMO_SERVICE_URL: options.serviceUrl })
  )
  yield* Effect.forkScoped(Effect.ignore(Stream.runDrain(process.stdout)))
  const worker: Worker = {
    number,
    pid: process.pid,
    watch: Effect.flatMap(howItEnded(process), (how) => new WorkerEnded({ worker: number, how })),
    crash: Effect.ignore(process.kill("SIGKILL")),
    stop: Effect.zipRight(
      Effect.ignore(process.kill("SIGTERM")),
      Effect.orElseSucceed(process.exitCode, () => -1)
    )
  }
  return worker
})

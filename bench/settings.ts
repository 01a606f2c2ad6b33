import { Data, Effect } from "effect"
import type { Backend } from "./protocol.js"
import * as postgres from "./subjects/postgres.js"

const durability =
  "SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit"

/** A backend that needs a server, and there is none. */
export class Unreachable extends Data.TaggedError("Unreachable")<{
  readonly backend: Backend
  readonly cause: unknown
}> {}

/** The settings that all subjects of a backend have in common, for the table's footer. */
export const of = (backend: Backend): Effect.Effect<string, Unreachable> => {
  switch (backend) {
    case "memory":
      return Effect.succeed("memory: nothing is durable; what is acknowledged is in the queue")
    case "sqlite":
      return Effect.succeed("sqlite: one file, journal_mode = WAL, synchronous = NORMAL; acknowledged is committed")
    case "pg":
      return Effect.map(
        Effect.tryPromise({
          try: () => postgres.query(durability),
          catch: (cause) => new Unreachable({ backend, cause })
        }),
        ([row]) =>
          `pg: fsync = ${row?.["fsync"]}, synchronous_commit = ${row?.["synchronous_commit"]}, ` +
          `${postgres.connections} connections per subject; acknowledged is committed`
      )
  }
}

/** What has to be known to read the table. */
export const reading = [
  "A job is a no-op with a payload of about 100 bytes. runs/s: higher is better; all else: lower is better.",
  "ours ÷ it is the median of effect-tasks divided by that of the subject.",
  "latency-half: from the intended enqueue to the handler's start, at half of the load at which a process that enqueues",
  "and performs would have no time left. cpu-idle and memory are those of the subject's own process.",
  "executor-inline, executor-thread: how late a timer of the consumer's process is while two runs at a time keep the processor",
  "busy, in its own loop and in two threads. executor-cancel: from the cancellation of an endless loop to the end of its run.",
  "Peers that can only poll (plainjob, @effect/sql) do so every 10 ms, which decides their latency and their cpu-idle.",
  "In a full run @effect/sql drains a shorter queue than the others: the longer it is, the slower it gets."
]

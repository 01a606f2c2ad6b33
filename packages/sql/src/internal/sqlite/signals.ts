import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Duration, Effect, Exit, Queue, Runtime } from "effect"
import type { Signals } from "../signals.js"
import type { Database } from "./database.js"
import type { Tables } from "./schema.js"

/**
 * Another process cannot reach our consumers. Rather than at their next sign of life, they learn of a cancellation when its
 * commit is seen.
 */
const makePassOnCancellations = (database: Database, tables: Tables, signals: Signals) => {
  const wished = `SELECT id, cancel_reason FROM ${tables.queue} WHERE cancel_reason IS NOT NULL AND state = 'running'`
  let told = new Set<string>()
  return database
    .read("signals", (run) => run<{ readonly id: TaskRun.RunId; readonly cancel_reason: string }>(wished))
    .pipe(
      Effect.map((rows) => {
        for (const { cancel_reason, id } of rows) {
          if (!told.has(id)) {
            signals.send({ _tag: "Cancel", id, reason: cancel_reason })
          }
        }
        told = new Set(rows.map(({ id }) => id))
      })
    )
}

/**
 * Tells of the commits of other connections: `data_version` changes with these only, and reading it takes microseconds, for
 * SQLite looks at the shared memory of the log.
 *
 * To wake for it costs far more (a third of a millisecond, in code that is not warm), so after a second without a change it
 * looks at every fourth interval only.
 */
export const watch = Effect.fnUntraced(function* (options: {
  readonly database: Database
  readonly tables: Tables
  readonly signals: Signals
  readonly interval: Duration.Duration
}) {
  const { database, signals, tables } = options
  const runtime = yield* Effect.runtime<never>()
  const read = Effect.map(
    database.connection.execute("PRAGMA data_version", [], undefined),
    (rows: ReadonlyArray<{ readonly data_version: number }>) => rows[0]?.data_version
  )
  // It is only a hint: what befalls the database is reported to those who use it.
  const version = (): number | undefined => Exit.getOrElse(Runtime.runSyncExit(runtime, read), () => undefined)
  const changes = yield* Queue.sliding<void>(1)
  const interval = Duration.toMillis(options.interval)
  let last = version()
  let quiet = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  const look = (): void => {
    const now = version()
    quiet += interval
    if (now !== last) {
      last = now
      quiet = 0
      changes.unsafeOffer(undefined)
    }
    timer = setTimeout(look, quiet < 1_000 ? interval : 4 * interval)
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      timer = setTimeout(look, interval)
    }),
    () => Effect.sync(() => clearTimeout(timer))
  )

  yield* Queue.take(changes).pipe(
    Effect.zipRight(Effect.sync(() => signals.send({ _tag: "Changed" }))),
    Effect.zipRight(Effect.ignore(makePassOnCancellations(database, tables, signals))),
    Effect.forever,
    Effect.forkScoped
  )
})

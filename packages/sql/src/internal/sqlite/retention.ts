import type { BackendError } from "@effect-tasks/core/TaskError"
import type { Final } from "@effect-tasks/core/TaskState"
import { type Duration, Effect } from "effect"
import { liveClock } from "../liveClock.js"
import type { Rule } from "../retention.js"
import type { Database } from "./database.js"
import type { Records } from "./records.js"
import type { Tables } from "./schema.js"

/** So many rows are looked at and removed in one step: it stops the event loop for a few milliseconds. */
const stepSize = 500

/** After a step others have their turn. */
const pause = "25 millis"

/** So often all of the history is gone through again. */
const sweepMillis = 24 * 60 * 60_000

interface Parts {
  readonly database: Database
  readonly tables: Tables
  readonly records: Records
}

interface EndedRow {
  readonly rowid: number
  readonly id: string
  readonly state: Final
  readonly task: string
  readonly ended_at: number | null
}

/** How long a run is kept, by its end. */
const makeKeepOf = (rules: ReadonlyArray<Rule>) => {
  const byName = new Map(rules.map(({ millis, state, task }) => [`${state}\u0000${task ?? ""}`, millis]))
  return ({ state, task }: EndedRow): number | null => {
    const own = byName.get(`${state}\u0000${task}`)
    return own === undefined ? (byName.get(`${state}\u0000`) ?? null) : own
  }
}

/**
 * Makes the walks through the history, one for each time that runs are kept. Runs enter the history as they end, so its rows
 * stand in the order of their ends, and a walk goes on where it stood before: what it has passed is not read again. A walk
 * begins anew once a day, for the sake of rows that stand out of that order.
 */
const makeWalks = ({ database, records, tables }: Parts, rules: ReadonlyArray<Rule>) => {
  const ended = `SELECT rowid, id, state, task, ended_at FROM ${tables.history}
WHERE rowid > :from ORDER BY rowid LIMIT ${stepSize}`
  const keepOf = makeKeepOf(rules)
  const walks = Array.from(new Set(rules.flatMap(({ millis }) => (millis === null ? [] : [millis]))), (keep) => ({
    keep,
    from: 0,
    begunAt: Number.NEGATIVE_INFINITY
  }))

  /** Goes a step further; tells whether more may follow. */
  const step = Effect.fnUntraced(function* (
    walk: (typeof walks)[number],
    now: number
  ): Effect.fn.Return<boolean, BackendError> {
    if (Math.abs(now - walk.begunAt) >= sweepMillis) {
      walk.begunAt = now
      walk.from = 0
    }
    const rows = yield* database.read("prune", (run) => run<EndedRow>(ended, [{ from: walk.from }]))
    const old = rows.filter(({ ended_at }) => (ended_at ?? now) <= now - walk.keep)
    const over = old.filter((row) => keepOf(row) === walk.keep)
    if (over.length > 0) {
      yield* database.write("prune", (run) =>
        records.remove(
          run,
          over.map(({ id }) => id)
        )
      )
    }
    // numbers begin anew when the last row has gone
    walk.from = rows.length === 0 ? 0 : (old.at(-1)?.rowid ?? walk.from)
    return rows.length === stepSize && old.at(-1) === rows.at(-1)
  })

  return walks.map((walk) => (now: number) => step(walk, now))
}

/** Makes the removal of what has lost its meaning with time: keys, rates and holds. */
const makeSweeps = ({ database, tables: t }: Parts) =>
  [
    { table: t.key, isOver: "held_until IS NOT NULL AND held_until <= :now", id: "rowid" },
    // a token bucket is full a moment later
    { table: t.rate, isOver: "until <= :now - 1000", id: "name" },
    { table: t.control, isOver: "kind = 'hold' AND held_until <= :now", id: "(kind, name)", columns: "kind, name" }
  ].map(({ columns, id, isOver, table }) => {
    const isAny = `SELECT 1 FROM ${table} WHERE ${isOver} LIMIT 1`
    const remove = `DELETE FROM ${table} WHERE ${id} IN (
  SELECT ${columns ?? id} FROM ${table} WHERE ${isOver} LIMIT ${stepSize}
) RETURNING 1`
    return Effect.fnUntraced(function* (now: number): Effect.fn.Return<boolean, BackendError> {
      const found = yield* database.read("prune", (run) => run(isAny, [{ now }]))
      const removed = found.length === 0 ? [] : yield* database.write("prune", (run) => run(remove, [{ now }]))
      return removed.length === stepSize
    })
  })

/** Removes what is kept no longer, from time to time, in the background. `now` is the time of the records. */
export const prune = Effect.fnUntraced(function* (
  parts: Parts,
  options: {
    readonly rules: ReadonlyArray<Rule>
    readonly interval: Duration.Duration
    readonly now: Effect.Effect<number>
  }
) {
  const { interval, now, rules } = options
  const rest = (duration: Duration.DurationInput) => Effect.withClock(Effect.sleep(duration), liveClock)
  const steps = [...makeWalks(parts, rules), ...makeSweeps(parts)]
  const all = (step: (typeof steps)[number]) =>
    Effect.flatMap(now, step).pipe(
      Effect.tap((isMore) => (isMore ? rest(pause) : Effect.void)),
      Effect.repeat({ while: (isMore) => isMore }),
      // it is tried again soon, and whoever needs the database is told himself
      Effect.ignore
    )
  yield* rest(interval).pipe(
    Effect.zipRight(Effect.forEach(steps, all, { discard: true })),
    Effect.forever,
    Effect.forkScoped
  )
})

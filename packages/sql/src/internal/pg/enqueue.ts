import type { BackendError } from "@effect-tasks/core/TaskError"
import { QueueFull } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Effect, Either } from "effect"
import {
  type Accepted,
  added,
  answer,
  asksToReplace,
  changed,
  type Decision,
  type Group,
  type HeldKey,
  holdersAsked,
  Reservations
} from "../reservations.js"
import { type RunRow, runColumnNames, toRun } from "../rows.js"
import type { Database, Run } from "./database.js"
import { DriverError } from "./errors.js"
import type { Names } from "./names.js"
import type { Records } from "./records.js"
import { queueRows, texts, uuids } from "./values.js"

/** A key that a call asks for, and the first run that does. */
interface Wish {
  readonly task: string
  readonly key: string
  readonly run_id: TaskRun.RunId
}

const nameOf = ({ key, task }: Pick<Wish, "task" | "key">): string => `${task}\u0000${key}`

const wishesOf = (runs: ReadonlyArray<TaskRun.Encoded>): ReadonlyArray<Wish> => {
  const wishes = new Map<string, Wish>()
  for (const { id, idempotency, task } of runs) {
    if (idempotency !== null) {
      const wish = { task, key: idempotency.key, run_id: id }
      const name = nameOf(wish)
      if (!wishes.has(name)) {
        wishes.set(name, wish)
      }
    }
  }
  return Array.from(wishes.values())
}

const makeTexts = (t: Names) => ({
  enqueue: { name: `${t.prefix}enqueue`, text: `SELECT ${t.enqueue}($1)` },
  change: { name: `${t.prefix}change`, text: `SELECT ${t.change}($1)` },
  holders: {
    name: `${t.prefix}holders`,
    text: `SELECT ${runColumnNames.map((column) => `${column}_`).join(", ")}, is_locked_ FROM ${t.holders}($1, $2, $3)`
  },
  waiting: { name: `${t.prefix}waiting`, text: `SELECT task_, queue_, runs_ FROM ${t.waiting}($1, $2, $3, $4)` },

  // Makes each key, or finds it, and locks it until the end of the transaction; in one order, so that nobody waits in a circle.
  reserve: {
    name: `${t.prefix}reserve`,
    text: `INSERT INTO ${t.key} AS held (task, key, run_id)
SELECT task, key, run_id FROM json_to_recordset($1) AS wish (task text, key text, run_id uuid)
ORDER BY task COLLATE "C", key COLLATE "C"
ON CONFLICT (task, key) DO UPDATE SET run_id = held.run_id
RETURNING task, key, run_id, held_until, xmax = 0`
  },

  // A key goes to another run than at first: a call that came before was refused, or the hold of the one before has ended.
  pass: {
    name: `${t.prefix}pass`,
    text: `UPDATE ${t.key} AS held SET run_id = wish.run_id, held_until = NULL
FROM json_to_recordset($1) AS wish (task text, key text, run_id uuid)
WHERE held.task = wish.task AND held.key = wish.key`
  },

  // Nobody got it.
  free: {
    name: `${t.prefix}free`,
    text: `DELETE FROM ${t.key} AS held USING json_to_recordset($1) AS wish (task text, key text)
WHERE held.task = wish.task AND held.key = wish.key`
  }
})

type Texts = ReturnType<typeof makeTexts>

type ReservedRow = readonly [task: string, key: string, runId: TaskRun.RunId, heldUntil: number | null, isNew: boolean]

type HolderRow = readonly [...RunRow, isLocked: boolean]

/** Others have locked the run that is to be changed: the transaction has to begin again, with the locks of these. */
class Busy {
  readonly ids: ReadonlyArray<string>

  constructor(ids: ReadonlyArray<string>) {
    this.ids = ids
  }
}

/** So often a transaction begins again before the caller is told that others are quicker. */
const mostAttempts = 10

/** The queues in which the runs of a call are to wait, and how many may. */
interface Room {
  readonly maxQueued: number
  readonly waiting: ReadonlyMap<string, number>
}

const placeOf = (task: string, queue: string): string => `${task}\u0000${queue}`

/** How many runs wait where these are to wait; nobody else who asks gets an answer before the end of this transaction. */
const readRoom = (run: Run, texts_: Texts, runs: Group, maxQueued: number): Effect.Effect<Room, DriverError> => {
  const places = new Map(runs.map(({ queue, task }) => [placeOf(task, queue), { queue, task }]))
  const all = Array.from(places.values())
  return Effect.map(
    run<readonly [task: string, queue: string, runs: number]>(texts_.waiting, [
      texts(all.map(({ task }) => task)),
      texts(all.map(({ queue }) => queue)),
      uuids(runs.map(({ id }) => id)),
      maxQueued + 1 + runs.length
    ]),
    (rows) => ({ maxQueued, waiting: new Map(rows.map(([task, queue, runs]) => [placeOf(task, queue), runs])) })
  )
}

/** The first queue in which more runs of a task would wait than may. */
const fullAfter = (runs: ReadonlyArray<TaskRun.Encoded>, { maxQueued, waiting }: Room): QueueFull | undefined => {
  const more = new Map<string, number>()
  for (const { queue, task } of runs) {
    const place = placeOf(task, queue)
    const count = (more.get(place) ?? 0) + 1
    more.set(place, count)
    if ((waiting.get(place) ?? 0) + count > maxQueued) {
      return new QueueFull({ task, queue, maxQueued })
    }
  }
  return undefined
}

/**
 * Locks the runs that hold the keys of those who ask to replace, and gives their records. Runs are locked before keys, as
 * whoever ends a run does; so a run that came to hold its key only meanwhile may be locked only if nobody has to be waited for.
 */
const makeHolders = (texts_: Texts) => {
  const lock = (run: Run, wishes: ReadonlyArray<Wish>, ids: ReadonlyArray<string>, wait: boolean) =>
    run<HolderRow>(texts_.holders, [JSON.stringify(wishes), uuids(ids), wait])
  return {
    before: (run: Run, asking: ReadonlyArray<TaskRun.Encoded>, ids: ReadonlyArray<string>) =>
      Effect.map(
        asking.length === 0 ? Effect.succeed([]) : lock(run, wishesOf(asking), ids, true),
        (rows) => new Map<string, TaskRun.Encoded>(rows.map((row) => [row[0], toRun(row)]))
      ),
    after: (run: Run, known: Map<string, TaskRun.Encoded>, ids: ReadonlyArray<string>) => {
      const unknown = ids.filter((id) => !known.has(id))
      return unknown.length === 0
        ? Effect.void
        : Effect.flatMap(lock(run, [], unknown, false), (rows) => {
            const busy = rows.flatMap((row) => (row[runColumnNames.length] === true ? [] : [row[0]]))
            rows.forEach((row) => known.set(row[0], toRun(row)))
            return busy.length === 0 ? Effect.void : Effect.fail(new DriverError(new Busy(busy)))
          })
    }
  }
}

/** Makes the acceptance of the runs of several callers, each caller's all or none. */
export const make = (database: Database, t: Names, records: Records) => {
  const statements = makeTexts(t)
  const holders = makeHolders(statements)

  /** Brings the keys to what was decided. */
  const assign = Effect.fnUntraced(function* (
    run: Run,
    reserved: ReadonlyArray<ReservedRow>,
    queued: ReadonlyArray<TaskRun.Encoded>
  ): Effect.fn.Return<void, DriverError> {
    const owners = new Map(wishesOf(queued).map((wish) => [nameOf(wish), wish]))
    const passed: Array<Wish> = []
    const freed: Array<Pick<Wish, "task" | "key">> = []
    for (const [task, key, runId, heldUntil, isNew] of reserved) {
      const owner = owners.get(nameOf({ task, key }))
      if (owner === undefined && isNew) {
        freed.push({ task, key })
      } else if (owner !== undefined && (owner.run_id !== runId || heldUntil !== null)) {
        passed.push(owner)
      }
    }
    if (passed.length > 0) {
      yield* run(statements.pass, [JSON.stringify(passed)])
    }
    if (freed.length > 0) {
      yield* run(statements.free, [JSON.stringify(freed)])
    }
  })

  /** Reserves the keys, with the records of the holders that are to be replaced. */
  const reserve = Effect.fnUntraced(function* (
    run: Run,
    runs: ReadonlyArray<TaskRun.Encoded>,
    busy: ReadonlyArray<string>
  ) {
    const wishes = wishesOf(runs)
    const asking = runs.filter(asksToReplace)
    const stored = yield* holders.before(run, asking, busy)
    const reserved = wishes.length === 0 ? [] : yield* run<ReservedRow>(statements.reserve, [JSON.stringify(wishes)])
    const held = reserved.flatMap(
      ([task, key, run_id, held_until, isNew]): ReadonlyArray<HeldKey> =>
        isNew ? [] : [{ task, key, run_id, held_until }]
    )
    const asked = new Set(wishesOf(asking).map(nameOf))
    yield* holders.after(
      run,
      stored,
      held.flatMap((key) => (key.held_until === null && asked.has(nameOf(key)) ? [key.run_id] : []))
    )
    return { reserved, reservations: new Reservations(held, stored) }
  })

  const apply = (groups: ReadonlyArray<Group>, maxQueued: number | null, busy: ReadonlyArray<string>) =>
    Effect.fnUntraced(function* (run: Run): Effect.fn.Return<ReadonlyArray<Accepted>, DriverError> {
      const runs = groups.flat()
      const room = maxQueued === null ? undefined : yield* readRoom(run, statements, runs, maxQueued)
      const { reservations, reserved } = yield* reserve(run, runs, busy)
      const decided = groups.map((group) => reservations.reserve(group))
      const all = decided.flatMap(Either.getOrElse(none))
      const full = room === undefined ? undefined : fullAfter(added(all), room)
      const decisions = full === undefined ? all : []
      const queued = added(decisions)
      yield* assign(run, reserved, queued)
      if (queued.length > 0) {
        yield* run(statements.enqueue, [queueRows(queued)])
      }
      const others = changed(decisions)
      if (others.length > 0) {
        yield* run(statements.change, [queueRows(others)])
      }
      if (full !== undefined) {
        return groups.map(() => Either.left(full))
      }
      const asked = holdersAsked(decisions)
      const stored = asked.length === 0 ? new Map() : yield* records.get(run, asked)
      return decided.map(Either.map((items) => items.map(answer(stored))))
    })

  const attempt = (
    groups: ReadonlyArray<Group>,
    maxQueued: number | null,
    busy: ReadonlyArray<string>,
    left: number
  ): Effect.Effect<ReadonlyArray<Accepted>, BackendError> =>
    Effect.catchIf(
      database.write("enqueue", apply(groups, maxQueued, busy)),
      ({ cause }) => cause instanceof Busy && left > 1,
      ({ cause }) => attempt(groups, maxQueued, (cause as Busy).ids, left - 1)
    )

  return (
    groups: ReadonlyArray<Group>,
    maxQueued: number | null
  ): Effect.Effect<ReadonlyArray<Accepted>, BackendError> =>
    Effect.suspend(() =>
      maxQueued !== null || groups.some((group) => group.some(({ idempotency }) => idempotency !== null))
        ? attempt(groups, maxQueued, [], mostAttempts)
        : Effect.as(
            database.call("enqueue", statements.enqueue, [queueRows(groups.flat())]),
            groups.map((group) => Either.right(group.map((run) => ({ _tag: "Queued" as const, run }))))
          )
    )
}

const none = (): ReadonlyArray<Decision> => []

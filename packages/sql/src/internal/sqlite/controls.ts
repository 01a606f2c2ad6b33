import type { SqlError } from "@effect/sql/SqlError"
import type { Broker, ClaimRequest, Settlement } from "@effect-tasks/core/Broker"
import type { Control } from "@effect-tasks/core/Operating"
import { Effect } from "effect"
import type { Run } from "./database.js"
import type { Tables } from "./schema.js"

/** The kinds of rows in the control table. */
type Kind = "hold" | "queue_paused" | "task_paused" | "task_disabled"

const kindOf = ({ of, state }: Control): Kind => (of === "queue" ? `${of}_${state}` : `${of}_${state}`)

const toControl = (kind: Exclude<Kind, "hold">, name: string): Control =>
  kind === "queue_paused"
    ? { of: "queue", name, state: "paused" }
    : { of: "task", name, state: kind === "task_paused" ? "paused" : "disabled" }

/**
 * The name of a hold of the runs with these limit keys. There may be as many as there are keys, so they stand beside the
 * rates, where each is found by its name, and not among the controls, which every claim reads.
 */
export const heldName = (task: string, limitKeys: string): string => `${task}\u001fhold\u001f${limitKeys}`

/** `heldName` of a row of the queue, in SQL. */
export const heldNameOf = (row: string): string => `${row}.task || char(31) || 'hold' || char(31) || ${row}.limit_keys`

/**
 * What may be claimed: the tasks of a request that are neither held nor paused and its queues that are not paused; besides,
 * which of its tasks are disabled, and when the next hold of one ends.
 */
export interface Open {
  readonly tasks: ReadonlyArray<string>
  readonly queues: ReadonlyArray<string>
  readonly disabled: ReadonlyArray<string>
  readonly heldUntil: number
}

interface Row {
  readonly kind: Kind
  readonly name: string
  readonly held_until: number | null
}

const none: ReadonlyArray<string> = []

const openUnder = (rows: ReadonlyArray<Row>, { queues, tasks }: ClaimRequest): Open => {
  const names = tasks.map(({ name }) => name)
  if (rows.length === 0) {
    return { tasks: names, queues, disabled: none, heldUntil: Number.POSITIVE_INFINITY }
  }
  const namesOf = (kind: Kind) => new Set(rows.flatMap((row) => (row.kind === kind ? [row.name] : [])))
  const held = new Map(rows.flatMap((row) => (row.kind === "hold" ? [[row.name, row.held_until ?? 0] as const] : [])))
  const pausedQueues = namesOf("queue_paused")
  const pausedTasks = namesOf("task_paused")
  const disabled = namesOf("task_disabled")
  return {
    tasks: names.filter((name) => !held.has(name) && !pausedTasks.has(name)),
    queues: queues.filter((queue) => !pausedQueues.has(queue)),
    disabled: names.filter((name) => disabled.has(name)),
    heldUntil: names.reduce((next, name) => Math.min(next, held.get(name) ?? next), Number.POSITIVE_INFINITY)
  }
}

/** Makes the part of a claim that asks what may be claimed. */
export const makeOpen = (t: Tables) => {
  const inForce = `SELECT kind, name, held_until FROM ${t.control} WHERE kind <> 'hold' OR held_until > :now`

  return (run: Run, request: ClaimRequest): Effect.Effect<Open, SqlError> =>
    Effect.map(run<Row>(inForce, [{ now: request.now }]), (rows) => openUnder(rows, request))
}

/** Makes the part of a settlement that holds tasks, or those of their runs that have certain limit keys. */
export const makeHold = (t: Tables) => {
  const holdTasks = `INSERT INTO ${t.control} (kind, name, held_until)
SELECT 'hold', value ->> 0, max(value ->> 1) FROM json_each(:holds) WHERE true GROUP BY value ->> 0
ON CONFLICT (kind, name) DO UPDATE SET held_until = max(excluded.held_until, coalesce(held_until, 0))`
  const holdKeys = `INSERT INTO ${t.rate} (name, until, used)
SELECT value ->> 0, max(value ->> 1), 0 FROM json_each(:holds) WHERE true GROUP BY value ->> 0
ON CONFLICT (name) DO UPDATE SET until = max(excluded.until, until)`

  return Effect.fnUntraced(function* (
    run: Run,
    settlements: ReadonlyArray<Settlement>
  ): Effect.fn.Return<void, SqlError> {
    const tasks: Array<readonly [name: string, until: number]> = []
    const keys: Array<readonly [name: string, until: number]> = []
    for (const {
      hold,
      run: { task }
    } of settlements) {
      if (hold !== null && hold.limitKeys === null) {
        tasks.push([task, hold.until])
      } else if (hold !== null && hold.limitKeys !== null) {
        keys.push([heldName(task, hold.limitKeys), hold.until])
      }
    }
    if (tasks.length > 0) {
      yield* run(holdTasks, [{ holds: JSON.stringify(tasks) }])
    }
    if (keys.length > 0) {
      yield* run(holdKeys, [{ holds: JSON.stringify(keys) }])
    }
  })
}

/** Makes the operations on what operators have decided. */
export const make = (t: Tables) => {
  const add = `INSERT INTO ${t.control} (kind, name)
SELECT value ->> 0, value ->> 1 FROM json_each(:controls) WHERE true ON CONFLICT (kind, name) DO NOTHING`
  const remove = `DELETE FROM ${t.control}
WHERE (kind, name) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:controls))`
  const all = `SELECT kind, name FROM ${t.control} WHERE kind <> 'hold' ORDER BY kind, name`
  const texts = (controls: ReadonlyArray<Control>) =>
    JSON.stringify(controls.map((control) => [kindOf(control), control.name]))

  return {
    change: (run: Run, changes: Parameters<typeof Broker.Service.control>[0]): Effect.Effect<void, SqlError> =>
      Effect.zipRight(
        run(remove, [{ controls: texts(changes.remove) }]),
        Effect.asVoid(run(add, [{ controls: texts(changes.add) }]))
      ),
    all: (run: Run): Effect.Effect<ReadonlyArray<Control>, SqlError> =>
      Effect.map(run<{ readonly kind: Exclude<Kind, "hold">; readonly name: string }>(all), (rows) =>
        rows.map(({ kind, name }) => toControl(kind, name))
      )
  }
}

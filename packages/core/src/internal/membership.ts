import { Effect } from "effect"
import type { ServedTask } from "../Broker.js"
import { DuplicateTask } from "../TaskError.js"
import { type State, wake } from "./consumerState.js"
import type { HandlerEntry } from "./definition.js"
import { giveBackWaiting } from "./performing.js"

/*
 * The tasks that a consumer serves, as they come and go.
 */

/** What a consumer asks for on behalf of its tasks, and where. */
export const served = (
  entries: Iterable<HandlerEntry>,
  namedQueues: ReadonlyArray<string> | null
): Pick<State, "tasks" | "hasRooms" | "queues"> => {
  const definitions = Array.from(entries, ({ definition }) => definition)
  return {
    tasks: definitions.map(
      ({ limits, name }): ServedTask => ({
        name,
        maxConcurrency: limits.maxConcurrency,
        limits: limits.encoded,
        room: limits.perConsumer
      })
    ),
    hasRooms: definitions.some(({ limits }) => limits.perConsumer !== null),
    queues: namedQueues ?? Array.from(new Set(definitions.map(({ queueName }) => queueName)))
  }
}

const serves = (state: State, name: string): boolean => state.tasks.some((task) => task.name === name)

const change = (state: State, names: ReadonlyArray<string>): void => {
  const entries = names.flatMap((name) => state.entries.get(name) ?? [])
  Object.assign(state, served(entries, state.namedQueues))
  state.hungry = true
  state.nextAt = null
  state.unannounced.unsafeOpen()
  wake(state)
}

/** Serves these tasks too, all of them or none. A task that is served already stays as it is. */
export const add = (state: State, added: ReadonlyMap<string, HandlerEntry>): Effect.Effect<void, DuplicateTask> =>
  Effect.suspend(() => {
    const known = state.tasks.map(({ name }) => name)
    for (const [name, { definition }] of added) {
      if (known.includes(name) && state.entries.get(name)?.definition !== definition) {
        return new DuplicateTask({ task: name })
      }
    }
    const fresh = Array.from(added).filter(([name]) => !known.includes(name))
    fresh.forEach(([name, entry]) => state.entries.set(name, entry))
    if (fresh.length > 0) {
      change(state, [...known, ...fresh.map(([name]) => name)])
    }
    return Effect.void
  })

/** Claims no more runs of this task, gives back those that have not begun, and waits for the others. */
export const remove = (state: State, name: string): Effect.Effect<void> =>
  Effect.flatMap(state.broker.now, (now) => {
    if (serves(state, name)) {
      change(
        state,
        state.tasks.flatMap((task) => (task.name === name ? [] : [task.name]))
      )
      giveBackWaiting(state, now, ({ run }) => run.task === name)
    }
    return state.idle.until(
      () => state.phase === "stopped" || !state.inFlights.all().some(({ run }) => run.task === name)
    )
  })

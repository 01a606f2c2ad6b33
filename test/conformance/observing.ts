/** How the tests look at what the runtime does. */

import { assert } from "@effect/vitest"
import { type TaskEvent, TaskEvents, type TaskRun, type TaskState } from "@effect-tasks/core"
import { Effect, Schema } from "effect"
import { eventually, quiet, type Storage } from "./harness.js"

/** The error of the tasks here. */
export class Oops extends Schema.TaggedError<Oops>("conformance/Oops")("Oops", { code: Schema.Number }) {}

/** All events of this process from now on, as they come. */
export const recordEvents = Effect.gen(function* () {
  const events: Array<TaskEvent.TaskEvent> = []
  yield* TaskEvents.on("all", (event) => Effect.sync(() => events.push(event)))
  return events
})

/** The states that the events of a run tell of. */
export const statesOf = (
  events: ReadonlyArray<TaskEvent.TaskEvent>,
  id: TaskRun.RunId
): ReadonlyArray<TaskState.TaskState> => events.filter(({ run }) => run.id === id).map(({ state }) => state)

/** Waits until the events of a run are these. */
export const eventsBecome = (
  events: ReadonlyArray<TaskEvent.TaskEvent>,
  { id }: { readonly id: TaskRun.RunId },
  ...states: ReadonlyArray<TaskState.TaskState>
) => eventually(Effect.sync(() => assert.deepStrictEqual(statesOf(events, id), states)))

/** Waits until the record of a run has this state, and gives it. */
export const becomes = <E, R>(
  { poll }: { readonly poll: Effect.Effect<TaskRun.TaskRun, E, R> },
  state: TaskState.TaskState
): Effect.Effect<TaskRun.TaskRun, E, R | Storage> =>
  Effect.zipLeft(
    eventually(
      Effect.map(poll, (run) => {
        assert.strictEqual(run.state, state)
        return run
      })
    ),
    // a state is there to be seen as soon as it is committed, which may be before the consumer has the answer
    quiet
  )

/** Waits until a check that looks at the test's own notes holds. */
export const eventuallySync = (check: () => void): Effect.Effect<void> => eventually(Effect.sync(check))

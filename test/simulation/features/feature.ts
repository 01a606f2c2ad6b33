import type { Task, TaskGroup, TaskManager } from "@effect-tasks/core"
import type { Effect, Layer } from "effect"
import type { Draw } from "../random.js"

/** One kind of work in a world: its tasks, their handlers, and a request for it. */
export interface Feature {
  readonly name: string
  readonly tasks: ReadonlyArray<Task.Any>
  readonly handlers: Layer.Layer<Task.Handler<string>, never, TaskManager.TaskManager>
  readonly request: (draw: Draw) => Effect.Effect<unknown, unknown, TaskManager.TaskManager>
}

/** Makes a feature; the types of its tasks are known only to itself. */
export const feature = <Tasks extends Task.Any>(
  name: string,
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: Layer.Layer<TaskGroup.Handler<Tasks>, never, TaskManager.TaskManager>,
  request: Feature["request"]
): Feature => ({ name, tasks: group.tasks, handlers: handlers as unknown as Feature["handlers"], request })

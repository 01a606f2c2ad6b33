/**
 * Several tasks, as one value: what a consumer serves.
 *
 * @since 0.1.0
 */
import { Effect, type Layer, type Scope } from "effect"
import * as handlers from "./internal/handlers.js"
import * as Task from "./Task.js"
import { DuplicateTask } from "./TaskError.js"

/**
 * A group of tasks; the type knows each of them.
 *
 * @since 0.1.0
 * @category models
 */
export interface TaskGroup<out Tasks extends Task.Any> {
  /** The tasks, in the order in which they were given. */
  readonly tasks: ReadonlyArray<Tasks>
  /** This group and one task more. */
  readonly add: <T extends Task.Any>(task: T) => TaskGroup<Tasks | T>
  /** The tasks of both groups. */
  readonly merge: <Others extends Task.Any>(other: TaskGroup<Others>) => TaskGroup<Tasks | Others>
  /** The handlers of all tasks at once, as a record by name or an effect that makes it. */
  readonly toLayer: <H extends Handlers<Tasks>, EX = never, RX = never>(
    handlers: H | Effect.Effect<H, EX, RX>
  ) => Layer.Layer<Handler<Tasks>, EX, Exclude<RX, Scope.Scope> | Task.HandlerServices<H[keyof H]>>
}

/**
 * The services of the handlers of these tasks.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<Tasks extends Task.Any> = Tasks extends Task.Any ? Task.Handler<Tasks["name"]> : never

/**
 * A handler for each of these tasks, by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Handlers<Tasks extends Task.Any> = {
  readonly [Name in Tasks["name"]]: HandlerOf<Extract<Tasks, { readonly name: Name }>>
}

/**
 * The tasks of a group.
 *
 * @since 0.1.0
 * @category models
 */
export type Tasks<Group> = Group extends TaskGroup<infer T> ? T : never

/**
 * The tasks among the exports of a module, or among the values of a record: those whose name does not begin with `_`.
 *
 * @since 0.1.0
 * @category models
 */
export type Exported<Module> = {
  [Name in keyof Module]: Name extends `_${string}` ? never : Extract<Module[Name], Task.Any>
}[keyof Module]

type HandlerOf<T extends Task.Any> = Task.HandlerOf<T["payloadSchema"], T["successSchema"], T["errorSchema"]>

/**
 * The tasks of a group by name; fails when two different tasks have one name.
 *
 * @since 0.1.0
 * @category conversions
 */
export const byName = <Tasks extends Task.Any>(
  group: TaskGroup<Tasks>
): Effect.Effect<ReadonlyMap<string, Tasks>, DuplicateTask> =>
  Effect.suspend(() => {
    const tasks = new Map<string, Tasks>()
    for (const task of group.tasks) {
      const known = tasks.get(task.name)
      if (known !== undefined && known !== task) {
        return new DuplicateTask({ task: task.name })
      }
      tasks.set(task.name, task)
    }
    return Effect.succeed(tasks)
  })

/**
 * Makes a group of tasks.
 *
 * @example
 * ```ts
 * import { Task, TaskGroup } from "@effect-tasks/core"
 * import { Effect, Schema } from "effect"
 *
 * const Greet = Task.make("Greet", { payload: { name: Schema.String } })
 * const Clean = Task.make("Clean")
 *
 * const Chores = TaskGroup.make(Greet, Clean)
 * const ChoresLive = Chores.toLayer({
 *   Greet: ({ name }) => Effect.log(`hello ${name}`),
 *   Clean: () => Effect.log("done")
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Tasks extends ReadonlyArray<Task.Any>>(...tasks: Tasks): TaskGroup<Tasks[number]> => {
  const self: TaskGroup<Tasks[number]> = {
    tasks,
    add: (task) => make(...self.tasks, task),
    merge: (other) => make(...self.tasks, ...other.tasks),
    toLayer: (build) => handlers.layerAll(self.tasks, build)
  }
  return self
}

/**
 * A group of all tasks that a module exports, or that a record holds. What is not a task is left out, and so is what is
 * exported under a name that begins with `_`. A task that is exported under two names is there once. The type knows each
 * task, so one that has no handler is a type error that names it.
 *
 * @example
 * ```ts
 * import { Task, TaskGroup } from "@effect-tasks/core"
 *
 * // mostly `import * as tasks from "./tasks.js"`
 * const tasks = { Greet: Task.make("Greet"), Clean: Task.make("Clean"), _Draft: Task.make("Draft"), retries: 3 }
 *
 * const All = TaskGroup.fromModule(tasks) // Greet and Clean
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromModule = <const Module extends object>(module: Module): TaskGroup<Exported<Module>> => {
  const tasks = Object.entries(module).flatMap(([name, value]) =>
    name.startsWith("_") || !Task.isTask(value) ? [] : [value]
  )
  return ofOnce(tasks)
}

/**
 * A group of the tasks of all these groups. A task that several of them have is there once.
 *
 * @since 0.1.0
 * @category combinators
 */
export const merge = <const Groups extends ReadonlyArray<TaskGroup<Task.Any>>>(
  ...groups: Groups
): TaskGroup<Tasks<Groups[number]>> => ofOnce(groups.flatMap((group) => group.tasks))

/** Each of the tasks once; the caller knows their types. */
const ofOnce = <T extends Task.Any>(tasks: ReadonlyArray<Task.Any>): TaskGroup<T> =>
  make(...(Array.from(new Set(tasks)) as Array<T>))

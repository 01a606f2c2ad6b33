import type { Context, Duration, Effect, Schedule, Schema, Scope } from "effect"
import type { CurrentRun } from "../CurrentRun.js"
import type * as Limit from "../Limit.js"
import { InvalidOption } from "../TaskError.js"
import { isTaskPriority, limit } from "../TaskPriority.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { AttemptEnd } from "./attemptResult.js"
import { isCount, isName, nameRule } from "./checking.js"
import type { TaskSchedule } from "./scheduleModel.js"
import * as taskLimits from "./taskLimits.js"
import * as versions from "./versions.js"

/** The mark by which a task is known from other values. Documented in `Task`. */
export const TypeId: unique symbol = Symbol.for("@effect-tasks/core/Task")

/** Documented in `Task`. */
export type TypeId = typeof TypeId

/** Where the attempts of a task are performed. Documented in `Task`. */
export type Executor = "inline" | "thread" | "process"

const executors: ReadonlyArray<Executor> = ["inline", "thread", "process"]

/** What the runtime knows of a task: its schemas and policies, with defaults filled in. Documented in `Task`. */
export interface Definition extends versions.Versioned {
  readonly [TypeId]: TypeId
  readonly name: string
  /** The key of the handler's service. */
  readonly key: string
  readonly description: string | undefined
  readonly payloadSchema: Schema.Schema.All
  readonly successSchema: Schema.Schema.All
  readonly errorSchema: Schema.Schema.All
  readonly queueName: string
  readonly priority: number
  readonly tags: ReadonlyArray<string>
  readonly retry: Schedule.Schedule<unknown, unknown> | undefined
  readonly timeout: Duration.Duration | undefined
  readonly maxConcurrency: number | undefined
  readonly limitList: ReadonlyArray<Limit.Single<never>>
  readonly limits: taskLimits.TaskLimits
  readonly maxQueued: number | undefined
  readonly maxCrashes: number
  readonly requeueOnInterrupt: boolean
  readonly schedule: TaskSchedule | undefined
  readonly schedulePayload: unknown
  readonly executor: Executor
}

/** The payload of a run that nobody gives one: it may be left out where the schema takes nothing, or an empty record. */
export type PayloadOption<Type, Key extends string> =
  IsNothing<Type> extends true ? { readonly [K in Key]?: Type | undefined } : { readonly [K in Key]: Type }

type IsNothing<Type> = undefined extends Type ? true : Record<never, never> extends Type ? true : false

/** Definitions that were found to be in order: they are asked about with each request. */
const valid = new WeakSet<Definition>()

/** The first option of a definition that is out of its range. */
export const invalidOption = (definition: Definition): InvalidOption | undefined => {
  if (valid.has(definition)) {
    return undefined
  }
  const invalid = firstInvalid(definition)
  if (invalid === undefined) {
    valid.add(definition)
  }
  return invalid
}

const firstInvalid = (definition: Definition): InvalidOption | undefined => {
  const checks: ReadonlyArray<readonly [option: string, value: unknown, fits: boolean, expected: string]> = [
    ["name", definition.name, isName(definition.name), nameRule],
    ["queue", definition.queueName, isName(definition.queueName), nameRule],
    ["priority", definition.priority, isTaskPriority(definition.priority), `an integer from -${limit} to ${limit}`],
    ["maxCrashes", definition.maxCrashes, isCount(definition.maxCrashes, 0), "an integer, 0 or more"],
    [
      "maxConcurrency",
      definition.maxConcurrency,
      definition.maxConcurrency === undefined || isCount(definition.maxConcurrency, 1),
      "an integer, 1 or more"
    ],
    [
      "maxQueued",
      definition.maxQueued,
      definition.maxQueued === undefined || isCount(definition.maxQueued, 1),
      "an integer, 1 or more"
    ],
    ["executor", definition.executor, executors.includes(definition.executor), '"inline", "thread" or "process"'],
    ["version", definition.version, isCount(definition.version, 1), "an integer, 1 or more"],
    ...upcastsCheck(definition)
  ]
  const badLimit = taskLimits.invalid(definition.limitList)
  if (badLimit !== undefined) {
    return new InvalidOption({ ...badLimit, option: `${badLimit.option} of task ${definition.name}` })
  }
  const failed = checks.find(([, , fits]) => !fits)
  return failed === undefined
    ? undefined
    : new InvalidOption({ option: `${failed[0]} of task ${definition.name}`, value: failed[1], expected: failed[3] })
}

const upcastsCheck = (definition: Definition): ReadonlyArray<readonly [string, unknown, boolean, string]> => {
  const problem = versions.problemOf(definition)
  return problem === undefined ? [] : [["upcasts", Object.keys(definition.upcasts ?? {}), false, problem]]
}

/** A handler as the consumer finds it in its context, with the services that its Layer captured. */
export type HandlerEntry = HandlerHere | HandlerElsewhere

/** A handler that is called in the fiber of the attempt. */
export interface HandlerHere {
  readonly definition: Definition
  readonly handler: (payload: never) => Effect.Effect<unknown, unknown, unknown>
  readonly context: Context.Context<never>
}

/** A handler whose attempts an executor performs. */
export interface HandlerElsewhere {
  readonly definition: Definition
  /** Waits for a place, which is kept until the Scope closes; gives what performs the attempt there. */
  readonly reserve: Effect.Effect<PerformElsewhere, never, Scope.Scope>
  readonly context: Context.Context<never>
}

/**
 * Performs an attempt elsewhere. It is for an uninterruptible region: an interruption reaches the handler, and what it did in
 * spite of that counts. `traceparent` is the span that the attempt is to go on with.
 */
export type PerformElsewhere = (attempt: {
  readonly run: EncodedRun
  readonly current: typeof CurrentRun.Service
  readonly traceparent: string | null
}) => Effect.Effect<AttemptEnd>

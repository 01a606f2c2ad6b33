import { type Context, type Duration, Effect, type Schedule, type Schema } from "effect"
import type * as Limit from "../Limit.js"
import { InvalidOption } from "../TaskError.js"
import { isTaskPriority, limit } from "../TaskPriority.js"
import * as taskLimits from "./taskLimits.js"
import * as versions from "./versions.js"

/** What the runtime knows of a task: its schemas and policies, with defaults filled in. Documented in `Task`. */
export interface Definition extends versions.Versioned {
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
}

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

export const nameRule = "1 to 200 characters, none of them a control character"

/** Whether a text may name a task, a queue, a group, a tag or a key. */
export const isName = (name: string): boolean => /^[^\p{Cc}]{1,200}$/u.test(name)

/** A number that an option gives, if it is whole and not below the least. */
export const checkCount = (option: string, value: number, least: number): Effect.Effect<number, InvalidOption> =>
  isCount(value, least)
    ? Effect.succeed(value)
    : new InvalidOption({ option, value, expected: `an integer, ${least} or more` })

const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least

/** A handler as the consumer finds it in its context, with the services that its Layer captured. */
export interface HandlerEntry {
  readonly definition: Definition
  readonly handler: (payload: never) => Effect.Effect<unknown, unknown, unknown>
  readonly context: Context.Context<never>
}

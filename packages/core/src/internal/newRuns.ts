import { Duration, Effect, Option, Tracer } from "effect"
import type * as ParseResult from "effect/ParseResult"
import { CurrentRun } from "../CurrentRun.js"
import { InvalidOption, type PayloadTooLarge } from "../TaskError.js"
import { isTaskPriority, limit, toNumber } from "../TaskPriority.js"
import type { EncodedIdempotency, Encoded as EncodedRun } from "../TaskRun.js"
import * as codec from "./codec.js"
import { type Definition, invalidOption, isName, nameRule } from "./definition.js"
import type { QueueOptions } from "./managerTag.js"
import type { RunId } from "./run.js"
import type { Uuid7 } from "./uuid7.js"

/*
 * From a request to the stored form of new runs: options checked, payloads encoded, ids given, the chain and the trace
 * context of the fiber that asks noted.
 */

export interface Context {
  readonly ids: Uuid7
  readonly maxPayloadBytes: number
}

export const make = (
  { ids, maxPayloadBytes }: Context,
  task: Definition,
  payloads: ReadonlyArray<unknown>,
  options: QueueOptions,
  now: number
): Effect.Effect<ReadonlyArray<EncodedRun>, InvalidOption | ParseResult.ParseError | PayloadTooLarge> =>
  Effect.gen(function* () {
    yield* checked(task, payloads, options)
    const texts = yield* Effect.forEach(payloads, (payload) => codec.encodePayload(task, payload, maxPayloadBytes))
    const newIds = yield* ids.make(texts.length)
    const parent = yield* Effect.serviceOption(CurrentRun)
    const traceparent = yield* currentTraceparent
    const dueAt = dueOf(options, now)
    const common = {
      task: task.name,
      queue: options.queue ?? task.queueName,
      state: dueAt > now ? ("scheduled" as const) : ("queued" as const),
      priority: options.priority === undefined ? task.priority : toNumber(options.priority),
      payloadVersion: 1,
      createdAt: now,
      dueAt,
      ...unstarted,
      tags: options.tags === undefined ? task.tags : Array.from(new Set([...task.tags, ...options.tags])),
      group: options.group ?? null,
      idempotency: idempotencyOf(options),
      parentId: Option.isSome(parent) ? parent.value.id : null,
      rootId: Option.isSome(parent) ? parent.value.rootId : null,
      retryOf: null,
      traceparent
    }
    return texts.map((payload, i) => ({ ...common, id: newIds[i] as RunId, payload }))
  })

/** What a run is before its first attempt. */
export const unstarted = {
  startedAt: null,
  endedAt: null,
  attempt: 0,
  crashes: 0,
  fence: 0,
  consumer: null,
  leaseUntil: null,
  ledger: "[]",
  outcome: null,
  progress: null,
  logged: 0
} as const

const dueOf = ({ at, delay }: QueueOptions, now: number): number =>
  delay !== undefined
    ? now + Math.max(0, Math.ceil(Duration.toMillis(delay)))
    : Math.max(now, at === undefined ? now : Number(at))

const idempotencyOf = ({ idempotencyKey }: QueueOptions): EncodedIdempotency | null => {
  if (idempotencyKey === undefined) {
    return null
  }
  const { hold, key, onConflict } =
    typeof idempotencyKey === "string"
      ? { key: idempotencyKey, hold: undefined, onConflict: undefined }
      : idempotencyKey
  return {
    key,
    holdMillis:
      hold === undefined || hold === "unfinished" ? 0 : hold === "forever" ? null : Math.ceil(Duration.toMillis(hold)),
    onConflict: onConflict ?? "return"
  }
}

/** The span of this fiber as a W3C trace context (https://www.w3.org/TR/trace-context/). */
const currentTraceparent: Effect.Effect<string | null> = Effect.map(
  Effect.serviceOption(Tracer.ParentSpan),
  Option.match({
    onNone: () => null,
    onSome: ({ sampled, spanId, traceId }) => `00-${traceId}-${spanId}-0${sampled ? 1 : 0}`
  })
)

const checked = (
  task: Definition,
  payloads: ReadonlyArray<unknown>,
  options: QueueOptions
): Effect.Effect<void, InvalidOption> => {
  const key = typeof options.idempotencyKey === "string" ? options.idempotencyKey : options.idempotencyKey?.key
  const names: ReadonlyArray<readonly [string, string | undefined]> = [
    ["queue", options.queue],
    ["group", options.group],
    ["idempotencyKey", key],
    ...(options.tags ?? []).map((tag) => ["tags", tag] as const)
  ]
  const badName = names.find(([, name]) => name !== undefined && !isName(name))
  if (badName !== undefined) {
    return new InvalidOption({ option: badName[0], value: badName[1], expected: nameRule })
  }
  if (options.priority !== undefined && !isTaskPriority(options.priority)) {
    const expected = `high, medium, low or an integer from -${limit} to ${limit}`
    return new InvalidOption({ option: "priority", value: options.priority, expected })
  }
  if (options.at !== undefined && !Number.isFinite(Number(options.at))) {
    return new InvalidOption({ option: "at", value: options.at, expected: "a valid date" })
  }
  if (options.delay !== undefined && !Duration.isFinite(Duration.decode(options.delay))) {
    return new InvalidOption({ option: "delay", value: options.delay, expected: "a finite duration" })
  }
  if (key !== undefined && payloads.length > 1) {
    return new InvalidOption({
      option: "idempotencyKey",
      value: key,
      expected: "left out where several runs are queued"
    })
  }
  const invalid = invalidOption(task)
  return invalid === undefined ? Effect.void : invalid
}

import { type Context, Duration, Effect, Either, Option, Tracer } from "effect"
import type * as ParseResult from "effect/ParseResult"
import { CurrentRun } from "../CurrentRun.js"
import { InvalidOption, type PayloadTooLarge } from "../TaskError.js"
import { isTaskPriority, limit, toNumber } from "../TaskPriority.js"
import type { EncodedIdempotency, Encoded as EncodedRun } from "../TaskRun.js"
import { isName, nameRule } from "./checking.js"
import * as codec from "./codec.js"
import { type Definition, invalidOption } from "./definition.js"
import type { Idempotency, QueueOptions } from "./managerTag.js"
import type { RunId } from "./run.js"
import * as taskLimits from "./taskLimits.js"
import * as tracing from "./tracing.js"
import type { Uuid7 } from "./uuid7.js"

/*
 * From a request to the stored form of new runs: options checked, payloads encoded, ids given, the chain and the trace
 * context of the fiber that asks noted.
 */

export interface Parts {
  readonly ids: Uuid7
  readonly maxPayloadBytes: number
}

type MakeError = InvalidOption | ParseResult.ParseError | PayloadTooLarge

export const make = (
  { ids, maxPayloadBytes }: Parts,
  task: Definition,
  payloads: ReadonlyArray<unknown>,
  options: QueueOptions,
  now: number
): Effect.Effect<ReadonlyArray<EncodedRun>, MakeError> => {
  const invalid = invalidOf(task, payloads, options)
  if (invalid !== undefined) {
    return invalid
  }
  const texts = payloads.map((payload) => codec.encodePayload(task, payload, maxPayloadBytes))
  return Effect.flatMap(Effect.context<never>(), (context) => {
    const likeness = likenessOf(task, options, now, context)
    const toRuns = (texts: ReadonlyArray<string>) =>
      ids.at(now, texts.length).map((id, i) => run(likeness, id, texts[i]!))
    const runs = Effect.map(codec.all(texts), toRuns)
    return task.limits.keys.length === 0
      ? runs
      : Effect.flatMap(runs, (runs) => Effect.forEach(runs, (run, i) => withLimitKeys(task, run, payloads[i])))
  })
}

/** The keys are made of a payload that its schema has let pass. */
const withLimitKeys = (task: Definition, run: EncodedRun, payload: unknown): Effect.Effect<EncodedRun, InvalidOption> =>
  Either.match(taskLimits.keysOf(task.limits, payload), {
    onLeft: (bad) => new InvalidOption({ ...bad, option: `${bad.option} of task ${task.name}` }),
    onRight: (limitKeys) => Effect.succeed({ ...run, limitKeys })
  })

/** What the runs of one request have in common. */
interface Likeness {
  readonly task: string
  readonly payloadVersion: number
  readonly queue: string
  readonly priority: number
  readonly createdAt: number
  readonly dueAt: number
  readonly tags: ReadonlyArray<string>
  readonly group: string | null
  readonly expiresAt: number | null
  readonly idempotency: EncodedIdempotency | null
  readonly parentId: RunId | null
  readonly rootId: RunId | null
  readonly traceparent: string | null
}

const likenessOf = (
  task: Definition,
  options: QueueOptions,
  now: number,
  context: Context.Context<never>
): Likeness => {
  const current: typeof CurrentRun.Service | undefined = context.unsafeMap.get(CurrentRun.key)
  const parent = options.parent ?? current
  return {
    task: task.name,
    payloadVersion: task.version,
    queue: options.queue ?? task.queueName,
    priority: options.priority === undefined ? task.priority : toNumber(options.priority),
    createdAt: now,
    dueAt: dueOf(options, now),
    tags: options.tags === undefined ? task.tags : Array.from(new Set([...task.tags, ...options.tags])),
    group: options.group ?? null,
    expiresAt: options.expiresAt === undefined ? null : Number(options.expiresAt),
    idempotency: idempotencyOf(options, now),
    parentId: parent?.id ?? null,
    rootId: parent?.rootId ?? parent?.id ?? null,
    traceparent: traceparentOf(context)
  }
}

/** The trace context of the span that is at work, if there is one. */
export const traceparentOf = (context: Context.Context<never>): string | null => {
  const span: Tracer.AnySpan | undefined = context.unsafeMap.get(Tracer.ParentSpan.key)
  return span === undefined ? null : tracing.traceparentOf(span)
}

/** Every field by its name: a copy of what is common and two more would be another kind of object, and slower to use. */
const run = (of: Likeness, id: string, payload: string): EncodedRun => ({
  id: id as RunId,
  task: of.task,
  queue: of.queue,
  state: of.dueAt > of.createdAt ? "scheduled" : "queued",
  priority: of.priority,
  payload,
  payloadVersion: of.payloadVersion,
  createdAt: of.createdAt,
  dueAt: of.dueAt,
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
  logged: 0,
  tags: of.tags,
  group: of.group,
  limitKeys: null,
  expiresAt: of.expiresAt,
  snoozes: 0,
  idempotency: of.idempotency,
  parentId: of.parentId,
  rootId: of.rootId,
  retryOf: null,
  traceparent: of.traceparent
})

/**
 * A new run that repeats an ended one. It takes the old one's key, unless that is a success, which may hold it: then whoever
 * asks for the key is to get the first run, and who asks for this one has asked for a second.
 */
export const again = (old: EncodedRun, id: string, now: number): EncodedRun => ({
  ...run({ ...old, createdAt: now, dueAt: now, expiresAt: null }, id, old.payload),
  limitKeys: old.limitKeys,
  idempotency: old.state === "success" ? null : old.idempotency,
  retryOf: old.id
})

/** What the runs of a schedule are queued as. */
export interface Template {
  readonly task: string
  readonly payload: string
  readonly payloadVersion: number
  readonly queue: string
  readonly priority: number
  readonly tags: ReadonlyArray<string>
  readonly group: string | null
  readonly limitKeys: string | null
}

/** A new run after a template, due now. */
export const templated = (of: Template, id: string, now: number, tags: ReadonlyArray<string>): EncodedRun => ({
  ...run(
    {
      ...of,
      tags: [...of.tags, ...tags],
      createdAt: now,
      dueAt: now,
      expiresAt: null,
      idempotency: null,
      parentId: null,
      rootId: null,
      traceparent: null
    },
    id,
    of.payload
  ),
  limitKeys: of.limitKeys
})

const dueOf = ({ at, delay, idempotencyKey }: QueueOptions, now: number): number => {
  const asked = delay !== undefined ? now + wholeMillis(delay) : Math.max(now, at === undefined ? now : Number(at))
  return typeof idempotencyKey === "object" && "debounce" in idempotencyKey
    ? Math.max(asked, now + wholeMillis(idempotencyKey.debounce))
    : asked
}

/** A duration in whole milliseconds; one below nought is none. */
export const wholeMillis = (duration: Duration.DurationInput): number =>
  Math.max(0, Math.ceil(Duration.toMillis(duration)))

const idempotencyOf = ({ idempotencyKey }: QueueOptions, now: number): EncodedIdempotency | null => {
  if (idempotencyKey === undefined) {
    return null
  }
  const held: EncodedIdempotency = {
    key: typeof idempotencyKey === "string" ? idempotencyKey : idempotencyKey.key,
    holdMillis: 0,
    holdUntil: null,
    onConflict: "return",
    latestDueAt: null
  }
  return typeof idempotencyKey === "string" ? held : { ...held, ...policyOf(idempotencyKey, now) }
}

const policyOf = (idempotency: Idempotency, now: number): Partial<EncodedIdempotency> => {
  if ("debounce" in idempotency) {
    const { maxWait } = idempotency
    return { onConflict: "debounce", latestDueAt: maxWait === undefined ? null : now + wholeMillis(maxWait) }
  }
  const { onConflict = "return" } = idempotency
  if ("throttle" in idempotency) {
    return { onConflict, holdUntil: now + wholeMillis(idempotency.throttle) }
  }
  const { hold = "unfinished" } = idempotency
  return { onConflict, holdMillis: hold === "unfinished" ? 0 : hold === "forever" ? null : wholeMillis(hold) }
}

/** The first option that is out of its range. */
const invalidOf = (
  task: Definition,
  payloads: ReadonlyArray<unknown>,
  options: QueueOptions
): InvalidOption | undefined => {
  const { expiresAt, idempotencyKey, maxQueued } = options
  const key = typeof idempotencyKey === "string" ? idempotencyKey : idempotencyKey?.key
  const badName = badNameOf(options, key)
  if (badName !== undefined) {
    return badName
  }
  const badTime = invalidTurn(options) ?? (typeof idempotencyKey === "object" ? endlessOf(idempotencyKey) : undefined)
  if (badTime !== undefined) {
    return badTime
  }
  if (expiresAt !== undefined && !Number.isFinite(Number(expiresAt))) {
    return new InvalidOption({ option: "expiresAt", value: expiresAt, expected: "a valid date" })
  }
  if (maxQueued !== undefined && !(Number.isSafeInteger(maxQueued) && maxQueued >= 1)) {
    return new InvalidOption({ option: "maxQueued", value: maxQueued, expected: "an integer, 1 or more" })
  }
  return key !== undefined && payloads.length > 1
    ? new InvalidOption({ option: "idempotencyKey", value: key, expected: "left out where several runs are queued" })
    : invalidOption(task)
}

/** The first duration of a key that has no end, or is none; `hold: "forever"` is another thing. */
const endlessOf = (idempotency: Idempotency): InvalidOption | undefined => {
  const durations: Readonly<Record<string, Duration.DurationInput | undefined>> =
    "debounce" in idempotency
      ? { debounce: idempotency.debounce, maxWait: idempotency.maxWait }
      : "throttle" in idempotency
        ? { throttle: idempotency.throttle }
        : { hold: holdOf(idempotency.hold) }
  const endless = Object.entries(durations).find(
    ([, value]) => value !== undefined && !Option.exists(Duration.decodeUnknown(value), Duration.isFinite)
  )
  return endless && new InvalidOption({ option: `idempotencyKey.${endless[0]}`, value: endless[1], expected: finite })
}

const finite = "a finite duration"

const holdOf = (hold: "unfinished" | "forever" | Duration.DurationInput | undefined) =>
  hold === "unfinished" || hold === "forever" ? undefined : hold

/** The first option about when a run comes to its turn that is out of its range. */
export const invalidTurn = ({
  at,
  delay,
  priority
}: Pick<QueueOptions, "at" | "delay" | "priority">): InvalidOption | undefined => {
  if (priority !== undefined && !isTaskPriority(priority)) {
    const expected = `high, medium, low or an integer from -${limit} to ${limit}`
    return new InvalidOption({ option: "priority", value: priority, expected })
  }
  if (at !== undefined && !Number.isFinite(Number(at))) {
    return new InvalidOption({ option: "at", value: at, expected: "a valid date" })
  }
  if (delay !== undefined && !Duration.isFinite(Duration.decode(delay))) {
    return new InvalidOption({ option: "delay", value: delay, expected: finite })
  }
  return undefined
}

const badNameOf = ({ group, queue, tags }: QueueOptions, key: string | undefined): InvalidOption | undefined => {
  const isBad = (name: string | undefined) => name !== undefined && !isName(name)
  const bad = (option: string, value: string | undefined) => new InvalidOption({ option, value, expected: nameRule })
  if (isBad(queue)) {
    return bad("queue", queue)
  }
  if (isBad(group)) {
    return bad("group", group)
  }
  if (isBad(key)) {
    return bad("idempotencyKey", key)
  }
  const badTag = tags?.find(isBad)
  return badTag === undefined ? undefined : bad("tags", badTag)
}

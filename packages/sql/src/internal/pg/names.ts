import { InvalidOption } from "@effect-tasks/core/TaskError"
import { Either } from "effect"

/** The names of everything in the schema, as statements say them. */
export interface Names {
  readonly schema: string
  readonly prefix: string
  readonly queue: string
  readonly history: string
  readonly count: string
  readonly log: string
  readonly key: string
  readonly control: string
  readonly rate: string
  readonly locks: string
  readonly consumer: string
  readonly schedule: string
  readonly migrations: string
  /** Functions. */
  readonly enqueue: string
  readonly settle: string
  readonly exchange: string
  readonly look: string
  readonly start: string
  readonly extend: string
  readonly cancel: string
  readonly edit: string
  readonly change: string
  readonly holders: string
  readonly waiting: string
  readonly setControls: string
  readonly fire: string
  readonly acquireLock: string
  readonly record: string
  readonly get: string
  readonly remove: string
  readonly prune: string
  readonly forget: string
  readonly dropWeek: string
  readonly maintain: string
  /** The channel of its notifications. */
  readonly channel: string
  /** What an advisory lock of this backend is named after. */
  readonly lock: string
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** A text constant. */
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** The names in a schema, under a prefix, which must be an identifier itself: it becomes a part of every statement. */
export const names = (schema: string, prefix: string): Either.Either<Names, InvalidOption> => {
  if (!/^[a-z][a-z0-9_]{0,29}$/.test(prefix)) {
    return Either.left(
      new InvalidOption({
        option: "prefix",
        value: prefix,
        expected: "a small letter, then small letters, digits and underscores, 30 at the most"
      })
    )
  }
  if (schema.length === 0 || schema.includes("\u0000") || new TextEncoder().encode(schema).length > 63) {
    return Either.left(new InvalidOption({ option: "schema", value: schema, expected: "a name of 1 to 63 bytes" }))
  }
  const named = (name: string): string => `${quoted(schema)}.${prefix}${name}`
  return Either.right({
    schema,
    prefix,
    queue: named("queue"),
    history: named("history"),
    count: named("count"),
    log: named("log"),
    key: named("key"),
    control: named("control"),
    rate: named("rate"),
    locks: named("lock"),
    consumer: named("consumer"),
    schedule: named("schedule"),
    migrations: named("migrations"),
    enqueue: named("enqueue"),
    settle: named("settle"),
    exchange: named("exchange"),
    look: named("look"),
    start: named("start"),
    extend: named("extend"),
    cancel: named("cancel"),
    edit: named("edit"),
    change: named("change"),
    holders: named("holders"),
    waiting: named("waiting"),
    setControls: named("set_controls"),
    fire: named("fire"),
    acquireLock: named("acquire_lock"),
    record: named("record"),
    get: named("get"),
    remove: named("remove"),
    prune: named("prune"),
    forget: named("forget"),
    dropWeek: named("drop_week"),
    maintain: named("maintain"),
    channel: channelOf(schema, prefix),
    lock: `effect-tasks ${schema}.${prefix}`
  })
}

/** A channel's name has 63 bytes at the most; two schemas that share one only wake each other for nothing. */
const channelOf = (schema: string, prefix: string): string => {
  const ascii = schema.replaceAll(/[^a-z0-9_]/g, "_").slice(0, 24)
  return `${prefix}${ascii}`
}

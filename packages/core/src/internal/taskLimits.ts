import { Duration, Either } from "effect"
import type * as Limit from "../Limit.js"

/** The limits of a task, sorted by who looks after them. */
export interface TaskLimits {
  /** The most runs at one time over all consumers: the one limit that most tasks have, if any. */
  readonly maxConcurrency: number | null
  /** Those that the broker enforces beyond that. */
  readonly encoded: ReadonlyArray<Limit.Encoded>
  /** The keys of a run, in the order in which `encoded` names them. */
  readonly keys: ReadonlyArray<Limit.Key<never>>
  /** The most runs at one time in one consumer. */
  readonly perConsumer: number | null
}

const least = (a: number | null, b: number): number => (a === null ? b : Math.min(a, b))

/** Sorts the limits of a task. */
export const make = (maxConcurrency: number | undefined, limits: ReadonlyArray<Limit.Single<never>>): TaskLimits => {
  let forAll = maxConcurrency ?? null
  let perConsumer: number | null = null
  const encoded: Array<Limit.Encoded> = []
  const keys: Array<Limit.Key<never>> = []
  const place = (key: Limit.Key<never> | undefined): number | null => (key === undefined ? null : keys.push(key) - 1)
  for (const limit of limits) {
    if (limit._tag === "PerConsumer") {
      perConsumer = least(perConsumer, limit.max)
    } else if (limit._tag === "Concurrency" && limit.key === undefined) {
      forAll = least(forAll, limit.max)
    } else {
      encoded.push(encode(limit, place(limit.key)))
    }
  }
  return { maxConcurrency: forAll, encoded, keys, perConsumer }
}

const encode = (limit: Exclude<Limit.Single<never>, Limit.PerConsumer>, key: number | null): Limit.Encoded => {
  switch (limit._tag) {
    case "Concurrency":
      return { _tag: "Concurrency", max: limit.max, key }
    case "TokenBucket":
      return {
        _tag: "TokenBucket",
        limit: limit.limit,
        everyMillis: Math.ceil(millis(limit.every)),
        burst: limit.burst,
        key,
        refuse: limit.onLimit === "refuse"
      }
    case "FixedWindow":
      return {
        _tag: "FixedWindow",
        limit: limit.limit,
        windowMillis: Math.ceil(millis(limit.window)),
        key,
        refuse: limit.onLimit === "refuse"
      }
  }
}

const millis = (duration: Duration.Duration): number => Duration.toMillis(duration)

/** The first number of a limit that is out of its range, with its name. */
export const invalid = (
  limits: ReadonlyArray<Limit.Single<never>>
): { readonly option: string; readonly value: unknown; readonly expected: string } | undefined => {
  const count = (option: string, value: number) =>
    Number.isSafeInteger(value) && value >= 1 ? [] : [{ option, value, expected: "an integer, 1 or more" }]
  const period = (option: string, value: Duration.Duration) =>
    Duration.isFinite(value) && millis(value) >= 1
      ? []
      : [{ option, value: Duration.format(value), expected: "at least 1 millisecond, and finite" }]
  return limits.flatMap((limit) => {
    switch (limit._tag) {
      case "Concurrency":
      case "PerConsumer":
        return count("limit.max", limit.max)
      case "TokenBucket":
        return [
          ...count("limit.limit", limit.limit),
          ...count("limit.burst", limit.burst),
          ...period("limit.every", limit.every)
        ]
      case "FixedWindow":
        return [...count("limit.limit", limit.limit), ...period("limit.window", limit.window)]
    }
  })[0]
}

/** The longest key, in characters. */
const longestKey = 200

/** The keys of a run as a text, or the key that is none. */
export const keysOf = (
  { keys }: TaskLimits,
  payload: unknown
): Either.Either<string | null, { readonly option: string; readonly value: unknown; readonly expected: string }> => {
  if (keys.length === 0) {
    return Either.right(null)
  }
  const values = keys.map((key) => key(payload as never))
  const bad = values.find((value) => !isKey(value))
  return bad === undefined
    ? Either.right(JSON.stringify(values.map(String)))
    : Either.left({
        option: "the key of a limit",
        value: bad,
        expected: `a number or a text of at most ${longestKey} characters`
      })
}

const isKey = (value: unknown): boolean =>
  typeof value === "number" ? Number.isFinite(value) : typeof value === "string" && value.length <= longestKey

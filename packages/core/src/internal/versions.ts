import { Either, Schema } from "effect"

/*
 * The versions of a task's payload: which upcasts a version needs, as a type and at run time, and the way of an older
 * payload through them.
 */

/** Makes the encoded payload of the next version of the encoded payload of one. Documented in `Task`. */
export type Upcast = (payload: unknown) => unknown

/** The upcasts of a task, by the version that they begin with. Documented in `Task`. */
export interface Upcasts {
  readonly [version: number]: Upcast
}

/** What is known of the versions of a task. */
export interface Versioned {
  readonly version: number
  readonly upcasts: Upcasts | undefined
}

/** The numbers from 1 up to a version, which is left out. */
type Below<
  Version extends number,
  Count extends ReadonlyArray<unknown> = [unknown],
  Found = never
> = Count["length"] extends Version ? Found : Below<Version, [...Count, unknown], Found | Count["length"]>

type NoVersion = `-${string}` | `${string}.${string}` | `${string}e${string}` | "0" | "NaN" | "Infinity"

type IsLiteral<Version extends number> = number extends Version ? false : `${Version}` extends NoVersion ? false : true

/** Nothing, or what is wrong with the upcasts of a version: the compiler names it as a property that is missing. */
export type CompleteUpcasts<Version extends number, From> =
  IsLiteral<Version> extends false
    ? { readonly "the version of a task must be a literal integer, 1 or more": Version }
    : [Exclude<Below<Version>, From>] extends [never]
      ? [Exclude<From, Below<Version>>] extends [never]
        ? unknown
        : NoUpcastFrom<`${Exclude<From, Below<Version>> & number}`>
      : MissingUpcastFrom<`${Exclude<Below<Version>, From> & number}`>

type NoUpcastFrom<Version extends string> = {
  readonly [V in Version as `the task has no later version than ${V} to upcast to`]: never
}

type MissingUpcastFrom<Version extends string> = {
  readonly [V in Version as `upcasts lacks the one from version ${V}`]: never
}

const isVersion = (version: number): boolean => Number.isSafeInteger(version) && version >= 1

/** Which upcast is missing, or is one too many; nothing, when they are just those that the version needs. */
export const problemOf = ({ upcasts, version }: Versioned): string | undefined => {
  if ((version === 1 && upcasts === undefined) || !isVersion(version)) {
    return undefined
  }
  const extra = Object.keys(upcasts ?? {}).find((key) => !isVersion(Number(key)) || Number(key) >= version)
  if (extra !== undefined) {
    return `no upcast from version ${extra}, as the task is of version ${version}`
  }
  for (let from = 1; from < version; from++) {
    if (typeof upcasts?.[from] !== "function") {
      return `an upcast from version ${from}`
    }
  }
  return undefined
}

/** The encoded payload as the task's version has it, of one that was encoded by an older version. */
export const raise = (
  { upcasts, version }: Versioned,
  from: number,
  payload: unknown
): Either.Either<unknown, string> => {
  let raised = payload
  for (let at = from; at < version; at++) {
    const upcast = upcasts?.[at]
    if (upcast === undefined) {
      return Either.left(`the payload is of version ${from}, and there is no upcast from version ${at}`)
    }
    try {
      raised = upcast(raised)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      return Either.left(`the upcast from version ${at} to ${at + 1} failed: ${reason}`)
    }
  }
  return Either.right(raised)
}

/** An upcast whose function takes what the schema of the old version decodes. */
export const upcast = <A, I>(schema: Schema.Schema<A, I>, f: (payload: A) => unknown): Upcast => {
  const decode = Schema.decodeUnknownSync(schema)
  return (payload) => f(decode(payload))
}

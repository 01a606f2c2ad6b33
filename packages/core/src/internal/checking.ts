import { Duration, Effect } from "effect"
import { InvalidOption } from "../TaskError.js"

/*
 * Names, numbers and times that a caller gives as options.
 */

export const nameRule = "1 to 200 characters, none of them a control character"

/** Whether a text may name a task, a queue, a group, a tag or a key. */
export const isName = (name: string): boolean => /^[^\p{Cc}]{1,200}$/u.test(name)

export const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least

/** An integer that is not too small. */
export const count = (option: string, value: number, least: number): Effect.Effect<number, InvalidOption> =>
  isCount(value, least)
    ? Effect.succeed(value)
    : new InvalidOption({ option, value, expected: `an integer, ${least} or more` })

/** A time, in milliseconds, that is neither too short nor too long. */
export const millis = (
  option: string,
  value: Duration.DurationInput,
  least: number,
  most = Number.MAX_SAFE_INTEGER
): Effect.Effect<number, InvalidOption> => {
  const millis = Duration.toMillis(value)
  return millis >= least && millis <= most
    ? Effect.succeed(millis)
    : new InvalidOption({ option, value: Duration.format(value), expected: `from ${least} to ${most} milliseconds` })
}

import { Duration, Effect } from "effect"
import { InvalidOption } from "../TaskError.js"

/*
 * Numbers and times that a caller gives as options.
 */

/** An integer that is not too small. */
export const count = (option: string, value: number, least: number): Effect.Effect<number, InvalidOption> =>
  Number.isSafeInteger(value) && value >= least
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

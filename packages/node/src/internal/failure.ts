import { Cause, Chunk, ConfigError, Inspectable, Option, Predicate } from "effect"

/** What a person reads when a program could not start or go on: a line for each typed error, the stack of each defect. */
export const render = (cause: Cause.Cause<unknown>): string => {
  const errors = Chunk.toReadonlyArray(Cause.failures(cause)).map((error) => `error: ${messageOf(error)}`)
  const defects = Option.match(Cause.keepDefects(cause), {
    onNone: () => [],
    onSome: (cause) => [`error: the program died\n${Cause.pretty(cause, { renderErrorCause: true })}`]
  })
  return [...new Set(errors), ...defects].join("\n")
}

const messageOf = (error: unknown): string => oneLine(ConfigError.isConfigError(error) ? ofConfig(error) : of(error))

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ").trim()

const of = (error: unknown): string => {
  if (typeof error === "string") {
    return error
  }
  const name = nameOf(error)
  const message = Predicate.hasProperty(error, "message") ? String(error.message) : ""
  if (message === "") {
    return name ?? Inspectable.toStringUnknown(error, 0)
  }
  return name === undefined ? message : `${name}: ${message}`
}

const nameOf = (error: unknown): string | undefined => {
  const name = Predicate.hasProperty(error, "_tag") ? error._tag : error instanceof Error ? error.name : undefined
  return typeof name === "string" && name !== "Error" ? name : undefined
}

/** The names are joined as those of environment variables are. */
const ofConfig = (error: ConfigError.ConfigError): string => {
  const at = (path: ReadonlyArray<string>, message: string) => `${path.join("_")}: ${message}`
  return ConfigError.reduceWithContext(error, undefined, {
    andCase: (_, left, right) => `${left}; ${right}`,
    orCase: (_, left, right) => `${left}, or ${right}`,
    invalidDataCase: (_, path, message) => at(path, message),
    // it names the value itself, with whatever joins its parts
    missingDataCase: (_, path) => at(path, "is not set"),
    sourceUnavailableCase: (_, path, message) => at(path, message),
    unsupportedCase: (_, path, message) => at(path, message)
  })
}

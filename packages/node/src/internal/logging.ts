import * as TaskLogger from "@effect-tasks/core/TaskLogger"
import { type ConfigError, Effect, Layer, Logger, type LogLevel } from "effect"
import * as settings from "./settings.js"

export interface Options {
  readonly level?: LogLevel.LogLevel | undefined
  readonly format?: settings.LogFormat | undefined
  readonly lifecycle?: boolean | undefined
}

/** The value that was given, else the one of the configuration. */
const choose = <A>(given: A | undefined, { config }: settings.Setting<A>): Effect.Effect<A, ConfigError.ConfigError> =>
  given === undefined ? config : Effect.succeed(given)

/** Writes log lines to the standard output, or, where that is for something else, to the standard error. */
export const layer = (options: Options, to: "stdout" | "stderr" = "stdout") =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const level = yield* choose(options.level, settings.logLevel)
      const format = yield* choose(options.format, settings.logFormat)
      const lifecycle = yield* choose(options.lifecycle, settings.logLifecycle)
      return Layer.mergeAll(
        writer(format, to),
        Logger.minimumLogLevel(level),
        lifecycle ? TaskLogger.layer(TaskLogger.console) : Layer.empty
      )
    })
  )

const writer = (format: settings.LogFormat, to: "stdout" | "stderr"): Layer.Layer<never> => {
  const stream = process[to]
  const isPretty = format === "pretty" || (format === "auto" && stream.isTTY)
  if (isPretty) {
    const colors = stream.isTTY && stream.hasColors()
    return Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ colors, stderr: to === "stderr" }))
  }
  return to === "stdout"
    ? Logger.json
    : Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.jsonLogger))
}

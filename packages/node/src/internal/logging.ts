import * as TaskLogger from "@effect-tasks/core/TaskLogger"
import { type ConfigError, Effect, Layer, Logger, type LogLevel, Option } from "effect"
import * as NodeLogger from "../NodeLogger.js"
import * as settings from "./settings.js"

export interface Options {
  readonly level?: LogLevel.LogLevel | undefined
  readonly format?: settings.LogFormat | undefined
  readonly lifecycle?: boolean | undefined
  readonly file?: NodeLogger.FileOptions | undefined
}

/** The value that was given, else the one of the configuration. */
const choose = <A>(given: A | undefined, { config }: settings.Setting<A>): Effect.Effect<A, ConfigError.ConfigError> =>
  given === undefined ? config : Effect.succeed(given)

/**
 * Writes log lines to the standard output, or, where that is for something else, to the standard error; and those of runs to
 * a file where there is to be one.
 */
export const layer = (options: Options, to: "stdout" | "stderr" = "stdout") =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const level = yield* choose(options.level, settings.logLevel)
      const format = yield* choose(options.format, settings.logFormat)
      const lifecycle = yield* choose(options.lifecycle, settings.logLifecycle)
      const file = options.file === undefined ? yield* configuredFile : Option.some(options.file)
      const observers = lifecycle ? TaskLogger.layer(TaskLogger.console) : Layer.empty
      return Layer.mergeAll(
        writer(format, to),
        Logger.minimumLogLevel(level),
        Option.match(file, {
          onNone: () => observers,
          // what it says of itself is written as the rest is
          onSome: (file) =>
            NodeLogger.layerFile({ lifecycle, minLevel: level, ...file }).pipe(
              Layer.provideMerge(observers),
              Layer.provide(writer(format, to))
            )
        })
      )
    })
  )

/** The file that the configuration names, if it names one. */
const configuredFile: Effect.Effect<Option.Option<NodeLogger.FileOptions>, ConfigError.ConfigError> = Effect.gen(
  function* () {
    const path = yield* settings.logFile.config
    const rest = {
      mode: yield* settings.logFileMode.config,
      maxBytes: yield* settings.logFileMaxBytes.config,
      backups: yield* settings.logFileBackups.config
    }
    return Option.map(path, (path) => ({ ...rest, path }))
  }
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

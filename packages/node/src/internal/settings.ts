import { hostname } from "node:os"
import * as TaskManager from "@effect-tasks/core/TaskManager"
import { Config, ConfigError, Duration, Either, LogLevel } from "effect"
import * as NodeLogger from "../NodeLogger.js"

/** The beginning of every name. */
const prefix = "EFFECT_TASKS"

/** One value of the configuration, as `docs/configuration.md` shows it. */
export interface Setting<out A> {
  readonly name: string
  readonly type: string
  readonly default: string
  readonly meaning: string
  readonly config: Config.Config<A>
}

const define = <A>(
  name: string,
  text: { readonly type: string; readonly default: string; readonly meaning: string },
  config: Config.Config<A>
): Setting<A> => ({
  name: `${prefix}_${name}`,
  ...text,
  config: Config.withDescription(Config.nested(Config.nested(config, name), prefix), text.meaning)
})

const duration = (name: string, otherwise: Duration.DurationInput & string, meaning: string) =>
  define(
    name,
    { type: "duration", default: otherwise, meaning },
    Config.withDefault(Config.duration(), Duration.decode(otherwise))
  )

const count = (name: string, otherwise: number, meaning: string, least = 1) =>
  define(
    name,
    { type: "integer", default: String(otherwise), meaning },
    Config.integer().pipe(
      Config.validate({ message: `Expected an integer, ${least} or more`, validation: (value) => value >= least }),
      Config.withDefault(otherwise)
    )
  )

/** How log lines are written. */
export type LogFormat = "auto" | "pretty" | "json"

export const logLevel = define(
  "LOG_LEVEL",
  {
    type: "`all`, `trace`, `debug`, `info`, `warn`, `error`, `fatal` or `off`",
    default: "info",
    meaning: "log lines below this level are neither written nor kept with their runs"
  },
  Config.withDefault(Config.logLevel(), LogLevel.Info)
)

export const logFormat = define(
  "LOG_FORMAT",
  {
    type: "`auto`, `pretty` or `json`",
    default: "auto",
    meaning: "for people, or one JSON object per line; `auto` is for people on a terminal, else JSON"
  },
  Config.withDefault(Config.literal("auto", "pretty", "json")(), "auto" as LogFormat)
)

export const logLifecycle = define(
  "LOG_LIFECYCLE",
  {
    type: "boolean",
    default: "false",
    meaning: "a line for each end of a run, and at level `debug` for each of its other states"
  },
  Config.withDefault(Config.boolean(), false)
)

export const logFile = define(
  "LOG_FILE",
  { type: "path", default: "none", meaning: "a file to which the lines of runs are written too" },
  Config.option(Config.nonEmptyString())
)

export const logFileMode = define(
  "LOG_FILE_MODE",
  {
    type: "`rotate` or `watched`",
    default: "rotate",
    meaning: "whether the file is rotated by its size, or opened anew when another program has moved it away"
  },
  Config.withDefault(Config.literal("rotate", "watched")(), "rotate" as NodeLogger.FileMode)
)

export const logFileMaxBytes = count(
  "LOG_FILE_MAX_BYTES",
  NodeLogger.defaultMaxBytes,
  "how long the file gets before it is rotated"
)

export const logFileBackups = count("LOG_FILE_BACKUPS", NodeLogger.defaultBackups, "how many rotated files are kept", 0)

export const consumerName = define(
  "CONSUMER_NAME",
  { type: "text", default: "host name and process id", meaning: "the beginning of the consumer's id" },
  Config.withDefault(Config.nonEmptyString(), `${hostname()}-${process.pid}`)
)

export const consumerConcurrency = count(
  "CONSUMER_CONCURRENCY",
  10,
  "how many runs a consumer performs at one time (`maxConcurrentTasks`)"
)

/** A comma at the end, or an empty value, names no queue. */
const queueNames = (names: ReadonlyArray<string>): ReadonlyArray<string> | undefined => {
  const named = names.filter((name) => name !== "")
  return named.length === 0 ? undefined : named
}

export const consumerQueues = define(
  "CONSUMER_QUEUES",
  { type: "names, with commas", default: "those of its tasks", meaning: "the queues that a consumer serves" },
  Config.map(Config.withDefault(Config.array(Config.string()), []), queueNames)
)

export const consumerLease = duration(
  "CONSUMER_LEASE",
  "30 seconds",
  "how long a claim holds without a sign of life; after a crash others take the run over when it has ended"
)

export const consumerGrace = duration(
  "CONSUMER_GRACE",
  "30 seconds",
  "how long running attempts may go on when the consumer stops"
)

export const consumerCleanup = duration(
  "CONSUMER_CLEANUP",
  "5 seconds",
  "how long the finalizers of an interrupted attempt may take before it is left behind"
)

export const consumerPrefetch = define(
  "CONSUMER_PREFETCH",
  { type: "integer", default: "500", meaning: "the most runs that a consumer claims beyond its free places" },
  Config.integer().pipe(
    Config.validate({ message: "Expected an integer, 0 or more", validation: (value) => value >= 0 }),
    Config.withDefault(500)
  )
)

export const consumerTracing = define(
  "CONSUMER_TRACING",
  {
    type: "`parent` or `link`",
    default: "parent",
    meaning: "whether the span of an attempt is in the trace of the span that queued the run, or has a trace of its own"
  },
  Config.withDefault(Config.literal("parent", "link")(), "parent" as "parent" | "link")
)

/** `mail=5,print=1`, as what a consumer takes; an empty text has no limits. */
const queueLimitsOf = (
  entries: ReadonlyArray<string>
): Either.Either<{ readonly [queue: string]: number }, ConfigError.ConfigError> => {
  const limits = entries
    .filter((entry) => entry !== "")
    .map((entry) => /^(?<queue>.+)=(?<most>[1-9]\d*)$/.exec(entry)?.groups)
  return limits.every((groups) => groups !== undefined)
    ? Either.right(Object.fromEntries(limits.map((groups) => [groups?.queue, Number(groups?.most)])))
    : Either.left(ConfigError.InvalidData([], "Expected limits such as mail=5,print=1"))
}

export const consumerQueueLimits = define(
  "CONSUMER_QUEUE_LIMITS",
  {
    type: "`queue=integer`, with commas",
    default: "no limits",
    meaning: "how many runs of a queue may be running at one time, over all consumers"
  },
  Config.withDefault(Config.array(Config.string()), []).pipe(Config.mapOrFail(queueLimitsOf))
)

export const maxPayloadBytes = count(
  "MAX_PAYLOAD_BYTES",
  TaskManager.defaultMaxPayloadBytes,
  "the largest encoded payload that a manager accepts"
)

export const maxLogLines = count(
  "MAX_LOG_LINES",
  TaskManager.defaultMaxLogLines,
  "how many lines of a run's log are kept in the store; say the same to all consumers and managers",
  0
)

/** Every setting, in the order of the documentation. */
export const all: ReadonlyArray<Setting<unknown>> = [
  logLevel,
  logFormat,
  logLifecycle,
  logFile,
  logFileMode,
  logFileMaxBytes,
  logFileBackups,
  consumerName,
  consumerConcurrency,
  consumerQueues,
  consumerLease,
  consumerGrace,
  consumerCleanup,
  consumerPrefetch,
  consumerTracing,
  consumerQueueLimits,
  maxPayloadBytes,
  maxLogLines
]

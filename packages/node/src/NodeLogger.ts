/**
 * Observers that write what runs say, and what becomes of them, to files.
 *
 * A file that cannot be written never affects a run: its lines are lost, that is reported once, and it is tried again with the
 * next lines.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { InvalidOption } from "@effect-tasks/core/TaskError"
import * as TaskLogger from "@effect-tasks/core/TaskLogger"
import { Effect, type Layer, LogLevel, Schema, type Scope } from "effect"
import type { LogFile, Options as LogFileOptions } from "./internal/logFile.js"
import * as logLines from "./internal/logLines.js"
import { RotatingFile } from "./internal/rotatingFile.js"
import { WatchedFile } from "./internal/watchedFile.js"

/**
 * Who rotates a file: it is rotated by its size (`rotate`), or another program such as logrotate moves it away, and it is
 * opened anew (`watched`).
 *
 * @since 0.1.0
 * @category models
 */
export type FileMode = "rotate" | "watched"

/**
 * - `path`: the file; its directory must exist. Each process is to have its own, or a `watched` one
 * - `mode`: Default: `rotate`
 * - `maxBytes`: a file that has become so long is rotated. It may be longer by what is written at one time: a line, or a
 *   hundredth of `maxBytes`. Default: 10 MiB
 * - `backups`: how many files are kept beside it: `path.1` is the newest. Default: 5
 * - `minLevel`: lines and events below it are left out. Default: info
 * - `lifecycle`: a line for each end of a run, and at debug level for each of its other states. Default: true
 * - `format`: for people (`text`), or one JSON object per line (`json`). Default: `text`
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions {
  readonly path: string
  readonly mode?: FileMode | undefined
  readonly maxBytes?: number | undefined
  readonly backups?: number | undefined
  readonly minLevel?: LogLevel.LogLevel | undefined
  readonly lifecycle?: boolean | undefined
  readonly format?: "text" | "json" | undefined
}

/**
 * The default of `maxBytes`: 10 MiB.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxBytes = 10_485_760

/**
 * The default of `backups`.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultBackups = 5

/**
 * A log file cannot be opened.
 *
 * @since 0.1.0
 * @category errors
 */
export class LogFileError extends Schema.TaggedError<LogFileError>("@effect-tasks/node/NodeLogger/LogFileError")(
  "LogFileError",
  { path: Schema.String, cause: Schema.optional(Schema.Defect) }
) {
  override get message(): string {
    const cause = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `the log file ${this.path} cannot be opened${cause}; its directory must exist, and this program must be allowed to write there`
  }
}

/** So many lines may wait to be written; then the observer waits. */
const mostWaiting = 10_000

/** Lines on their way to a file. */
class Writer {
  private waiting: Array<string> = []
  private lost = 0
  private readonly reported = new Set<"write" | "rotate">()
  private readonly filled = Effect.unsafeMakeLatch(false)
  private readonly roomy = Effect.unsafeMakeLatch(true)
  private readonly path: string
  readonly file: LogFile

  constructor(fs: FileSystem.FileSystem, options: LogFileOptions) {
    this.path = options.path
    this.file =
      options.mode === "watched"
        ? new WatchedFile(fs, options.path)
        : new RotatingFile(fs, options, (error) => this.report("rotate", `cannot be rotated: ${error.message}`))
  }

  push(line: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.waiting.push(line)
      this.filled.unsafeOpen()
      if (this.waiting.length >= mostWaiting) {
        this.roomy.unsafeClose()
      }
      return this.roomy.await
    })
  }

  /** Writes what waits. */
  readonly flush: Effect.Effect<void> = Effect.suspend(() => {
    const lines = this.waiting
    this.waiting = []
    this.filled.unsafeClose()
    this.roomy.unsafeOpen()
    return lines.length === 0
      ? Effect.void
      : Effect.matchEffect(this.file.write(lines), {
          onFailure: (error) => {
            this.lost += lines.length
            return this.report("write", `cannot be written, its lines are lost: ${error.message}`)
          },
          onSuccess: () => this.recover
        })
  }).pipe(Effect.uninterruptible)

  readonly run: Effect.Effect<never> = Effect.forever(Effect.zipRight(this.filled.await, this.flush))

  private report(of: "write" | "rotate", what: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const isKnown = this.reported.has(of)
      this.reported.add(of)
      return isKnown ? Effect.void : Effect.logWarning(`the log file ${this.path} ${what}`)
    })
  }

  private get recover(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { lost } = this
      this.lost = 0
      return this.reported.delete("write")
        ? Effect.logInfo(`the log file ${this.path} can be written again; ${lost} lines were lost`)
        : Effect.void
    })
  }
}

const check = (options: FileOptions) => {
  const { backups = defaultBackups, maxBytes = defaultMaxBytes, mode = "rotate", path } = options
  const invalid = (option: string, value: unknown, expected: string) => new InvalidOption({ option, value, expected })
  if (path === "") {
    return invalid("path", path, "the name of a file")
  }
  if (mode !== "rotate" && mode !== "watched") {
    return invalid("mode", mode, "rotate or watched")
  }
  if (!(Number.isSafeInteger(maxBytes) && maxBytes >= 1)) {
    return invalid("maxBytes", maxBytes, "an integer, 1 or more")
  }
  if (!(Number.isSafeInteger(backups) && backups >= 0 && backups <= 1_000)) {
    return invalid("backups", backups, "an integer from 0 to 1,000")
  }
  return Effect.succeed({ backups, maxBytes, mode, path })
}

/**
 * An observer that writes to a file, for as long as the Scope is open. What it was shown by then is on the disk before the
 * Scope has closed.
 *
 * A line of text is `[time] LEVEL [end of the run's id] [task] message name=value …`; what follows a line break is set in.
 *
 * @since 0.1.0
 * @category observers
 */
export const file = (
  options: FileOptions
): Effect.Effect<TaskLogger.Observer, LogFileError | InvalidOption, Scope.Scope> =>
  Effect.gen(function* () {
    const { format = "text", lifecycle, minLevel = LogLevel.Info } = options
    const checked = yield* check(options)
    const writer = new Writer(yield* FileSystem.FileSystem, checked)
    yield* Effect.acquireRelease(
      Effect.mapError(writer.file.open, (cause) => new LogFileError({ path: checked.path, cause })),
      () => Effect.zipRight(writer.flush, writer.file.close)
    )
    // it is interrupted first, and leaves nothing half written
    yield* Effect.forkScoped(writer.run)
    return {
      name: `file ${checked.path}`,
      minLevel,
      lifecycle,
      onEvent: (event) => {
        const entry = logLines.ofEvent(event, minLevel)
        return entry === undefined ? Effect.void : writer.push(logLines.format(entry, format))
      },
      onLine: (line, task) => writer.push(logLines.format(logLines.ofLine(line, task), format))
    } satisfies TaskLogger.Observer
  }).pipe(Effect.provide(NodeFileSystem.layer))

/**
 * Adds such an observer to those of the Layers below.
 *
 * @example
 * ```ts
 * import { Backend, TaskManager } from "@effect-tasks/core"
 * import { NodeLogger } from "@effect-tasks/node"
 * import { Layer, LogLevel } from "effect"
 *
 * const Main = TaskManager.layer.pipe(
 *   Layer.provide(NodeLogger.layerFile({ path: "tasks.log", backups: 10 })),
 *   Layer.provide(NodeLogger.layerFile({ path: "errors.json", minLevel: LogLevel.Error, format: "json" })),
 *   Layer.provide(Backend.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFile = (options: FileOptions): Layer.Layer<never, LogFileError | InvalidOption> =>
  TaskLogger.layerScoped(file(options))

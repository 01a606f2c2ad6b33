import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import { Effect, Exit, Option, Scope } from "effect"

/*
 * A file that lines are added to, in one of two ways: rotated by itself when it is full, or watched for another program that
 * rotates it. One at a time may write.
 */

export interface Options {
  readonly path: string
  readonly mode: "rotate" | "watched"
  readonly maxBytes: number
  readonly backups: number
}

interface Open {
  readonly file: FileSystem.File
  readonly scope: Scope.CloseableScope
  /** Which file the path led to when it was opened. */
  readonly identity: string
  size: number
}

const identityOf = ({ dev, ino }: FileSystem.File.Info): string => `${dev}:${Option.getOrElse(ino, () => 0)}`

const encoder = new TextEncoder()

export class LogFile {
  private current: Open | null = null
  /** Whether the latest write has failed, perhaps amid a line. */
  private isTorn = false
  private readonly fs: FileSystem.FileSystem
  private readonly options: Options
  private readonly onRotationFailed: (error: PlatformError) => Effect.Effect<void>

  constructor(
    fs: FileSystem.FileSystem,
    options: Options,
    onRotationFailed: (error: PlatformError) => Effect.Effect<void>
  ) {
    this.fs = fs
    this.options = options
    this.onRotationFailed = onRotationFailed
  }

  /** The file, opened anew unless it is open. */
  get open(): Effect.Effect<Open, PlatformError> {
    return Effect.suspend(() => (this.current === null ? this.openAnew : Effect.succeed(this.current)))
  }

  private get openAnew(): Effect.Effect<Open, PlatformError> {
    return Effect.uninterruptible(
      Effect.flatMap(Scope.make(), (scope) =>
        this.fs.open(this.options.path, { flag: "a" }).pipe(
          Scope.extend(scope),
          Effect.flatMap((file) =>
            Effect.map(file.stat, (info) => {
              const size = info.type === "File" ? Number(info.size) : 0
              this.current = { file, scope, identity: identityOf(info), size }
              return this.current
            })
          ),
          Effect.onError(() => Scope.close(scope, Exit.void))
        )
      )
    )
  }

  /** Lets the file go; what was written is on the disk first, where it can be. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { current } = this
      this.current = null
      return current === null
        ? Effect.void
        : Effect.zipRight(Effect.ignore(current.file.sync), Scope.close(current.scope, Exit.void))
    })
  }

  /** Adds lines, each with its end. */
  write(lines: ReadonlyArray<string>): Effect.Effect<void, PlatformError> {
    const added = this.options.mode === "rotate" ? this.addRotating(lines) : this.addWatching(lines)
    return Effect.uninterruptible(
      Effect.onError(added, () => {
        this.isTorn = true
        return this.close
      })
    )
  }

  private addWatching(lines: ReadonlyArray<string>): Effect.Effect<void, PlatformError> {
    return this.fs.stat(this.options.path).pipe(
      Effect.map((info): string | null => identityOf(info)),
      // it was moved away
      Effect.catchIf(isNotFound, () => Effect.succeed(null)),
      Effect.flatMap((identity) => (this.current?.identity === identity ? Effect.void : this.close)),
      Effect.zipRight(this.add(lines.map((line) => encoder.encode(line))))
    )
  }

  /** No file gets longer than it may, unless one line alone is. */
  private addRotating(lines: ReadonlyArray<string>): Effect.Effect<void, PlatformError> {
    return Effect.gen(this, function* () {
      const { maxBytes } = this.options
      let { size } = yield* this.open
      let mayRotate = true
      let fitting: Array<Uint8Array> = []
      for (const line of lines) {
        const bytes = encoder.encode(line)
        if (mayRotate && size > 0 && size + bytes.length > maxBytes) {
          yield* this.add(fitting)
          fitting = []
          // one that fails is tried again with the next lines
          mayRotate = yield* this.rotate
          size = (yield* this.open).size
        }
        fitting.push(bytes)
        size += bytes.length
      }
      yield* this.add(fitting)
    })
  }

  private add(lines: ReadonlyArray<Uint8Array>): Effect.Effect<void, PlatformError> {
    return Effect.flatMap(this.open, (open) => {
      if (lines.length === 0) {
        return Effect.void
      }
      const bytes = Buffer.concat(this.isTorn && open.size > 0 ? [encoder.encode("\n"), ...lines] : lines)
      return Effect.map(open.file.writeAll(bytes), () => {
        open.size += bytes.length
        this.isTorn = false
      })
    })
  }

  /** Each backup moves one place on, and the file becomes the first. Where that fails, the file goes on as it is. */
  private get rotate(): Effect.Effect<boolean> {
    const { backups, path } = this.options
    const places = Array.from({ length: backups }, (_, i) => backups - i)
    const move = Effect.forEach(
      places,
      (place) => this.rename(place === 1 ? path : `${path}.${place - 1}`, `${path}.${place}`),
      { discard: true }
    )
    return Effect.zipRight(
      this.close,
      Effect.matchEffect(backups === 0 ? this.fs.remove(path) : move, {
        onFailure: (error) => Effect.as(this.onRotationFailed(error), false),
        onSuccess: () => Effect.succeed(true)
      })
    )
  }

  private rename(from: string, to: string): Effect.Effect<void, PlatformError> {
    return Effect.catchIf(this.fs.rename(from, to), isNotFound, () => Effect.void)
  }
}

const isNotFound = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

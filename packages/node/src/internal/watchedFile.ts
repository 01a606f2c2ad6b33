import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import { Effect, Exit, Option, Scope } from "effect"
import type { LogFile } from "./logFile.js"

/*
 * A file that another program moves away: it is opened anew when its path leads to another file, or to none.
 */

interface Open {
  readonly file: FileSystem.File
  readonly scope: Scope.CloseableScope
  /** Which file the path led to when it was opened. */
  readonly identity: string
  readonly isEmpty: boolean
}

const identityOf = ({ dev, ino }: FileSystem.File.Info): string => `${dev}:${Option.getOrElse(ino, () => 0)}`

const encoder = new TextEncoder()

export class WatchedFile implements LogFile {
  private current: Open | null = null
  /** Whether the latest write has failed, perhaps amid a line. */
  private isTorn = false
  private readonly fs: FileSystem.FileSystem
  private readonly path: string

  constructor(fs: FileSystem.FileSystem, path: string) {
    this.fs = fs
    this.path = path
  }

  get open(): Effect.Effect<Open, PlatformError> {
    return Effect.suspend(() => (this.current === null ? this.openAnew : Effect.succeed(this.current)))
  }

  private get openAnew(): Effect.Effect<Open, PlatformError> {
    return Effect.uninterruptible(
      Effect.flatMap(Scope.make(), (scope) =>
        this.fs.open(this.path, { flag: "a" }).pipe(
          Scope.extend(scope),
          Effect.flatMap((file) =>
            Effect.map(file.stat, (info) => {
              const isEmpty = info.type !== "File" || Number(info.size) === 0
              this.current = { file, scope, identity: identityOf(info), isEmpty }
              return this.current
            })
          ),
          Effect.onError(() => Scope.close(scope, Exit.void))
        )
      )
    )
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { current } = this
      this.current = null
      return current === null
        ? Effect.void
        : Effect.zipRight(Effect.ignore(current.file.sync), Scope.close(current.scope, Exit.void))
    })
  }

  write(lines: ReadonlyArray<string>): Effect.Effect<void, PlatformError> {
    return this.fs.stat(this.path).pipe(
      Effect.map((info): string | null => identityOf(info)),
      // it was moved away
      Effect.catchIf(isNotFound, () => Effect.succeed(null)),
      Effect.flatMap((identity) => (this.current?.identity === identity ? Effect.void : this.close)),
      Effect.zipRight(this.add(lines.join(""))),
      Effect.onError(() => {
        this.isTorn = true
        return this.close
      }),
      Effect.uninterruptible
    )
  }

  private add(text: string): Effect.Effect<void, PlatformError> {
    return Effect.flatMap(this.open, ({ file, isEmpty }) =>
      Effect.map(file.writeAll(encoder.encode(this.isTorn && !isEmpty ? `\n${text}` : text)), () => {
        this.isTorn = false
      })
    )
  }
}

const isNotFound = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

import { unlinkSync } from "node:fs"
import { dirname } from "node:path"
import type * as FileSystem from "@effect/platform/FileSystem"
import { Effect } from "effect"
import { createStream, type RotatingFileStream } from "rotating-file-stream"
import type { Failure, LogFile, Options } from "./logFile.js"

/*
 * A file that `rotating-file-stream` rotates by its size. A stream of it ends with its first error, so there is a new one with
 * the next lines; and where it is the rotation that fails, one that does not rotate.
 */

/** So much of a file's length at the most is written at one time, unless one line is longer. */
const share = 100

class Stream {
  /** Whether the file is being rotated; after an error, whether the rotation has failed. */
  isInRotation = false
  rotations = 0
  readonly isRotating: boolean
  private readonly stream: RotatingFileStream

  constructor({ backups, maxBytes, path }: Options, isRotating: boolean) {
    this.isRotating = isRotating
    const nameOf = (place: unknown) => (typeof place === "number" ? `${path}.${backups === 0 ? "old" : place}` : path)
    this.stream = createStream(nameOf, isRotating ? { rotate: Math.max(1, backups), size: `${maxBytes}B` } : {})
    this.stream.on("rotation", () => {
      this.isInRotation = true
    })
    this.stream.on("rotated", (name) => {
      this.rotations++
      if (backups === 0) {
        unlinkSync(name)
      }
    })
    this.stream.on("open", () => {
      this.isInRotation = false
    })
    // whoever waits is told of it
    this.stream.on("error", () => {})
  }

  get opened(): Effect.Effect<void, Failure> {
    return Effect.async((resume) => {
      this.stream.once("open", () => resume(Effect.void))
      this.stream.once("error", (error) => resume(Effect.fail(error)))
    })
  }

  write(text: string): Effect.Effect<void, Failure> {
    return Effect.async((resume) => {
      this.stream.write(text, (error) => resume(error ? Effect.fail(error) : Effect.void))
    })
  }

  get close(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.stream.closed) {
        return resume(Effect.void)
      }
      this.stream.once("close", () => resume(Effect.void))
      if (!this.stream.destroyed) {
        this.stream.end()
      }
    })
  }
}

export class RotatingFile implements LogFile {
  private current: Stream | null = null
  /** Whether the latest write has failed, perhaps amid a line. */
  private isTorn = false
  /** How many of the backups are not known to be on the disk. */
  private unsynced = 0
  private readonly fs: FileSystem.FileSystem
  private readonly options: Options
  private readonly onRotationFailed: (error: Failure) => Effect.Effect<void>

  constructor(fs: FileSystem.FileSystem, options: Options, onRotationFailed: (error: Failure) => Effect.Effect<void>) {
    this.fs = fs
    this.options = options
    this.onRotationFailed = onRotationFailed
  }

  get open(): Effect.Effect<Stream, Failure> {
    return Effect.suspend(() => (this.current === null ? this.openAnew(true) : Effect.succeed(this.current)))
  }

  private openAnew(isRotating: boolean): Effect.Effect<Stream, Failure> {
    const open = Effect.suspend(() => {
      const stream = new Stream(this.options, isRotating)
      return Effect.matchEffect(stream.opened, {
        // one that was full already
        onFailure: (error) => this.insteadOf(stream, error),
        onSuccess: () => {
          this.current = stream
          return Effect.succeed(stream)
        }
      })
    })
    // a directory that is missing would be made
    return Effect.uninterruptible(Effect.zipRight(this.fs.access(dirname(this.options.path)), open))
  }

  /** Goes on with the file as it is, where it is the rotation that has failed. */
  private insteadOf(stream: Stream, error: Failure): Effect.Effect<Stream, Failure> {
    return Effect.zipRight(
      this.letGo(stream),
      stream.isInRotation ? Effect.zipRight(this.onRotationFailed(error), this.openAnew(false)) : Effect.fail(error)
    )
  }

  private letGo(stream: Stream): Effect.Effect<void> {
    return Effect.map(stream.close, () => {
      this.current = null
      this.unsynced = Math.min(this.unsynced + stream.rotations, this.options.backups)
    })
  }

  get close(): Effect.Effect<void> {
    return Effect.zipRight(
      Effect.suspend(() => (this.current === null ? Effect.void : this.letGo(this.current))),
      Effect.suspend(() => {
        const { path } = this.options
        const names = [path, ...Array.from({ length: this.unsynced }, (_, i) => `${path}.${i + 1}`)]
        this.unsynced = 0
        return Effect.forEach(names, (name) => this.sync(name), { discard: true })
      })
    )
  }

  private sync(name: string): Effect.Effect<void> {
    return Effect.ignore(Effect.scoped(Effect.flatMap(this.fs.open(name, { flag: "r+" }), (file) => file.sync)))
  }

  write(lines: ReadonlyArray<string>): Effect.Effect<void, Failure> {
    return Effect.gen(this, function* () {
      if (this.current?.isRotating === false) {
        // a rotation that has failed is tried again
        yield* this.letGo(this.current)
      }
      let stream = yield* this.open
      if (this.isTorn) {
        yield* stream.write((yield* this.fs.stat(this.options.path)).size > 0 ? "\n" : "")
        this.isTorn = false
      }
      for (const text of joined(lines, this.options.maxBytes / share)) {
        stream = yield* Effect.matchEffect(stream.write(text), {
          // what precedes a rotation was written
          onFailure: (error) => this.insteadOf(stream, error),
          onSuccess: () => Effect.succeed(stream)
        })
      }
    }).pipe(
      Effect.onError(() => {
        this.isTorn = true
        return this.current === null ? Effect.void : this.letGo(this.current)
      }),
      Effect.uninterruptible
    )
  }
}

/** Lines put together, no text longer than this, unless one line alone is. */
const joined = (lines: ReadonlyArray<string>, most: number): ReadonlyArray<string> => {
  const texts: Array<string> = []
  let bytes = Number.POSITIVE_INFINITY
  for (const line of lines) {
    const length = Buffer.byteLength(line)
    bytes += length
    if (bytes > most) {
      texts.push(line)
      bytes = length
    } else {
      texts[texts.length - 1] += line
    }
  }
  return texts
}

/** Which files the demo works on. */
import { fileURLToPath } from "node:url"
import { FileSystem, Path } from "@effect/platform"
import { Effect, Option, Schema } from "effect"
import type { SourceFile } from "./tasks.js"

export class BadPath extends Schema.TaggedError<BadPath>()("BadPath", { path: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `${this.path} ${this.reason}; give a folder with files, or nothing for the files of this repository`
  }
}

/** The files, and where they are from, for people. */
export interface Found {
  readonly files: ReadonlyArray<SourceFile>
  readonly origin: string
}

const skipped: ReadonlySet<string> = new Set(["node_modules", ".git", "build", "dist", "coverage", ".tmp"])

/** More files would make the demo long, and larger ones slow. */
const mostFiles = 1_000
const mostBytes = 4 * 1024 * 1024

/** A demo of fewer files would be over too soon. */
const enoughFiles = 300

/** The files below a folder, in the order of their names; links are not followed, what cannot be read is left out. */
const below = Effect.fnUntraced(function* (root: string, limit: number) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const files: Array<string> = []

  const visit = (folder: string): Effect.Effect<void> =>
    fs.readDirectory(folder).pipe(
      Effect.flatMap((names) => Effect.forEach(names.sort(), (name) => look(folder, name), { discard: true })),
      Effect.ignore
    )
  const look = Effect.fnUntraced(function* (folder: string, name: string) {
    const file = path.join(folder, name)
    if (files.length >= limit || skipped.has(name) || Option.isSome(yield* Effect.option(fs.readLink(file)))) {
      return
    }
    const info = yield* Effect.option(fs.stat(file))
    if (Option.isSome(info) && info.value.type === "Directory") {
      yield* visit(file)
    } else if (Option.isSome(info) && info.value.type === "File" && info.value.size <= mostBytes) {
      files.push(file)
    }
  })

  yield* visit(root)
  return files.map((file): SourceFile => ({ name: path.relative(root, file), path: file }))
})

/** The files of a folder that somebody named. */
const ofFolder = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const info = yield* Effect.mapError(
    fs.stat(folder),
    ({ message }) => new BadPath({ path: folder, reason: /ENOENT/.test(message) ? "does not exist" : "cannot be read" })
  )
  if (info.type !== "Directory") {
    return yield* new BadPath({ path: folder, reason: "is not a folder" })
  }
  const files = yield* below(path.resolve(folder), mostFiles)
  if (files.length === 0) {
    return yield* new BadPath({ path: folder, reason: "has no files" })
  }
  const origin = files.length < mostFiles ? `below ${folder}` : `the first ${mostFiles} below ${folder}`
  return { files, origin }
})

/** The files of this repository, and those of Effect's sources when they are too few for a demo. */
const ofRepository = Effect.gen(function* () {
  const path = yield* Path.Path
  const own = yield* below(fileURLToPath(new URL("../..", import.meta.url)), mostFiles)
  if (own.length >= enoughFiles) {
    return { files: own, origin: "those of this repository" }
  }
  const effect = path.join(path.dirname(fileURLToPath(import.meta.resolve("effect/package.json"))), "src")
  const others = yield* below(effect, mostFiles)
  return {
    files: [...own, ...others.map((file) => ({ ...file, name: path.join("effect", "src", file.name) }))],
    origin: `${own.length} of this repository and, because these are few, ${others.length} of Effect's sources`
  }
})

export const find = (folder: string | undefined): Effect.Effect<Found, BadPath, FileSystem.FileSystem | Path.Path> =>
  folder === undefined ? ofRepository : ofFolder(folder)

/** How it is done: a handler for each task. The services that they need stand in the Layers' requirements. */
import { createHash } from "node:crypto"
import { gzip } from "node:zlib"
import { FileSystem } from "@effect/platform"
import { CurrentRun } from "@effect-tasks/core"
import { Effect } from "effect"
import { Client } from "./client.js"
import { CannotRead, GzipFile, HashFile, type SourceFile } from "./tasks.js"

const read = Effect.fn("read")(function* ({ path }: SourceFile) {
  const fs = yield* FileSystem.FileSystem
  return yield* Effect.mapError(fs.readFile(path), (error) => new CannotRead({ path, reason: error.message }))
})

/** The size after compression, in a thread of Node.js. */
const gzippedSize = (content: Uint8Array) =>
  Effect.async<number>((resume) =>
    gzip(content, (error, compressed) => resume(error ? Effect.die(error) : Effect.succeed(compressed.length)))
  )

export const HashFileLive = HashFile.toLayer(
  Effect.fn("HashFile")(function* (file) {
    const client = yield* Client
    const run = yield* CurrentRun.CurrentRun
    const content = yield* read(file)
    const result = { bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") }

    // The key makes it one child, however often this run is tried again or taken over.
    yield* GzipFile.queue(file, { idempotencyKey: { key: run.id, hold: "forever" } })

    const answer = yield* client.report({ runId: run.id, file: file.name, ...result })
    if (answer._tag === "TooManyRequests") {
      yield* Effect.annotateLogs(Effect.logWarning("the service asks for a rest"), { retryAfter: answer.retryAfter })
      return yield* CurrentRun.rateLimited(answer.retryAfter)
    }
    return result
  })
)

export const GzipFileLive = GzipFile.toLayer(
  Effect.fn("GzipFile")(function* (file) {
    const content = yield* read(file)
    return { bytes: content.length, gzipped: yield* gzippedSize(content) }
  })
)

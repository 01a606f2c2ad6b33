import type { Backend } from "../protocol.js"
import type { Subject } from "./subject.js"

export const ours = "effect-tasks"

/**
 * The subjects of each backend, by the name under which they are reported; a peer's is that of its npm package. A process
 * loads only the one that it measures.
 *
 * Each peer is in the newest version whose `engines` allow Node.js 20.
 */
export const subjects: { readonly [B in Backend]: { readonly [name: string]: () => Promise<Subject> } } = {
  memory: {
    "p-queue": async () => (await import("./pQueue.js")).make(),
    fastq: async () => (await import("./fastq.js")).make(),
    "@effect/experimental": async () => (await import("./persistedQueue.js")).makeMemory()
  },
  sqlite: {
    raw: async () => (await import("./rawSqlite.js")).make(),
    plainjob: async () => (await import("./plainjob.js")).make(),
    "@effect/sql": async () => (await import("./sqlPersistedQueue.js")).makeSqlite()
  },
  pg: {
    raw: async () => (await import("./rawPg.js")).make(),
    "graphile-worker": async () => (await import("./graphileWorker.js")).make(),
    "pg-boss": async () => (await import("./pgBoss.js")).make(),
    bullmq: async () => (await import("./bullmq.js")).make(),
    "@effect/sql": async () => (await import("./sqlPersistedQueue.js")).makePg()
  }
}

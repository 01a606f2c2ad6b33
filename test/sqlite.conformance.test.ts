import fs from "node:fs/promises"
import os from "node:os"
import path from "node:path"
import { SqliteBackend } from "@effect-tasks/sql"
import { Effect, Layer } from "effect"
import { brokerConformance, conformance } from "./conformance/index.js"
import { transactional } from "./conformance/transactions.js"

const directory = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "effect-tasks-"))),
  (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
)

const inFile = Effect.map(directory, (directory) => SqliteBackend.layer({ filename: path.join(directory, "tasks.db") }))

// Each process of a test has a connection of its own to the file.
conformance("SQLite, in a file", {
  storage: inFile
})

transactional("SQLite, in transactions", { storage: inFile })

// Nobody else can open a database in memory, so the processes of a test share the one connection. What is above the backend is
// the same as with a file.
brokerConformance("SQLite, in memory", {
  storage: Effect.map(Layer.build(SqliteBackend.layer({ filename: ":memory:" })), Layer.succeedContext)
})

import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Backend, PayloadCipher } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Effect, Layer } from "effect"
import { recordConformance } from "./conformance/index.js"
import { transactional } from "./conformance/transactions.js"

/** A cipher with a key of its own. */
const cipher = Effect.map(PayloadCipher.generateKey, (key) =>
  PayloadCipher.layer({ keys: [{ id: "A", key }], logs: true })
)

// The processes of a test share the one memory.
recordConformance("memory, encrypted", {
  storage: Effect.flatMap(cipher, (cipher) =>
    Effect.map(Layer.build(Backend.layerMemory), (backend) => Layer.provide(cipher, Layer.succeedContext(backend)))
  )
})

const inFile = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return SqliteBackend.layer({ filename: path.join(yield* fs.makeTempDirectoryScoped(), "tasks.db") })
}).pipe(Effect.provide(NodeContext.layer))

transactional("SQLite, encrypted, in transactions", {
  storage: Effect.zipWith(cipher, inFile, (cipher, backend) => Layer.provideMerge(cipher, backend))
})

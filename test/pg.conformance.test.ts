import { afterAll, describe } from "@effect/vitest"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { Effect } from "effect"
import { conformance } from "./conformance/index.js"
import { transactional } from "./conformance/transactions.js"
import { dropSchemas, emptySchema, isSkipped, keepAll, url } from "./postgres/database.js"

describe.skipIf(isSkipped)("with a server", () => {
  afterAll(() => Effect.runPromise(dropSchemas))

  // Each process of a test has connections of its own.
  const storage = Effect.map(emptySchema, (schema) =>
    PgBackend.layer({ url, schema, serverClock: false, maxConnections: 3, retention: keepAll })
  )

  conformance("PostgreSQL", { storage })

  transactional("PostgreSQL, in transactions", { storage })
})

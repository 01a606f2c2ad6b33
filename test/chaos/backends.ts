import { SqliteBackend } from "@effect-tasks/sql"
import * as PgBackend from "@effect-tasks/sql/PgBackend"
import { isLong } from "./form.js"
import type { BackendOrders } from "./orders.js"

/** In the bounded form shorter than what an application would say, so that a fault and what follows from it fit in. */
const postgres = isLong ? {} : ({ operationTimeout: "3 seconds", connectTimeout: "3 seconds" } as const)

/** The schema's name is that of the connections too, so that a fault can find those that it is meant for. */
export const backendOf = (backend: BackendOrders) =>
  backend._tag === "Sqlite"
    ? SqliteBackend.layer({ filename: backend.filename })
    : PgBackend.layer({ ...postgres, url: backend.url, schema: backend.schema, applicationName: backend.schema })

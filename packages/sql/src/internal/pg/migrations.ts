import { makeFunctions } from "./functions.js"
import { literal, type Names } from "./names.js"
import { makeTables } from "./tables.js"

/** One step of the schema: what is printed is what is applied. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
}

const steps: ReadonlyArray<readonly [name: string, make: (t: Names) => string]> = [
  [
    "tables",
    (t) => `CREATE TABLE ${t.migrations} (
  version int NOT NULL PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);

${makeTables(t)}

${makeFunctions(t)}`
  ]
]

/** All versions, in order. A released one never changes. */
export const migrations = (t: Names): ReadonlyArray<Migration> =>
  steps.map(([name, make], i) => ({
    version: i + 1,
    name,
    sql: `${make(t)}\n\nINSERT INTO ${t.migrations} (version, name) VALUES (${i + 1}, ${literal(name)});\n`
  }))

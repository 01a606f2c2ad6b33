/** What the workers and the service say to each other. */
import { Schema } from "effect"

/** The body of `PUT /results`. The run's id makes a report recognisable when it is sent twice. */
export const Report = Schema.Struct({
  runId: Schema.String,
  file: Schema.String,
  bytes: Schema.Number,
  sha256: Schema.String
})

export type Report = typeof Report.Type

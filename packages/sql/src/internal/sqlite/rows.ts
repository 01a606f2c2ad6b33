import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { queueColumnNames, queueValues, runColumnNames, runColumns, runValues } from "../rows.js"
import * as Insert from "./insert.js"

/** A run that is there already is left as it is: the call that added it is repeated after its answer was lost. */
export const insertQueue = (table: string): Insert.Insert<TaskRun.Encoded> =>
  Insert.make({
    into: table,
    columns: queueColumnNames.join(", "),
    values: queueValues,
    onConflict: "ON CONFLICT (id) DO NOTHING"
  })

const replaced = runColumnNames
  .slice(1)
  .map((column) => `${column} = excluded.${column}`)
  .join(", ")

/** The record with the higher fence stands; of two with the same fence, the later. */
export const insertHistory = (table: string): Insert.Insert<TaskRun.Encoded> =>
  Insert.make({
    into: table,
    columns: runColumns,
    values: runValues,
    onConflict: `ON CONFLICT (id) DO UPDATE SET ${replaced} WHERE excluded.fence >= ${table}.fence`
  })

/** The guide to observability, held against the code. */
import fs from "node:fs"
import path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { TaskMetrics } from "@effect-tasks/core"

const guide = fs.readFileSync(path.resolve(import.meta.dirname, "../docs/observability.md"), "utf8")

/** The rows of the guide that begin with a metric. */
const rows = guide.split("\n").filter((line) => line.startsWith("| `effect_tasks_"))

describe("docs/observability.md", () => {
  it("lists all metrics, with their kinds and labels, and no other", () => {
    assert.deepStrictEqual(
      rows,
      TaskMetrics.all.map(({ description, kind, labels, name }) => {
        const shown = labels.map((label) => `\`${label}\``).join(", ")
        return `| \`${name}\` | ${kind} | ${shown} | ${description} |`
      })
    )
  })

  it("names metrics as Prometheus wants them: the unit at the end, totals for counters only", () => {
    for (const { kind, name } of TaskMetrics.all) {
      assert.match(name, /^effect_tasks_[a-z_]+$/)
      assert.strictEqual(name.endsWith("_total"), kind === "counter", name)
    }
  })
})

/** The floor plan of the project, held: which package may import what, and in which order core's modules build on each other. */

import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { cruise, type ICruiseResult, type IForbiddenRuleType } from "dependency-cruiser"
import ts from "typescript"

const root = path.resolve(import.meta.dirname, "..")

/** What each package may import, besides itself. `node:` stands for the built-in modules of Node.js. */
const allowedImports: Record<string, ReadonlyArray<string>> = {
  core: ["effect", "@effect/platform"],
  sql: [
    "effect",
    "@effect/platform",
    "@effect/experimental",
    "@effect/sql",
    "@effect/sql-sqlite-node",
    "@effect/sql-pg",
    "@effect-tasks/core",
    "node:"
  ],
  redis: ["effect", "@effect/platform", "ioredis", "@effect-tasks/core", "node:"],
  workflow: ["effect", "@effect/platform", "@effect/workflow", "@effect-tasks/core"],
  node: [
    "effect",
    "@effect/platform",
    "@effect/platform-node",
    "@effect/cli",
    "rotating-file-stream",
    "@effect-tasks/core",
    "node:"
  ]
}

/** The reading order of core's public modules: each imports only modules that stand above it. */
const readingOrder = [
  "TaskError",
  "ScheduleError",
  "LockError",
  "SubscriptionError",
  "TaskState",
  "TaskPriority",
  "RetryPolicy",
  "Limit",
  "TaskSchedule",
  "TaskEvent",
  "TaskRun",
  "Store",
  "Operating",
  "Scheduling",
  "Locking",
  "Broker",
  "RunRecord",
  "Admission",
  "Backend",
  "PayloadCipher",
  "TaskMetrics",
  "TaskLogger",
  "TaskTransaction",
  "Batcher",
  "CurrentRun",
  "Task",
  "TaskGroup",
  "TaskExecutor",
  "TaskEvents",
  "TaskManager",
  "TaskLock",
  "BackgroundTasks",
  "TaskConsumer",
  "TaskScheduler",
  "TaskSource",
  "Subscription",
  "TaskTest"
]

/** Ways to reach the outside world that core must take from Effect's services instead. */
const ambientAccess = /\bprocess(\.\w|\?\.|\[)|\bDate\.now\b|\bMath\.random\b|\bnew Date\(/

const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")

const importRule = ([name, imports]: [string, ReadonlyArray<string>]): IForbiddenRuleType => ({
  name: `imports of ${name}`,
  severity: "error",
  from: { path: `^packages/${name}/src/` },
  to: {
    pathNot: [
      `^packages/${name}/src/`,
      ...imports.map((imported) =>
        imported.startsWith("@effect-tasks/")
          ? `^packages/${imported.slice("@effect-tasks/".length)}/src/`
          : `(^|/)node_modules/${escape(imported)}/(?!.*/node_modules/)`
      )
    ],
    ...(imports.includes("node:") ? { dependencyTypesNot: ["core"] } : {})
  }
})

const orderRule = (module: string, index: number): IForbiddenRuleType => ({
  name: "reading order",
  severity: "error",
  from: { path: `^packages/core/src/${module}\\.ts$` },
  to: {
    path: "^packages/core/src/[^/]+$",
    pathNot: `^packages/core/src/(${readingOrder.slice(0, index).join("|")})\\.ts$`
  }
})

const rules: Array<IForbiddenRuleType> = [
  ...Object.entries(allowedImports).map(importRule),
  ...readingOrder.map(orderRule),
  {
    name: "other packages by their name",
    severity: "error",
    from: { path: "^packages/([^/]+)/" },
    to: { path: "^packages/", pathNot: "^packages/$1/", dependencyTypes: ["local"] }
  },
  {
    name: "no cycle",
    severity: "error",
    from: { path: "^packages/" },
    to: { circular: true }
  }
]

/** The edges below `baseDir` that break a rule, as `rule: from → to`. */
const violations = async (baseDir: string): Promise<ReadonlyArray<string>> => {
  const { output } = await cruise(["packages"], {
    baseDir,
    validate: true,
    ruleSet: { forbidden: rules },
    tsPreCompilationDeps: true,
    exclude: { path: "^packages/[^/]+/(build|dist|node_modules|test)/" },
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "default"] }
  })
  const { summary } = output as ICruiseResult
  assert.isAbove(summary.totalCruised, 0)
  return summary.violations.map(({ from, rule, to }) => `${rule.name}: ${from} → ${to}`).sort()
}

const withoutComments = (text: string) =>
  ts.transpileModule(text, {
    compilerOptions: { removeComments: true, target: ts.ScriptTarget.ESNext, verbatimModuleSyntax: true }
  }).outputText

const sources = (directory: string) =>
  fs
    .readdirSync(path.join(root, directory), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => path.join(directory, file))

describe("architecture", () => {
  it("every import follows the floor plan", async () => {
    assert.deepStrictEqual(await violations(root), [])
  })

  it("every package stands in the floor plan", () => {
    const unknown = fs.readdirSync(path.join(root, "packages")).filter((name) => !Object.hasOwn(allowedImports, name))
    assert.deepStrictEqual(unknown, [])
  })

  it("every public module of core stands in the reading order", () => {
    const unknown = fs
      .readdirSync(path.join(root, "packages/core/src"))
      .filter((file) => file.endsWith(".ts") && file !== "index.ts")
      .filter((file) => !readingOrder.includes(path.basename(file, ".ts")))
    assert.deepStrictEqual(unknown, [])
  })

  it("core reaches the clock, chance and the process only through Effect", () => {
    const found = sources("packages/core/src").flatMap((file) =>
      withoutComments(fs.readFileSync(path.join(root, file), "utf8"))
        .split("\n")
        .filter((line) => ambientAccess.test(line))
        .map((line) => `${file}: ${line.trim()}`)
    )
    assert.deepStrictEqual(found, [])
  })

  it("one version of effect is installed, and the lockfile names no host", () => {
    const lockfile = fs.readFileSync(path.join(root, "pnpm-lock.yaml"), "utf8")
    assert.lengthOf(
      lockfile.match(/^ {2}effect@[^:]+:$/gm) ?? [],
      2,
      "one entry under `packages`, one under `snapshots`"
    )
    assert.notMatch(lockfile, /https?:\/\//)
  })
})

describe("the rules themselves", () => {
  it("find a forbidden edge of each kind", async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), "effect-tasks-architecture-"))
    const files = {
      "packages/core/src/TaskState.ts": `import type { A } from "./TaskManager.js"\nexport type B = A`,
      "packages/core/src/TaskManager.ts": `import "node:fs"\nimport "@effect-tasks/sql"\nexport type A = 1`,
      "packages/core/src/internal/a.ts": `import type { B } from "./b.js"\nexport type A = B`,
      "packages/core/src/internal/b.ts": `import { A } from "./a.js"\nexport type B = A`,
      "packages/sql/src/index.ts": `import "node:fs"\nimport "@effect-tasks/node"\nimport "../../core/src/TaskState.js"`,
      "packages/node/src/index.ts": `import "@effect-tasks/sql"\nimport "../../../test/helper.js"`,
      "test/helper.ts": "export {}"
    }
    try {
      for (const [file, text] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(directory, file)), { recursive: true })
        fs.writeFileSync(path.join(directory, file), text)
      }
      assert.deepStrictEqual(await violations(directory), [
        "imports of core: packages/core/src/TaskManager.ts → @effect-tasks/sql",
        "imports of core: packages/core/src/TaskManager.ts → fs",
        "imports of node: packages/node/src/index.ts → @effect-tasks/sql",
        "imports of node: packages/node/src/index.ts → test/helper.ts",
        "imports of sql: packages/sql/src/index.ts → @effect-tasks/node",
        "no cycle: packages/core/src/internal/a.ts → packages/core/src/internal/b.ts",
        "other packages by their name: packages/sql/src/index.ts → packages/core/src/TaskState.ts",
        "reading order: packages/core/src/TaskState.ts → packages/core/src/TaskManager.ts"
      ])
    } finally {
      fs.rmSync(directory, { recursive: true, force: true })
    }
  })

  it("find access to the ambient world, but not its mention in a comment", () => {
    for (const code of ["process.exit(1)", "const t = Date.now()", "Math.random()", "const d = new Date()"]) {
      assert.match(withoutComments(code), ambientAccess)
    }
    assert.notMatch(withoutComments("/** Not `new Date()`. */\nexport const a = 1 // nor process.env"), ambientAccess)
  })
})

/*
 * The measurements: `npx -y pnpm@12 bench [memory|sqlite] [--quick] [--out FILE]`. They print a table of medians, and with
 * `--out` write all rounds as JSON.
 */
import { FileSystem, Path } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Backend } from "@effect-tasks/core"
import { SqliteBackend } from "@effect-tasks/sql"
import { Console, Effect } from "effect"
import { claimBesideHistory } from "./measures/claimBesideHistory.js"
import { type Result, table } from "./report.js"

const backends = ["memory", "sqlite"] as const

const usage = "usage: bench [memory|sqlite] [--quick] [--out FILE]"

interface Arguments {
  readonly backends: ReadonlyArray<Result["backend"]>
  readonly quick: boolean
  readonly out: string | undefined
}

const parse = (words: ReadonlyArray<string>): Effect.Effect<Arguments, string> => {
  const wanted: Array<Result["backend"]> = []
  let quick = false
  let out: string | undefined
  for (let i = 0; i < words.length; i++) {
    const backend = backends.find((name) => name === words[i])
    if (words[i] === "--quick") {
      quick = true
    } else if (words[i] === "--out" && words[i + 1] !== undefined) {
      out = words[++i]
    } else if (backend !== undefined) {
      wanted.push(backend)
    } else if (words[i] !== "--") {
      return Effect.fail(`unknown argument ${words[i]}; ${usage}`)
    }
  }
  return Effect.succeed({ backends: wanted.length === 0 ? backends : wanted, quick, out })
}

const program = Effect.gen(function* () {
  const { backends, out, quick } = yield* parse(process.argv.slice(2))
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* fs.makeTempDirectoryScoped()
  const layers = {
    memory: () => Backend.layerMemoryWith({ keepEnded: 1_000_000 }),
    sqlite: (name: string) => SqliteBackend.layer({ filename: path.join(folder, `${name}.db`) })
  }
  const results: Array<Result> = []
  for (const backend of backends) {
    const rounds = quick ? 5 : 15
    results.push(...(yield* claimBesideHistory({ backend, layer: layers[backend], history: 100_000, rounds })))
  }
  yield* Console.log(table(results))
  if (out !== undefined) {
    yield* fs.writeFileString(out, `${JSON.stringify(results, null, 2)}\n`)
  }
}).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

NodeRuntime.runMain(program)

/*
 * The measurements: `npx -y pnpm@12 bench [memory|sqlite|pg] [--quick] [--out FILE]`. Our runtime beside its peers and beside
 * the bare driver, each in a process of its own, in rounds that take turns. They print a table of medians, and with `--out`
 * write all rounds as JSON. `--only drain-c10,cpu` and `--subjects effect-tasks,raw` measure less.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Clock, Config, Console, Data, Effect, Option } from "effect"
import { type Arguments, parse } from "./arguments.js"
import type { Backend } from "./protocol.js"
import { table } from "./report.js"
import { run } from "./rounds.js"
import * as settings from "./settings.js"

class Incomplete extends Data.TaggedError("Incomplete")<{ readonly what: ReadonlyArray<string> }> {
  override get message(): string {
    return this.what.length === 0 ? "nothing to measure has these names" : `not measured: ${this.what.join(", ")}`
  }
}

/** After so many seconds measures get fewer rounds: of the whole of a quick run, and of each backend of a full one. */
const seconds = { quick: 80, full: 540 }

/** One backend's part of the table and its footer, or nothing where it cannot be reached. */
const measure = Effect.fnUntraced(
  function* (backend: Backend, asked: Arguments, begin: number) {
    const start = yield* Clock.currentTimeMillis
    const deadline = asked.quick ? begin + seconds.quick * 1_000 : start + seconds.full * 1_000
    const footer = yield* settings.of(backend)
    return Option.some({ ...(yield* run(backend, asked, deadline)), footer })
  },
  Effect.catchTag("Unreachable", ({ backend }) =>
    Effect.as(Console.log(`skipped ${backend}: it does not answer (DATABASE_URL names another server)`), Option.none())
  )
)

const program = Effect.gen(function* () {
  const asked = yield* parse(process.argv.slice(2))
  const fs = yield* FileSystem.FileSystem
  const isCI = yield* Config.boolean("CI").pipe(Config.withDefault(false))
  const begin = yield* Clock.currentTimeMillis
  const all = yield* Effect.forEach(asked.backends, (backend) => measure(backend, asked, begin))
  const measured = all.flatMap(Option.toArray)
  const skipped = asked.backends.filter((_, i) => Option.isNone(all[i]!))
  const results = measured.flatMap(({ results }) => results)
  const failures = measured.flatMap(({ failures }) => failures)

  yield* Console.log(table(results, failures))
  yield* Console.log(`\n${[...measured.map(({ footer }) => footer), ...settings.reading].join("\n")}`)
  for (const { backend, measure, message, subject } of failures) {
    yield* Console.error(`\n${subject} failed at ${measure} on ${backend}: ${message}`)
  }
  if (asked.out !== undefined) {
    yield* fs.writeFileString(asked.out, `${JSON.stringify(results, null, 2)}\n`)
  }
  const missing = [
    ...failures.map(({ backend, measure, subject }) => `${subject} at ${measure} on ${backend}`),
    ...(isCI ? skipped : [])
  ]
  if (missing.length > 0 || results.length + skipped.length === 0) {
    return yield* new Incomplete({ what: missing })
  }
}).pipe(Effect.provide(NodeContext.layer))

NodeRuntime.runMain(program)

/* The programs of examples/coming-from, run. */
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { Command } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"

const tsx = createRequire(import.meta.url).resolve("tsx")

/** Runs a program to its end. */
const run = (program: string) =>
  Effect.gen(function* () {
    const file = fileURLToPath(new URL(`../examples/coming-from/${program}`, import.meta.url))
    const child = yield* Command.start(Command.make("node", "--import", tsx, file).pipe(Command.stderr("inherit")))
    const output = yield* Stream.mkString(Stream.decodeText(child.stdout))
    return { code: yield* child.exitCode, output }
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

/** What stands in their reports. A program ends with `OK` and code 0 when all that it claims holds. */
const programs: ReadonlyArray<readonly [program: string, lines: ReadonlyArray<RegExp>]> = [
  ["aio-fluid.ts", [/^Import +success +3 /m, /^Rebuild +aborted +0 /m, /^Report: .*\n^Sweep: /m]],
  [
    "fastapi-taskflow.ts",
    [/^ada@example\.com +reminder +success +1 +second$/m, /^nobody +welcome +failure +3 +first$/m]
  ],
  ["fastpubsub.ts", [/refunds lost its connection +ready +alive, not ready +ready/, /interrupted +mail-2 of mails/]],
  ["launchpad.ts", [/mirrored +17 of 20/, /at one time +4 at the most/, /what was told +the list is gone/]]
]

describe.concurrent("the programs of examples/coming-from", () => {
  for (const [program, lines] of programs) {
    it.live(`${program} ends by itself, and what it claims holds`, () =>
      Effect.gen(function* () {
        const { code, output } = yield* run(program)
        for (const line of [...lines, /^What holds$/m, /^OK$/m]) {
          assert.match(output, line)
        }
        assert.notMatch(output, /^ {2}NO /m)
        assert.strictEqual(code, 0)
      })
    )
  }
})

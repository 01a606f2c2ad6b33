/** One run in a process of its own. */

import { fileURLToPath } from "node:url"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { patience, startPrograms } from "./fixtures/program.js"

const programs = startPrograms(fileURLToPath(new URL("./fixtures/executeTasks.ts", import.meta.url)))
const { start } = programs

afterAll(programs.killAll)

const messagesOf = (stderr: string): ReadonlyArray<string> =>
  stderr
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line).message)

describe.concurrent("NodeTasks.executeAndExit", { timeout: 2 * patience }, () => {
  it("writes the encoded result as JSON to the standard output, log lines to the standard error, and exits with 0", async () => {
    const { code, stderr, stdout } = await start("json").ended()
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout, '{"text":"hello a","at":"1970-01-02T00:00:00.000Z"}\n')
    assert.deepStrictEqual(messagesOf(stderr), ["at work", "closed"])
  })

  it("writes the result for people, and ends though something keeps the process alive", async () => {
    const { code, stdout } = await start("timer").ended()
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout, "hello\n")
  })

  it("reports a failure in one line after the retries, and exits with 1", async () => {
    const { code, stderr, stdout } = await start("failure").ended()
    assert.strictEqual(code, 1)
    assert.strictEqual(stdout, "")
    assert.deepStrictEqual(messagesOf(stderr), ["tried", "tried", "tried", "closed"])
    assert.match(stderr, /^error: Refused: refused: not today$/m)
  })

  it("reports a Layer that fails, and exits with 1", async () => {
    const { code, stderr } = await start("layer").ended()
    assert.strictEqual(code, 1)
    assert.match(stderr, /^error: no database$/m)
  })

  it("exits with 0 when the task aborts itself, and says why", async () => {
    const { code, stderr, stdout } = await start("aborted").ended()
    assert.strictEqual(code, 0)
    assert.strictEqual(stdout, "")
    assert.match(stderr, /nothing to do/)
    assert.include(messagesOf(stderr), "closed")
  })

  for (const [signal, expected] of [
    ["SIGINT", 130],
    ["SIGTERM", 143]
  ] as const) {
    it(`a ${signal} interrupts the run and closes the Layer; the exit code is ${expected}`, async () => {
      const program = start("forEver")
      await program.printed("started")
      program.kill(signal)
      const { code, stderr } = await program.ended()
      assert.strictEqual(code, expected)
      assert.deepStrictEqual(messagesOf(stderr), ["started", "interrupted", "closed"])
      assert.notInclude(stderr, "error:")
    })
  }
})

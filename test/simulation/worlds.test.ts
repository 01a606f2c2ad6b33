import { assert, describe, it } from "vitest"
import { parse } from "./arguments.js"
import { backendNames } from "./backends.js"
import * as broken from "./broken.js"
import { play, type WorldOptions } from "./world.js"

const seeds = Array.from({ length: 15 }, (_, i) => i + 1)

describe.each(backendNames)("worlds on %s", (backend) => {
  // many more have a command of their own (see main.ts)
  it("keep every promise", { timeout: 120_000 }, async () => {
    for (const seed of seeds.slice(0, 8)) {
      const { tail, violation } = await play({ seed, backend })
      assert.isNull(violation, `seed ${seed}: ${violation}\n${tail.join("\n")}`)
    }
  })

  it("go the same way again, step by step", { timeout: 30_000 }, async () => {
    for (const seed of [3]) {
      const [first, second] = [await play({ seed, backend }), await play({ seed, backend })]
      assert.isAbove(first.lines, 100)
      assert.strictEqual(first.hash, second.hash)
    }
  })
})

it("worlds of different seeds go different ways", async () => {
  assert.notStrictEqual(
    (await play({ seed: 1, backend: "memory" })).hash,
    (await play({ seed: 2, backend: "memory" })).hash
  )
})

describe("a broken backend is found out", () => {
  const finds = (change: NonNullable<WorldOptions["change"]>, expected: RegExp) => async () => {
    for (const seed of seeds) {
      const { violation } = await play({ seed, backend: "memory", change })
      if (violation !== null) {
        assert.match(violation, expected, `seed ${seed}`)
        return
      }
    }
    assert.fail("no world has noticed")
  }

  it("one without a fence", { timeout: 30_000 }, finds(broken.withoutFence, /stale fence/))

  it("one that forgets a lease", { timeout: 30_000 }, finds(broken.forgetfulOfLeases, /while its lease holds/))

  it("one that loses a run", { timeout: 30_000 }, finds(broken.losingRetries, /never ended/))

  it("one that ignores limits", { timeout: 30_000 }, finds(broken.withoutLimits, /whose limit is/))

  it("one that ignores rates", { timeout: 30_000 }, finds(broken.withoutRates, /began beyond the/))

  it("one that ignores pauses", { timeout: 30_000 }, finds(broken.withoutPauses, /is paused/))
})

describe("the command line", () => {
  it("says what it does not understand", () => {
    assert.deepStrictEqual(parse(["--seed", "7", "--backend", "sqlite"]), {
      seeds: [7],
      backend: "sqlite",
      replays: true
    })
    assert.deepStrictEqual(parse(["--seeds", "2", "--from", "5"]), { seeds: [5, 6], backend: null, replays: false })
    assert.strictEqual(parse(["--seeds", "many"]), "--seeds, --from and --seed are integers")
    assert.strictEqual(parse(["--backend", "paper"]), "--backend is memory or sqlite")
    assert.include(parse(["--sedes", "3"]), "--sedes")
  })
})

import { defineConfig, mergeConfig } from "vitest/config"
import base from "./vitest.config.js"

/** One file after the other: each has worker processes of its own. `--mode long` is the long form of the faults. */
export default defineConfig(({ mode }) => {
  const limit = mode === "long" ? 600_000 : 180_000
  const config = mergeConfig(
    base,
    defineConfig({
      test: { testTimeout: limit, hookTimeout: 60_000, fileParallelism: false, env: { CHAOS: mode } }
    })
  )
  config.test!.include = ["test/chaos/**/*.test.ts"]
  config.test!.exclude = ["**/node_modules/**"]
  return config
})

import os from "node:os"
import { defineConfig } from "vitest/config"

/** A second, machine-readable report, beside the one for people: `VITEST_JSON=file vitest run`. */
const json = process.env.VITEST_JSON

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", "packages/*/test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/build/**", "**/dist/**", "**/.tmp/**", "test/chaos/**", "test/browser/**"],
    // Layers and Scopes keep tests apart, so the files of one worker share the modules that are loaded already.
    pool: "forks",
    isolate: false,
    // Much of the time goes by in waiting for a server or a disk: two files at once even on two cores.
    maxWorkers: Math.max(2, os.availableParallelism() - 1),
    minWorkers: 1,
    // No test is about how quick the machine is.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: json ? ["default", ["json", { outputFile: json }]] : ["default"]
  }
})

import { defineConfig, mergeConfig } from "vitest/config"
import base from "./vitest.config.js"

const config = mergeConfig(base, defineConfig({ test: { testTimeout: 180_000, hookTimeout: 60_000 } }))
config.test!.include = ["test/chaos/**/*.test.ts"]
config.test!.exclude = ["**/node_modules/**"]
export default config

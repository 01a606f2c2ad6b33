import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { build } from "esbuild"

/** Makes JavaScript of the entries of this folder, with all that they import: as an application that is installed. */
export const bundle = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-tasks-executor-"))
    await build({
      entryPoints: ["worker", "broken"].map((name) => path.join(import.meta.dirname, `${name}.ts`)),
      outdir: folder,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      logLevel: "error"
    })
    return folder
  }),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
).pipe(Effect.map((folder) => (name: "worker" | "broken") => pathToFileURL(path.join(folder, `${name}.mjs`))))

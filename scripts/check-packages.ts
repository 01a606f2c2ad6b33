/**
 * Builds the published packages, packs each as it would be published, and looks at the packed files with publint and
 * attw (ESM only). Also type-checks the built declarations themselves: the build leaves out what is marked `@internal`,
 * and a public signature that still names such a thing is found only here.
 */
import { spawnSync } from "node:child_process"
import fs from "node:fs"
import os from "node:os"
import path from "node:path"
import ts from "typescript"

const root = path.resolve(import.meta.dirname, "..")
const packagesDir = path.join(root, "packages")
let failed = false

/** Runs a tool; its output is shown only when it fails. */
const run = (command: string, args: ReadonlyArray<string>, cwd = root): boolean => {
  const { error, status, stderr, stdout } = spawnSync(command, args, { cwd, encoding: "utf8" })
  const ok = status === 0
  console.log(`${ok ? "ok    " : "FAILED"} ${[path.basename(command), ...args].join(" ")}`)
  if (!ok) {
    failed = true
    console.error(`${stdout}${stderr}${error ?? ""}`)
  }
  return ok
}

const bin = (name: string) => path.join(root, "node_modules", ".bin", name)

/** attw does not look into the wildcard `./*`, so it is told each public module. */
const entryPoints = (directory: string): Array<string> =>
  fs
    .readdirSync(path.join(directory, "src"))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => (name === "index.ts" ? "." : `./${path.basename(name, ".ts")}`))

const packages = fs
  .readdirSync(packagesDir)
  .map((name) => path.join(packagesDir, name))
  .filter((directory) => fs.existsSync(path.join(directory, "package.json")))
  .map((directory) => ({
    directory,
    manifest: JSON.parse(fs.readFileSync(path.join(directory, "package.json"), "utf8")) as {
      readonly name: string
      readonly private?: boolean
    }
  }))
  .filter(({ manifest }) => manifest.private !== true)

const checkDeclarations = (): void => {
  const files = packages.flatMap(({ directory }) =>
    fs
      .readdirSync(path.join(directory, "dist"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".d.ts"))
      .map((name) => path.join(directory, "dist", name))
  )
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2023.d.ts"],
    types: ["node"],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true
  })
  const diagnostics = files.flatMap((file) => program.getSemanticDiagnostics(program.getSourceFile(file)))
  console.log(`${diagnostics.length === 0 ? "ok    " : "FAILED"} ${files.length} declaration files`)
  if (diagnostics.length === 0) return
  failed = true
  console.error(
    ts.formatDiagnostics(diagnostics, {
      getCanonicalFileName: (name) => name,
      getCurrentDirectory: () => root,
      getNewLine: () => "\n"
    })
  )
}

for (const { directory } of packages) fs.rmSync(path.join(directory, "dist"), { recursive: true, force: true })
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "effect-tasks-packages-"))
try {
  if (run(bin("tsc"), ["-b", "tsconfig.build.json"])) {
    checkDeclarations()
    for (const { directory, manifest } of packages) {
      console.log(`\n${manifest.name}`)
      const tarball = path.join(temporary, `${path.basename(directory)}.tgz`)
      if (!run("npx", ["-y", "pnpm@12", "pack", "--out", tarball], directory)) continue
      run(bin("publint"), ["run", tarball, "--strict"])
      run(bin("attw"), [tarball, "--profile", "esm-only", "--entrypoints", ...entryPoints(directory)])
    }
  }
} finally {
  fs.rmSync(temporary, { recursive: true, force: true })
}
if (failed) process.exitCode = 1

/**
 * Type-checks the TypeScript that the documentation shows: every ```ts block of README.md and docs/, and the examples in
 * the doc comments of the packages. A block marked ```ts no-check is left out and counted.
 *
 * Each block becomes a module under test/.tmp/docs, where every package of the workspace resolves. It is padded with
 * empty lines and columns so that a position in the module is the position in the file that it comes from.
 */
import fs from "node:fs"
import path from "node:path"
import ts from "typescript"

interface Block {
  readonly file: string
  /** Lines of code at their own line numbers; the lines before the block are empty. */
  readonly lines: ReadonlyArray<string>
}

const root = path.resolve(import.meta.dirname, "..")
const workspace = path.join(root, "test")
const target = path.join(workspace, ".tmp", "docs")

const fenceStart = /^(\s*)```(?:ts|typescript)\b(.*)$/
const blocks: Array<Block> = []
let skipped = 0

/** Collects the fenced blocks among `lines`; `at` is the line number of the first, counted from nought. */
const collectFences = (file: string, lines: ReadonlyArray<string>, at: number): number => {
  let found = 0
  for (let i = 0; i < lines.length; i++) {
    const start = fenceStart.exec(lines[i]!)
    if (!start) continue
    found++
    let end = i + 1
    while (end < lines.length && !/^\s*```\s*$/.test(lines[end]!)) end++
    if (/\bno-check\b/.test(start[2]!)) skipped++
    else blocks.push({ file, lines: [...Array<string>(at + i + 1).fill(""), ...lines.slice(i + 1, end)] })
    i = end
  }
  return found
}

/** The text of a doc comment's `@example` tags, for those that show code without a fence. */
const collectBareExamples = (file: string, lines: ReadonlyArray<string>, at: number): void => {
  for (let i = 0; i < lines.length; i++) {
    if (!/^\s*@example\b/.test(lines[i]!)) continue
    let end = i + 1
    while (
      end < lines.length &&
      !/^\s*@(example|since|category|see|param|returns|internal|deprecated)\b/.test(lines[end]!)
    ) {
      end++
    }
    blocks.push({ file, lines: [...Array<string>(at + i + 1).fill(""), ...lines.slice(i + 1, end)] })
    i = end - 1
  }
}

const collectSource = (file: string): void => {
  const text = fs.readFileSync(path.join(root, file), "utf8")
  for (const comment of text.matchAll(/\/\*\*[\s\S]*?\*\//g)) {
    const at = text.slice(0, comment.index).split("\n").length - 1
    // The comment's own marks become blanks, so that columns stay.
    const lines = comment[0]
      .replace(/\*\/$/, "  ")
      .split("\n")
      .map((line) => line.replace(/^\s*(\/\*\*|\*)/, (marks) => " ".repeat(marks.length)))
    if (collectFences(file, lines, at) === 0) collectBareExamples(file, lines, at)
  }
}

const filesUnder = (directory: string, extension: string): Array<string> =>
  fs.existsSync(path.join(root, directory))
    ? fs
        .readdirSync(path.join(root, directory), { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(extension))
        .map((name) => path.join(directory, name))
        .sort()
    : []

for (const file of ["README.md", ...filesUnder("docs", ".md")]) {
  if (!fs.existsSync(path.join(root, file))) continue
  collectFences(file, fs.readFileSync(path.join(root, file), "utf8").split("\n"), 0)
}
for (const name of fs.readdirSync(path.join(root, "packages")).sort()) {
  for (const file of filesUnder(path.join("packages", name, "src"), ".ts")) {
    if (!file.includes(`${path.sep}internal${path.sep}`)) collectSource(file)
  }
}

fs.rmSync(target, { recursive: true, force: true })
fs.mkdirSync(target, { recursive: true })
const modules = new Map(
  blocks.map((block, index) => {
    const module = path.join(target, `${index}-${path.basename(block.file).replace(/\W/g, "_")}.ts`)
    fs.writeFileSync(module, `${block.lines.join("\n")}\n`)
    return [module, block.file]
  })
)

const base = ts.readConfigFile(path.join(root, "tsconfig.base.json"), ts.sys.readFile).config
const { errors, options } = ts.convertCompilerOptionsFromJson(
  {
    ...base.compilerOptions,
    composite: false,
    tsBuildInfoFile: null,
    declaration: false,
    declarationMap: false,
    noEmit: true,
    // A sample may show a value that it does not use.
    noUnusedLocals: false,
    noUnusedParameters: false
  },
  workspace
)
const program = ts.createProgram([...modules.keys()], options)
const diagnostics = [
  ...errors,
  ...program.getOptionsDiagnostics(),
  ...[...modules.keys()].flatMap((module) => {
    const source = program.getSourceFile(module)
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
  })
]

for (const { file, messageText, start } of diagnostics) {
  const message = ts.flattenDiagnosticMessageText(messageText, "\n")
  if (file === undefined || start === undefined) {
    console.error(message)
    continue
  }
  const { character, line } = file.getLineAndCharacterOfPosition(start)
  console.error(`${modules.get(path.normalize(file.fileName))}:${line + 1}:${character + 1} ${message}`)
}

console.log(`${blocks.length} blocks checked, ${skipped} skipped, ${diagnostics.length} errors`)
if (diagnostics.length > 0) process.exitCode = 1
else fs.rmSync(target, { recursive: true, force: true })

/* The tables of `docs/coming-from.md` and the tests of this folder name the same things. */
import fs from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

interface Row {
  readonly name: string
  readonly isToCome: boolean
}

const read = (path: string) => fs.readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8")

/** The rows of the tables under a heading of the second order; those of its part on weaknesses apart. */
const rowsOf = (
  text: string,
  heading: string
): { readonly things: ReadonlyArray<Row>; readonly weak: ReadonlyArray<Row> } => {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? ""
  const [things = "", weak = ""] = section.split(/^### Where it is weak$/m)
  return { things: tableRows(things), weak: tableRows(weak) }
}

/** Every row of a table but its head and the line below it. */
const tableRows = (text: string): ReadonlyArray<Row> =>
  [...text.matchAll(/(?:^\|.*\n?)+/gm)].flatMap(([table]) =>
    table
      .trim()
      .split("\n")
      .slice(2)
      .map((line) => {
        const [, name = "", meaning = ""] = line.split("|")
        return { name: name.replaceAll("`", "").trim(), isToCome: meaning.trim().startsWith("*To come.*") }
      })
  )

/** The names of the tests in a source file. */
const testsOf = (source: string): ReadonlyArray<string> =>
  [...source.matchAll(/\b(?:row|it(?:\.\w+)?)\(\s*"([^"]+)"/g)].map(([, name = ""]) => name)

/** The part of a source that stands in one `describe` of the outermost level. */
const described = (source: string, name: string): string =>
  source.split(/^describe\(/m).find((part) => part.startsWith(`"${name}"`)) ?? ""

const twice = (names: ReadonlyArray<string>) => names.filter((name, i) => names.indexOf(name) !== i)

const check = (rows: ReadonlyArray<Row>, tests: ReadonlyArray<string>) => {
  const names = rows.map(({ name }) => name)
  assert.deepStrictEqual(twice(names), [], "rows of one name")
  assert.deepStrictEqual(twice(tests), [], "tests of one name")
  const shown = rows.filter(({ isToCome }) => !isToCome).map(({ name }) => name)
  assert.deepStrictEqual(
    shown.filter((name) => !tests.includes(name)),
    [],
    "rows without a test of their name"
  )
  assert.deepStrictEqual(
    tests.filter((name) => !shown.includes(name)),
    [],
    "tests without a row of their name"
  )
}

const systems = [
  ["aio-fluid", "aioFluid"],
  ["fastapi-taskflow", "fastapiTaskflow"],
  ["fastpubsub", "fastpubsub"],
  ["Launchpad", "launchpad"]
] as const

describe("docs/coming-from.md", () => {
  const text = read("../../docs/coming-from.md")
  const weaknesses = ["./weaknesses.test.ts", "./weaknessesOfSources.test.ts"].map(read).join("\n")

  for (const [heading, file] of systems) {
    const { things, weak } = rowsOf(text, heading)

    it(`each row of ${heading} is shown by a test of its name, and each test has its row`, () => {
      assert.isAbove(things.length, 10)
      check(things, testsOf(read(`./${file}.test.ts`)))
    })

    it(`so is each weakness of ${heading}`, () => {
      assert.isAbove(weak.length, 5)
      check(weak, testsOf(described(weaknesses, heading)))
    })
  }
})

import { Data, Effect } from "effect"
import { type Backend, backends } from "./protocol.js"

/** What the command line asks for. */
export interface Arguments {
  readonly backends: ReadonlyArray<Backend>
  readonly quick: boolean
  readonly out: string | undefined
  /** Measures, or the first words of their names; all when there is none. */
  readonly only: ReadonlyArray<string>
  /** The names of subjects; all when there is none. */
  readonly subjects: ReadonlyArray<string>
}

export class WrongArgument extends Data.TaggedError("WrongArgument")<{ readonly word: string }> {
  override get message(): string {
    return `unknown argument ${this.word}; usage: bench [memory|sqlite|pg] [--quick] [--out FILE] [--only MEASURE,…] [--subjects NAME,…]`
  }
}

const namesIn = (text: string): ReadonlyArray<string> => text.split(",").filter((name) => name !== "")

export const parse = (words: ReadonlyArray<string>): Effect.Effect<Arguments, WrongArgument> =>
  Effect.suspend(() => {
    const wanted: Array<Backend> = []
    const values = new Map<string, string>()
    let quick = false
    for (let i = 0; i < words.length; i++) {
      const word = words[i]!
      const value = words[i + 1]
      const backend = backends.find((name) => name === word)
      if (backend !== undefined) {
        wanted.push(backend)
      } else if (word === "--quick") {
        quick = true
      } else if (["--out", "--only", "--subjects"].includes(word) && value !== undefined) {
        values.set(word, value)
        i++
      } else if (word !== "--") {
        return new WrongArgument({ word })
      }
    }
    return Effect.succeed({
      backends: wanted.length === 0 ? backends : wanted,
      quick,
      out: values.get("--out"),
      only: namesIn(values.get("--only") ?? ""),
      subjects: namesIn(values.get("--subjects") ?? "")
    })
  })

import { Console, type Effect } from "effect"

/*
 * What a worker process tells the test on its standard output: one line each.
 */

/**
 * - `ready`: it serves
 * - `performed`: a handler has come to its end
 * - `settled`: the success was written
 * - `warned`: something that its log would show
 */
export type Kind = "ready" | "performed" | "settled" | "warned"

const kinds: ReadonlyArray<string> = ["ready", "performed", "settled", "warned"] satisfies ReadonlyArray<Kind>

const isKind = (word: string): word is Kind => kinds.includes(word)

export const say = (kind: Kind, about: string): Effect.Effect<void> =>
  Console.log(`${kind} ${about.replaceAll("\n", " ")}`)

export const read = (line: string): { readonly kind: Kind; readonly about: string } | undefined => {
  const end = line.indexOf(" ")
  const kind = line.slice(0, end)
  return isKind(kind) ? { kind, about: line.slice(end + 1) } : undefined
}

import type { Kind } from "./lines.js"

/** What a worker process has said, and when the test heard it. */
export interface Entry {
  readonly at: number
  readonly worker: string
  readonly kind: Kind
  readonly about: string
}

/** What all worker processes of a test have said. */
export type Journal = Array<Entry>

export const saidOf = (journal: Journal, kind: Kind): ReadonlyArray<Entry> =>
  journal.filter((entry) => entry.kind === kind)

/** How often each was said. */
export const times = (journal: Journal, kind: Kind): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const { about } of saidOf(journal, kind)) {
    counts.set(about, (counts.get(about) ?? 0) + 1)
  }
  return counts
}

import { createHash } from "node:crypto"

/** What happened in a world, line by line; its hash tells two courses of events apart. */
export class Trace {
  private readonly sum = createHash("sha256")
  private readonly print: ((line: string) => void) | null
  /** The last lines, for those who look for the reason of a violation. */
  readonly tail: Array<string> = []
  lines = 0

  constructor(print: ((line: string) => void) | null) {
    this.print = print
  }

  note(now: number, who: string, what: string): void {
    const line = `${(now / 1000).toFixed(3).padStart(9)} ${who.padEnd(6)} ${what}`
    this.lines++
    this.sum.update(line)
    this.tail.push(line)
    if (this.tail.length > 30) {
      this.tail.shift()
    }
    this.print?.(line)
  }

  get hash(): string {
    return this.sum.copy().digest("hex").slice(0, 16)
  }
}

import type { LogLine } from "./run.js"
import { firstLines, maxLines } from "./runLog.js"

/**
 * The place of a reader in the log of a run. Lines come from two sides, as they are logged in this process and out of the
 * store, in any order and more than once; they leave in the order of `seq`, each once.
 */
export class LogCursor {
  /** The `seq` of the next line that is to leave. */
  next = 0
  private readonly known = new Map<number, LogLine>()
  /** All that is kept of the log up to here has been read. */
  private readUpTo = -1

  /** A line that is logged now. What does not fit will be read from the store. */
  hear(line: LogLine): void {
    if (this.known.size < maxLines) {
      this.add(line)
    }
  }

  /**
   * Lines as the store has them. The first ones of a log are stored as they come; of the later ones those that are kept are
   * stored all at once, so what is missing before them is not to come.
   */
  read(lines: ReadonlyArray<LogLine>): void {
    for (const line of lines) {
      this.add(line)
      if (line.seq >= firstLines) {
        this.readUpTo = Math.max(this.readUpTo, line.seq)
      }
    }
  }

  private add(line: LogLine): void {
    if (line.seq >= this.next && !this.known.has(line.seq)) {
      this.known.set(line.seq, line)
    }
  }

  /** The lines that may leave; at the end of the run all that there are. */
  take(isEnd: boolean): ReadonlyArray<LogLine> {
    const taken: Array<LogLine> = []
    while (this.known.size > 0) {
      const line = this.known.get(this.next) ?? this.beyondGap(isEnd)
      if (line === undefined) {
        break
      }
      this.known.delete(line.seq)
      this.next = line.seq + 1
      taken.push(line)
    }
    return taken
  }

  private beyondGap(isEnd: boolean): LogLine | undefined {
    if (!isEnd && (this.next < firstLines || this.next > this.readUpTo)) {
      return undefined
    }
    const first = this.known.get(Math.min(...this.known.keys()))
    return first !== undefined && (isEnd || first.seq <= this.readUpTo) ? first : undefined
  }
}

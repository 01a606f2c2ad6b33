import type { LogLine } from "./run.js"
import { defaultMaxLines, firstLines } from "./runLog.js"

/**
 * The place of a reader in the log of a run. Lines come from two sides, as they are logged in this process and out of the
 * store, in any order and more than once; they leave in the order of `seq`, each once.
 */
export class LogCursor {
  /** The `seq` of the next line that is to leave. */
  next = 0
  private readonly known = new Map<number, LogLine>()
  /** When the lines were logged that have left lately. */
  private readonly told = new Map<number, number>()
  /** All that is kept of the log up to here has been read. */
  private readUpTo = -1
  private readonly maxLines: number
  private readonly firstLines: number

  constructor(maxLines = defaultMaxLines) {
    this.maxLines = maxLines
    this.firstLines = firstLines(maxLines)
  }

  /** A line that is logged now. What does not fit will be read from the store. */
  hear(line: LogLine): void {
    if (this.known.size < this.maxLines) {
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
      if (line.seq >= this.firstLines) {
        this.readUpTo = Math.max(this.readUpTo, line.seq)
      }
    }
  }

  private add(line: LogLine): void {
    if (line.at > (this.told.get(line.seq) ?? Number.POSITIVE_INFINITY)) {
      // what was told was of a claim that was lost before it was stored: the log goes on in its place
      this.next = Math.min(this.next, line.seq)
      this.told.clear()
    }
    if (line.seq >= this.next && (this.known.get(line.seq)?.at ?? Number.NEGATIVE_INFINITY) < line.at) {
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
      this.note(line)
    }
    return taken
  }

  private note({ at, seq }: LogLine): void {
    this.told.set(seq, at)
    this.told.delete(seq - this.maxLines)
  }

  private beyondGap(isEnd: boolean): LogLine | undefined {
    if (!isEnd && (this.next < this.firstLines || this.next > this.readUpTo)) {
      return undefined
    }
    const first = this.known.get(Math.min(...this.known.keys()))
    return first !== undefined && (isEnd || first.seq <= this.readUpTo) ? first : undefined
  }
}

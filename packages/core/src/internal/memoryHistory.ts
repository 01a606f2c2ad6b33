import type { LogLine } from "../Store.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { RunId } from "./run.js"

/** So many places at the beginning of the order may be empty before it is cut. */
const mostEmpty = 10_000

/** The ended runs, of which the newest stay, and the log lines of all runs. */
export class History {
  private readonly runs = new Map<RunId, EncodedRun>()
  private readonly lines = new Map<RunId, Array<LogLine>>()
  private readonly keepEnded: number
  /**
   * The ids in the order of their ends; those before `first` are gone. (To look for the oldest in the map itself passes over
   * all that was removed before.)
   */
  private order: Array<RunId> = []
  private first = 0

  constructor(keepEnded: number) {
    this.keepEnded = keepEnded
  }

  get(id: RunId): EncodedRun | undefined {
    return this.runs.get(id)
  }

  has(id: RunId): boolean {
    return this.runs.has(id)
  }

  values(): Iterable<EncodedRun> {
    return this.runs.values()
  }

  /** Keeps the record of an ended run; gives false when a newer one is there. */
  add(run: EncodedRun): boolean {
    const known = this.runs.get(run.id)
    if (known !== undefined && known.fence > run.fence) {
      return false
    }
    this.runs.set(run.id, run)
    if (known === undefined) {
      this.order.push(run.id)
      this.forgetOldest()
    }
    return true
  }

  private forgetOldest(): void {
    while (this.runs.size > this.keepEnded) {
      this.remove(this.order[this.first++]!)
    }
    if (this.first > mostEmpty) {
      this.order = this.order.slice(this.first)
      this.first = 0
    }
  }

  /** Removes the record and the log of an ended run, if there is one. */
  remove(id: RunId): boolean {
    const isEnded = this.runs.delete(id)
    if (isEnded) {
      this.lines.delete(id)
    }
    return isEnded
  }

  linesOf(id: RunId): ReadonlyArray<LogLine> {
    return this.lines.get(id) ?? []
  }

  /** Adds log lines, each at its place; one that is there stays as it is. */
  appendLogs(lines: ReadonlyArray<LogLine>): void {
    for (const line of lines) {
      const log = this.lines.get(line.runId)
      if (log === undefined) {
        this.lines.set(line.runId, [line])
        continue
      }
      let at = log.length
      while (at > 0 && log[at - 1]!.seq > line.seq) {
        at--
      }
      if (log[at - 1]?.seq !== line.seq) {
        log.splice(at, 0, line)
      }
    }
  }
}

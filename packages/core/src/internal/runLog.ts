import { Cause, Context, Effect, FiberRef, FiberRefs, HashSet, Inspectable, List, Logger, Option } from "effect"
import { CurrentRun } from "../CurrentRun.js"
import { LogLine } from "../Store.js"
import { Current, type Lines, type NewLine } from "./currentRun.js"
import type { RunId } from "./run.js"

/** How many lines of a run are kept, unless it is said otherwise. */
export const defaultMaxLines = 1_000

/** Of the lines that are kept, the first nine tenths are stored as they come, the last ones at the end of the attempt. */
export const firstLines = (maxLines: number): number => maxLines - lastLines(maxLines)

const lastLines = (maxLines: number): number => (maxLines < 2 ? 0 : Math.max(1, Math.floor(maxLines / 10)))

/** The lines that one attempt has logged and that are not stored yet. */
export class RunLog implements Lines {
  // most runs log nothing: no list is made for them
  private fresh: Array<LogLine> | null = null
  private saving: ReadonlyArray<LogLine> | null = null
  private last: Array<LogLine> | null = null
  private dropped = 0
  private seq: number
  private readonly runId: RunId
  private readonly attempt: number
  private readonly maxLines: number
  private readonly onLine: (line: LogLine) => void

  constructor(
    run: { readonly id: RunId; readonly attempt: number; readonly logged: number },
    maxLines: number,
    onLine: (line: LogLine) => void
  ) {
    this.runId = run.id
    this.attempt = run.attempt + 1
    this.seq = run.logged
    this.maxLines = maxLines
    this.onLine = onLine
  }

  /** How many lines the run has logged, the earlier attempts included. */
  get logged(): number {
    return this.seq
  }

  /** Continues behind lines that are stored already. */
  goOnAfter(lines: ReadonlyArray<LogLine>): void {
    this.seq = lines.reduce((next, line) => Math.max(next, line.seq + 1), this.seq)
  }

  get isDirty(): boolean {
    return this.fresh !== null
  }

  push(line: NewLine): void {
    const full = new LogLine(
      { ...line, runId: this.runId, attempt: this.attempt, seq: this.seq++ },
      { disableValidation: true }
    )
    this.onLine(full)
    if (full.seq < firstLines(this.maxLines)) {
      this.fresh ??= []
      this.fresh.push(full)
      return
    }
    this.last ??= []
    this.last.push(full)
    if (this.last.length > lastLines(this.maxLines)) {
      this.last.shift()
      this.dropped++
    }
  }

  /** The lines to store now. Until it is known that they are stored, they are left also to the end of the attempt. */
  take(): ReadonlyArray<LogLine> {
    const lines = this.takeFresh()
    this.saving = lines
    return lines
  }

  /** What `take` gave is stored, or is to be stored later; unless the attempt has ended, and its settlement has it too. */
  saved(isStored: boolean): void {
    const lines = this.saving
    this.saving = null
    if (lines !== null && !isStored) {
      this.putBack(lines)
    }
  }

  private takeFresh(): ReadonlyArray<LogLine> {
    const lines = this.fresh ?? noLines
    this.fresh = null
    return lines
  }

  /** Lines that could not be stored, to be stored later. */
  putBack(lines: ReadonlyArray<LogLine>): void {
    if (lines.length > 0) {
      this.fresh = [...lines, ...(this.fresh ?? noLines)]
    }
  }

  /** All lines left, at the end of the attempt; where lines were left out, the first of the last says how many. */
  takeAll(): ReadonlyArray<LogLine> {
    const { dropped, last, saving } = this
    this.saving = null
    const rest = this.takeFresh()
    const fresh = saving === null ? rest : [...saving, ...rest]
    if (last === null) {
      return fresh
    }
    this.last = null
    this.dropped = 0
    const [marked, ...others] = last
    return dropped === 0 || marked === undefined
      ? [...fresh, ...last]
      : [
          ...fresh,
          new LogLine(
            { ...marked, message: `… ${dropped} lines were left out …\n${marked.message}` },
            { disableValidation: true }
          ),
          ...others
        ]
  }
}

const noLines: ReadonlyArray<LogLine> = []

const render = (message: unknown): string =>
  (Array.isArray(message) ? message : [message])
    .map((part) => (typeof part === "string" ? part : Inspectable.toStringUnknown(part, 0)))
    .join(" ")

/** What was logged, as a line of a run's log. */
export const lineOf = ({
  annotations,
  cause,
  date,
  logLevel,
  message,
  spans
}: Omit<Logger.Logger.Options<unknown>, "context">): NewLine => ({
  at: date.getTime(),
  level: logLevel.label,
  message: Cause.isEmpty(cause) ? render(message) : `${render(message)}\n${Cause.pretty(cause)}`,
  annotations: Object.fromEntries(Array.from(annotations, ([key, value]) => [key, Inspectable.toJSON(value)])),
  spans: List.toArray(List.map(spans, (span) => span.label))
})

/** A logger that captures what is logged inside a handler, by the `CurrentRun` of the fiber that logs. */
const captureLogger = Logger.make<unknown, void>((logged) => {
  const services = FiberRefs.getOrDefault(logged.context, FiberRef.currentContext)
  const current = Context.getOption(services, CurrentRun)
  const log = Option.isSome(current) ? Current.logOf(current.value) : undefined
  log?.push(lineOf(logged))
})

/** Lets the lines that handlers log below this effect, and in fibers forked by it, reach the logs of their runs. */
export const capturing: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.locallyWith(
  FiberRef.currentLoggers,
  HashSet.add(captureLogger)
)

import type * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import { liveClock } from "./liveClock.js"

/** The two ways in which a program writes text. */
export type Stream = "stdout" | "stderr"

/** A longer line is broken. */
const maxLength = 64 * 1_024

/** Makes lines of what is written to a stream. */
export class Output {
  private rest = ""
  private readonly stream: Stream
  private readonly onLine: (line: typeof TaskExecutor.Line.Type) => void

  constructor(stream: Stream, onLine: (line: typeof TaskExecutor.Line.Type) => void) {
    this.stream = stream
    this.onLine = onLine
  }

  write(text: string): void {
    const lines = `${this.rest}${text}`.split(/\r?\n/)
    this.rest = lines.pop() ?? ""
    lines.forEach((line) => this.tell(line))
    if (this.rest.length >= maxLength) {
      this.end()
    }
  }

  /** What has been written is a line, though nothing says so. */
  end(): void {
    const { rest } = this
    this.rest = ""
    if (rest !== "") {
      this.tell(rest)
    }
  }

  private tell(message: string): void {
    if (message.trim() === "") {
      return
    }
    this.onLine({
      at: liveClock.unsafeCurrentTimeMillis(),
      level: this.stream === "stdout" ? "INFO" : "WARN",
      message,
      annotations: { stream: this.stream },
      spans: []
    })
  }
}

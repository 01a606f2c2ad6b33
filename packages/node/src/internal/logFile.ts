import type { Effect } from "effect"

/*
 * A file that lines are added to, in one of two ways: rotated by its size, or watched for another program that rotates it. One
 * at a time may write.
 */

export interface Options {
  readonly path: string
  readonly mode: "rotate" | "watched"
  readonly maxBytes: number
  readonly backups: number
}

/** A file that could not be opened, written or rotated. */
export interface Failure {
  readonly message: string
}

export interface LogFile {
  /** Opens the file, unless it is open. */
  readonly open: Effect.Effect<void, Failure>
  /** Adds lines, each with its end. After a failure the file is opened anew with the next ones. */
  readonly write: (lines: ReadonlyArray<string>) => Effect.Effect<void, Failure>
  /** Lets the file go; what was written is on the disk first, where it can be. */
  readonly close: Effect.Effect<void>
}

/* What the programs of this folder print, and how they check what they claim. */
import { Console, Effect, Logger, LogLevel, Schedule, Schema } from "effect"

/** A program has claimed what did not hold; it ends with code 1. */
export class Untrue extends Schema.TaggedError<Untrue>()("Untrue", { claims: Schema.Array(Schema.String) }) {
  override get message(): string {
    return `not true: ${this.claims.join("; ")}`
  }
}

/** Rows under a head, in columns. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<unknown>>): string => {
  const cells = [head, ...rows].map((row) => row.map(String))
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** Prints each claim, and fails when one does not hold. */
export const check = (claims: Readonly<Record<string, boolean>>): Effect.Effect<void, Untrue> =>
  Effect.gen(function* () {
    for (const [claim, holds] of Object.entries(claims)) {
      yield* Console.log(`${holds ? "ok" : "NO"}  ${claim}`)
    }
    const untrue = Object.keys(claims).filter((claim) => !claims[claim])
    return yield* untrue.length === 0 ? Effect.void : new Untrue({ claims: untrue })
  })

/** Looks again and again until it is as it is to be. */
export const until = <A, E, R>(look: Effect.Effect<A, E, R>, holds: (found: A) => boolean) =>
  Effect.repeat(look, { until: holds, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.zipRight(look),
    Effect.timeout("20 seconds")
  )

/** The program's own log tells warnings only, so that the report can be read; the logs of runs have every line all the same. */
export const warningsOnly = Logger.replace(
  Logger.defaultLogger,
  Logger.filterLogLevel(Logger.defaultLogger, (level) => LogLevel.greaterThanEqual(level, LogLevel.Warning))
)

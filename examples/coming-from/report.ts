/** Reports of programs that check what they say. */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Console, Data, Effect, Logger, LogLevel, Option, Schedule } from "effect"

/** Something was not as the program says. The report has told which. */
class ClaimBroken extends Data.TaggedError("ClaimBroken") {}

/** A line of a report: what it is about, and what there is to say. */
export const line = (label: string, text: string) => Console.log(`  ${label.padEnd(28)}${text}`)

/** A heading of a report. */
export const heading = (text: string) => Console.log(`\n${text}`)

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

/** The end of a report: what the program claims, and whether it is so. */
export const conclude = (claims: ReadonlyArray<readonly [claim: string, holds: boolean]>) =>
  Effect.gen(function* () {
    yield* heading("What holds")
    yield* Effect.forEach(claims, ([claim, holds]) => Console.log(`  ${holds ? "yes" : "NO "}  ${claim}`))
    if (!claims.every(([, holds]) => holds)) {
      return yield* new ClaimBroken()
    }
    yield* Console.log("\nOK")
  })

/** Runs a program that ends with `conclude`. Code 1 when a claim does not hold, or when it did not get so far. */
export const run = <E>(program: Effect.Effect<void, E>) =>
  NodeRuntime.runMain(
    Effect.tapErrorCause(program, (cause) =>
      Option.getOrUndefined(Cause.failureOption(cause)) instanceof ClaimBroken
        ? Effect.void // the report has told
        : Console.error(Cause.pretty(cause))
    ),
    { disableErrorReporting: true, disablePrettyLogger: true }
  )

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

import { inspect } from "node:util"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type * as Task from "@effect-tasks/core/Task"
import { TaskAborted } from "@effect-tasks/core/TaskError"
import { Cause, Console, Effect, Exit, type Layer, Schema } from "effect"
import * as failure from "./failure.js"
import { exitOnSecondSignal } from "./signals.js"

/*
 * A program that performs one run in place, tells what came out, and ends.
 */

/** How a shell reports a program that a signal has ended. */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const

type Signal = keyof typeof exitCodes

/** The first signal that comes. */
const firstSignal = (): (() => Signal | undefined) => {
  let first: Signal | undefined
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      first ??= signal
    })
  }
  return () => first
}

/** Ends with what was written behind it: a pipe may take it later than it was given. */
const write = (text: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    process.stdout.write(`${text}\n`, () => resume(Effect.void))
  })

/** What a person reads, or the encoded form of the success as JSON. Nothing is told of a task that gives nothing. */
const tell = (schema: Schema.Schema.All, value: unknown, json: boolean): Effect.Effect<void> => {
  if (json) {
    const encoded = Effect.orDie(Schema.encodeUnknown(schema as Schema.Schema<unknown, unknown>)(value))
    return Effect.flatMap(encoded, (encoded) => write(JSON.stringify(encoded) ?? "null"))
  }
  const { stdout } = process
  return value === undefined
    ? Effect.void
    : write(typeof value === "string" ? value : inspect(value, { depth: 10, colors: stdout.isTTY }))
}

/** Performs a run, and gives the exit code of its end. */
export const perform = <A, E, R>(
  execute: Effect.Effect<A, E, R>,
  task: Task.Any,
  options: { readonly json: boolean }
): Effect.Effect<number, E, R> =>
  Effect.matchEffect(execute, {
    onSuccess: (value) => Effect.as(tell(task.successSchema, value, options.json), 0),
    // the task has decided that there is nothing to do
    onFailure: (error) =>
      error instanceof TaskAborted ? Effect.as(Console.error(error.message), 0) : Effect.fail(error)
  })

/** Runs the program with its Layer, and ends the process when both are closed, whatever else may keep it alive. */
export const runAndExit = <E, R, EL>(program: Effect.Effect<number, E, R>, layer: Layer.Layer<R, EL>): void => {
  const signal = firstSignal()
  exitOnSecondSignal()
  const isBySignal = (cause: Cause.Cause<unknown>) => Cause.isInterruptedOnly(cause) && signal() !== undefined
  program.pipe(
    Effect.provide(layer),
    Effect.onError((cause) => (isBySignal(cause) ? Effect.void : Console.error(failure.render(cause)))),
    NodeRuntime.runMain({
      disableErrorReporting: true,
      disablePrettyLogger: true,
      teardown: (exit) => {
        const by = signal()
        const failed = Exit.isFailure(exit) && isBySignal(exit.cause) && by !== undefined ? exitCodes[by] : 1
        process.exit(Exit.isSuccess(exit) ? (exit.value as number) : failed)
      }
    })
  )
}

import type { CommandExecutor } from "@effect/platform"
import { Clock, Effect, type Scope } from "effect"
import type { StartError, Worker } from "./workers.js"

/**
 * Every second one worker is killed, the longest running first, once it is seen at work; another one takes its place. Gives
 * those that live at the end; `killedAt` is told when each of the others died.
 */
export const killing = <R>(options: {
  readonly workers: ReadonlyArray<Worker>
  readonly kills: number
  readonly start: (name: string) => Effect.Effect<Worker, StartError, R>
  readonly killedAt: Map<string, number>
}): Effect.Effect<ReadonlyArray<Worker>, StartError, R | Scope.Scope | CommandExecutor.CommandExecutor> =>
  Effect.gen(function* () {
    const alive = Array.from(options.workers)
    for (let i = 0; i < options.kills; i++) {
      const victim = alive.shift()!
      yield* Effect.zipRight(Effect.sleep("1 second"), victim.isAtWork)
      yield* Effect.ignore(victim.process.kill("SIGKILL"))
      options.killedAt.set(victim.name, yield* Clock.currentTimeMillis)
      alive.push(yield* options.start(`substitute${i}`))
    }
    return alive
  })

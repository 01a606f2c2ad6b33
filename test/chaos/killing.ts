import { Clock, Effect } from "effect"
import type { StartError, Worker } from "./workers.js"

/** Kills a worker, and notes when it died. */
export const kill = ({ name, process }: Worker, killedAt: Map<string, number>): Effect.Effect<void> =>
  Effect.ignore(process.kill("SIGKILL")).pipe(
    Effect.zipRight(Clock.currentTimeMillis),
    Effect.map((at) => void killedAt.set(name, at))
  )

/**
 * Every second one worker is killed, the longest running first, once it is seen at work and the others serve, so that there is
 * somebody to take over; another one takes its place in `alive`.
 */
export const killing = <R>(options: {
  readonly alive: Array<Worker>
  readonly killedAt: Map<string, number>
  readonly kills: number
  readonly start: (name: string) => Effect.Effect<Worker, StartError, R>
}): Effect.Effect<void, StartError, R> =>
  Effect.gen(function* () {
    const { alive, killedAt, kills, start } = options
    for (let i = 0; i < kills; i++) {
      yield* Effect.zipRight(
        Effect.sleep("1 second"),
        Effect.forEach(alive, ({ isReady }) => isReady)
      )
      const victim = alive.shift()
      if (victim !== undefined) {
        yield* Effect.zipRight(victim.isAtWork, kill(victim, killedAt))
      }
      alive.push(yield* start(`substitute${i}`))
    }
  })

/** How far the work has come, shown until all of it is done. */
import { TaskManager } from "@effect-tasks/core"
import { Clock, Effect, Ref, Schedule } from "effect"
import { Screen } from "./screen.js"
import { HashFile } from "./tasks.js"

const width = 12

const bar = (share: number): string => {
  const filled = Math.floor(share * width)
  return `${"█".repeat(filled)}${"░".repeat(width - filled)}`
}

/** Looks five times a second, and ends when no run is left. `activity` says who works. */
export const follow = Effect.fnUntraced(function* (files: number, activity: Ref.Ref<string>) {
  const manager = yield* TaskManager.TaskManager
  const screen = yield* Screen
  const startedAt = yield* Clock.currentTimeMillis
  const look = Effect.gen(function* () {
    const { queued, running, scheduled } = yield* manager.counts()
    const { success } = yield* manager.counts({ task: HashFile.name })
    const seconds = Math.round(((yield* Clock.currentTimeMillis) - startedAt) / 1_000)
    yield* screen.progress(
      `  ${bar(success / files)} ${success}/${files} files, ${running} running, ${queued} queued, ` +
        `${scheduled} to retry, ${yield* Ref.get(activity)}, ${seconds} s`
    )
    return queued + running + scheduled
  })
  yield* Effect.repeat(look, { schedule: Schedule.spaced("200 millis"), until: (left) => left === 0 })
})

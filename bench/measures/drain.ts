import { setTimeout as sleep } from "node:timers/promises"
import type { Size } from "../protocol.js"
import type { Queue } from "../subjects/subject.js"
import { fill } from "./enqueue.js"

/** Waits until nothing is unfinished. What every run has passed through the handler, only its record can still be missing. */
export const untilFinished = async (queue: Queue): Promise<void> => {
  while ((await queue.unfinished()) > 0) {
    await sleep(1)
  }
}

/** Runs per second, from the start of the consumer until the last one is recorded as done. Each must have come once. */
export const drain =
  (concurrency: number) =>
  async (queue: Queue, { drain }: Size): Promise<number> => {
    await fill(queue, drain)
    const times = new Uint8Array(drain)
    let performed = 0
    let allPerformed = () => {}
    const end = new Promise<void>((resolve) => {
      allPerformed = resolve
    })
    const start = performance.now()
    const stop = await queue.consume(concurrency, (run) => {
      times[run]!++
      if (++performed === drain) {
        allPerformed()
      }
    })
    await end
    await untilFinished(queue)
    const elapsed = performance.now() - start
    await stop()
    const wrong = times.findIndex((count) => count !== 1)
    if (wrong >= 0) {
      throw new Error(`run ${wrong} of ${drain} was performed ${times[wrong]} times`)
    }
    return (drain * 1_000) / elapsed
  }

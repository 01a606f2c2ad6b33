import { setTimeout as sleep } from "node:timers/promises"
import type { Size } from "../protocol.js"
import type { Queue } from "../subjects/subject.js"
import { fill } from "./enqueue.js"

const waiting = 100_000

/** The heap that is in use, without garbage. */
const heap = async (): Promise<number> => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(10)
  }
  return process.memoryUsage().heapUsed
}

/** Megabytes that 100,000 waiting runs take in this process. */
export const memory = async (queue: Queue): Promise<number> => {
  const before = await heap()
  await fill(queue, waiting)
  return ((await heap()) - before) / 1_000_000
}

/** Percent of a core that this process uses while its consumer has nothing to do. */
export const idleCpu = async (queue: Queue, { idleSeconds }: Size): Promise<number> => {
  const stop = await queue.consume(10, () => {})
  await sleep(200)
  const before = process.cpuUsage()
  const start = performance.now()
  await sleep(idleSeconds * 1_000)
  const { system, user } = process.cpuUsage(before)
  const elapsed = performance.now() - start
  await stop()
  return ((system + user) / (elapsed * 1_000)) * 100
}

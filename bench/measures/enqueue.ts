import type { Size } from "../protocol.js"
import type { Queue } from "../subjects/subject.js"

const callers = 10
const batch = 1_000

/** Acknowledged runs per second. */
const perSecond = async (runs: number, send: () => Promise<void>): Promise<number> => {
  const start = performance.now()
  await send()
  return (runs * 1_000) / (performance.now() - start)
}

/** That all of them are there, and are there once. */
const check = async (queue: Queue, runs: number): Promise<void> => {
  const found = await queue.unfinished()
  if (found !== runs) {
    throw new Error(`${runs} runs were acknowledged, ${found} are there`)
  }
}

export const fill = async (queue: Queue, runs: number): Promise<void> => {
  for (let from = 0; from < runs; from += batch) {
    await queue.sendBulk(from, Math.min(from + batch, runs))
  }
}

/** Ten callers, each waiting for the acknowledgement of its run before it sends the next one. */
export const single = async (queue: Queue, { single }: Size): Promise<number> => {
  const result = await perSecond(single, () => queue.sendEach(0, single, callers))
  await check(queue, single)
  return result
}

/** One caller with batches of 1,000. */
export const bulk = async (queue: Queue, { bulk }: Size): Promise<number> => {
  const result = await perSecond(bulk, () => fill(queue, bulk))
  await check(queue, bulk)
  return result
}

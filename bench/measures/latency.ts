import { setTimeout as sleep } from "node:timers/promises"
import type { Size } from "../protocol.js"
import type { Queue } from "../subjects/subject.js"
import { untilFinished } from "./drain.js"

const concurrency = 10

/** Between two runs of an idle queue. */
const pauseMillis = 5

/** The sample below which this share of the samples lies. */
export const quantile = (samples: ReadonlyArray<number>, share: number): number => {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

const quantiles = (measure: string, samples: ReadonlyArray<number>) => ({
  [`${measure}-p50`]: quantile(samples, 0.5),
  [`${measure}-p99`]: quantile(samples, 0.99)
})

/** From the call that enqueues to the start of the handler, one run at a time. The first one warms up and is not counted. */
export const idle = async (queue: Queue, { latencySeconds }: Size) => {
  const samples: Array<number> = []
  let started = (_at: number) => {}
  const stop = await queue.consume(concurrency, () => started(performance.now()))
  const end = performance.now() + latencySeconds * 1_000
  for (let run = 0; run < 2 || performance.now() < end; run++) {
    await sleep(pauseMillis)
    const start = new Promise<number>((resolve) => {
      started = resolve
    })
    const sent = performance.now()
    const acknowledged = queue.send(run)
    const at = await start
    await acknowledged
    if (run > 0) {
      samples.push(at - sent)
    }
  }
  await untilFinished(queue)
  await stop()
  return quantiles("latency-idle", samples)
}

/**
 * From the moment at which a run was to be enqueued to the start of its handler, under a producer that keeps to its rate
 * whatever the queue does.
 */
export const underLoad = async (queue: Queue, { latencySeconds }: Size, perSecond: number) => {
  const samples: Array<number> = []
  const dueAt: Array<number> = []
  const acknowledged: Array<Promise<void>> = []
  const stop = await queue.consume(concurrency, (run) => samples.push(performance.now() - dueAt[run]!))
  const start = performance.now()
  const due = (run: number) => start + (run * 1_000) / perSecond
  const end = start + latencySeconds * 1_000
  for (let run = 0; due(run) < end; await sleep(1)) {
    for (; due(run) <= performance.now() && due(run) < end; run++) {
      dueAt.push(due(run))
      acknowledged.push(queue.send(run))
    }
  }
  await Promise.all(acknowledged)
  while (samples.length < dueAt.length) {
    await sleep(1)
  }
  await untilFinished(queue)
  await stop()
  return quantiles("latency-half", samples)
}

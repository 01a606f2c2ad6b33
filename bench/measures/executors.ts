/* What tasks that keep the processor busy do to the process of their consumer. */
import { setTimeout as sleep } from "node:timers/promises"
import { Backend, TaskConsumer, TaskManager } from "@effect-tasks/core"
import { NodeExecutor } from "@effect-tasks/node"
import { Effect, Layer, ManagedRuntime, Stream } from "effect"
import { Busy, BusyLive, Endless, Hash } from "../executor/tasks.js"
import type { Job, Size } from "../protocol.js"
import { quantile } from "./latency.js"

/** So many runs at one time, each so long. */
const busy = { runs: 2, millis: 50 }

const threads = NodeExecutor.layer(Busy, {
  entry: new URL("../executor/worker.js", import.meta.url),
  poolSize: busy.runs,
  eager: true
})

const open = async (handlers: typeof threads | typeof BusyLive) => {
  const runtime = ManagedRuntime.make(
    TaskConsumer.layer(Busy, { maxConcurrentTasks: busy.runs, grace: 0 }).pipe(
      Layer.provide(handlers),
      Layer.provideMerge(TaskManager.layer),
      Layer.provideMerge(Backend.layerMemory)
    )
  )
  await runtime.runtime()
  return runtime
}

/** By how many milliseconds a timer is late that is set again and again. */
const lateness = async (millis: number): Promise<ReadonlyArray<number>> => {
  const samples: Array<number> = []
  for (const end = performance.now() + millis; performance.now() < end; ) {
    const due = performance.now() + 1
    await sleep(1)
    samples.push(Math.max(0, performance.now() - due))
  }
  return samples
}

const jitter = (measure: Job, handlers: typeof threads | typeof BusyLive) => async (size: Size) => {
  const runtime = await open(handlers)
  const millis = 1_000 + size.latencySeconds * 1_000
  const work = Array.from({ length: (2 * busy.runs * millis) / busy.millis }, () => ({ millis: busy.millis }))
  await runtime.runPromise(Hash.queueAll(work))
  await sleep(2 * busy.millis)
  const samples = await lateness(millis)
  await runtime.dispose()
  return {
    [`${measure}-p50`]: quantile(samples, 0.5),
    [`${measure}-p99`]: quantile(samples, 0.99),
    [`${measure}-max`]: quantile(samples, 1)
  }
}

/** From the cancellation of a loop that heeds nothing to the end of its run. */
const cancel = async () => {
  const runtime = await open(threads)
  const program = Effect.gen(function* () {
    const run = yield* Endless.queue()
    yield* Stream.runHead(run.progress)
    const asked = performance.now()
    yield* run.cancel()
    yield* Effect.exit(run.await)
    return performance.now() - asked
  })
  const took = await runtime.runPromise(program)
  await runtime.dispose()
  return { "executor-cancel": took }
}

export const measures: { readonly [J in Job]?: (size: Size) => Promise<Readonly<Record<string, number>>> } = {
  "executor-inline": jitter("executor-inline", BusyLive),
  "executor-thread": jitter("executor-thread", threads),
  "executor-cancel": cancel
}

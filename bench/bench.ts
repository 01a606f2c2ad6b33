import { drain } from "./measures/drain.js"
import * as enqueue from "./measures/enqueue.js"
import * as footprint from "./measures/footprint.js"
import * as latency from "./measures/latency.js"
import type { Backend, Job, Request, Size } from "./protocol.js"
import { ours, subjects } from "./subjects/index.js"
import type { Aim, Queue, Subject } from "./subjects/subject.js"

/** What one process measures: one subject on one backend. */
export interface Bench {
  readonly round: (request: Request) => Promise<Readonly<Record<string, number>>>
  readonly remove: () => Promise<void>
}

type Values = Readonly<Record<string, number>>

const onQueue: { readonly [J in Job]?: (queue: Queue, size: Size) => Promise<number> } = {
  "enqueue-single": enqueue.single,
  "enqueue-bulk": enqueue.bulk,
  "drain-c10": drain(10),
  "drain-c100": drain(100),
  "memory-100k": footprint.memory,
  "cpu-idle": footprint.idleCpu
}

/** The jobs that every subject can be asked for. */
export const makeQueueBench = (subject: Subject): Bench => {
  const rates = new Map<Job, number>()

  const withQueue = async <A>(aim: Aim, use: (queue: Queue) => Promise<A>): Promise<A> => {
    const queue = await subject.open(aim)
    try {
      return await use(queue)
    } finally {
      await queue.close()
    }
  }

  const measure = async (job: Job, size: Size): Promise<Values> => {
    const perform = onQueue[job]
    if (perform === undefined) {
      throw new Error(`cannot measure ${job}`)
    }
    const value = await withQueue(job === "cpu-idle" ? "application" : "throughput", (queue) => perform(queue, size))
    rates.set(job, value)
    return { [job]: value }
  }

  const rate = async (job: Job, size: Size): Promise<number> => {
    if (!rates.has(job)) {
      await measure(job, size)
    }
    return rates.get(job)!
  }

  /**
   * Half of the load at which this process, which is producer and consumer at once, would have no time left: what it can
   * perform with a concurrency of 10, less what enqueueing those runs takes.
   */
  const halfLoad = async (size: Size): Promise<number> =>
    0.5 / (1 / (await rate("enqueue-single", size)) + 1 / (await rate("drain-c10", size)))

  const round = async ({ job, size }: Request): Promise<Values> => {
    if (job === "latency-idle") {
      return withQueue("application", (queue) => latency.idle(queue, size))
    }
    if (job === "latency-half") {
      const perSecond = await halfLoad(size)
      return withQueue("application", (queue) => latency.underLoad(queue, size, perSecond))
    }
    return measure(job, size)
  }

  return { round, remove: subject.remove }
}

/** Loads a subject for a process of that name. What an earlier process has left of it is removed. */
export const load = async (backend: Backend, subject: string, process: string): Promise<Bench> => {
  // a peer's process does not load Effect for ours
  const bench =
    subject === ours
      ? (await import("./oursBench.js")).make(backend, process.replaceAll(/\W+/g, "_"))
      : makeQueueBench(await subjectOf(backend, subject))
  await bench.remove()
  return bench
}

const subjectOf = (backend: Backend, name: string): Promise<Subject> => {
  const subject = subjects[backend][name]
  if (subject === undefined) {
    throw new Error(`there is no ${name} on ${backend}`)
  }
  return subject()
}

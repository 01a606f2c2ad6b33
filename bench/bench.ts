import * as claims from "./measures/claims.js"
import { drain } from "./measures/drain.js"
import * as enqueue from "./measures/enqueue.js"
import * as footprint from "./measures/footprint.js"
import * as latency from "./measures/latency.js"
import type { Backend, Job, Request, Size } from "./protocol.js"
import * as effectTasks from "./subjects/effectTasks.js"
import { ours, subjects } from "./subjects/index.js"
import { type Place, places } from "./subjects/places.js"
import type { Queue, Subject } from "./subjects/subject.js"

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

const scales: { readonly [J in Job]?: claims.Scale } = {
  "claim-1k": { backlog: 1_000, history: 0 },
  "claim-100k": { backlog: 100_000, history: 0 },
  "claim-1m": { backlog: 1_000_000, history: 0 },
  "claim-history-0": { backlog: 1_000, history: 0 },
  "claim-history-100k": { backlog: 1_000, history: 100_000 },
  "claim-history-1m": { backlog: 1_000, history: 1_000_000 }
}

const makeQueueBench = (subject: Subject): Bench => {
  const rates = new Map<Job, number>()

  const withQueue = async <A>(use: (queue: Queue) => Promise<A>): Promise<A> => {
    const queue = await subject.open()
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
    const value = await withQueue((queue) => perform(queue, size))
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
      return withQueue((queue) => latency.idle(queue, size))
    }
    if (job === "latency-half") {
      const perSecond = await halfLoad(size)
      return withQueue((queue) => latency.underLoad(queue, size, perSecond))
    }
    return measure(job, size)
  }

  return { round, remove: subject.remove }
}

/** Ours can do more: the broker's claims are measured by themselves. */
const makeOurs = (place: Place): Bench => {
  const bench = makeQueueBench(effectTasks.make(place))
  let prepared: claims.Claims | undefined
  return {
    round: async (request) => {
      const scale = scales[request.job]
      if (scale === undefined) {
        return bench.round(request)
      }
      // a process that measures claims measures nothing else
      prepared ??= await claims.open(place.fresh(scale.history), scale)
      return { [request.job]: await prepared.round() }
    },
    remove: async () => {
      await prepared?.close()
      await bench.remove()
    }
  }
}

/** Loads a subject. What an earlier process has left of it is removed. */
export const load = async (backend: Backend, name: string): Promise<Bench> => {
  const place = places[backend]
  const subject = subjects[backend][name]
  const bench =
    name === ours && place !== undefined
      ? makeOurs(place())
      : subject === undefined
        ? undefined
        : makeQueueBench(await subject())
  if (bench === undefined) {
    throw new Error(`there is no ${name} on ${backend}`)
  }
  await bench.remove()
  return bench
}

import { type Bench, makeQueueBench } from "./bench.js"
import * as claims from "./measures/claims.js"
import * as executors from "./measures/executors.js"
import type { Backend, Job } from "./protocol.js"
import * as effectTasks from "./subjects/effectTasks.js"
import { places } from "./subjects/places.js"

const scales: { readonly [J in Job]?: claims.Scale } = {
  "claim-1k": { backlog: 1_000, history: 0 },
  "claim-100k": { backlog: 100_000, history: 0 },
  "claim-1m": { backlog: 1_000_000, history: 0 },
  "claim-history-0": { backlog: 1_000, history: 0 },
  "claim-history-100k": { backlog: 1_000, history: 100_000 },
  "claim-history-1m": { backlog: 1_000, history: 1_000_000 },
  "claim-beside-none": { backlog: 1_000, history: 0 },
  "claim-beside-task": { backlog: 1_000, history: 0, beside: { runs: 1_000_000, shutBy: "task" } },
  "claim-beside-key": { backlog: 1_000, history: 0, beside: { runs: 1_000_000, shutBy: "key" } },
  "claim-beside-queue": { backlog: 1_000, history: 0, beside: { runs: 1_000_000, shutBy: "queue" } }
}

/** Ours can do more than its peers are asked for: the broker's claims, and the executors, are measured by themselves. */
export const make = (backend: Backend, name: string): Bench => {
  const place = places[backend](name)
  const bench = makeQueueBench(effectTasks.make(place))
  let prepared: claims.Claims | undefined
  return {
    round: async (request) => {
      const measure = executors.measures[request.job]
      if (measure !== undefined) {
        return measure(request.size)
      }
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

import PQueue from "p-queue"
import { payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"

/** Jobs wait while the queue is paused, which is how it is filled before its consumer starts. No limits in time: quickest. */
const open = (): Promise<Queue> => {
  const queue = new PQueue({ autoStart: false })
  let perform = (_job: number): void => {}
  const functionOf =
    ({ n }: { readonly n: number }) =>
    async () =>
      perform(n)
  const add = (job: number) => void queue.add(functionOf(payloadOf(job)))
  return Promise.resolve({
    send: async (job) => add(job),
    sendEach: async (from, to) => {
      for (let job = from; job < to; job++) {
        add(job)
      }
    },
    sendBulk: async (from, to) => void queue.addAll(payloadsOf(from, to).map(functionOf)),
    consume: async (concurrency, handler) => {
      perform = handler
      queue.concurrency = concurrency
      queue.start()
      return async () => void queue.pause()
    },
    unfinished: async () => queue.size + queue.pending,
    close: async () => queue.clear()
  })
}

export const make = (): Subject => ({ open, remove: () => Promise.resolve() })

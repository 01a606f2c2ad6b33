import fastq from "fastq"
import { type Payload, payloadOf, type Queue, type Subject } from "./subject.js"

/** With callbacks, which are quicker than its promises. It has no call for many jobs at once. */
const open = (): Promise<Queue> => {
  let perform = (_job: number): void => {}
  const queue = fastq<unknown, Payload>(({ n }, done) => {
    perform(n)
    // not at once: that would perform all waiting jobs inside of each other
    queueMicrotask(() => done(null))
  }, 1)
  queue.pause()
  const pushAll = async (from: number, to: number) => {
    for (let job = from; job < to; job++) {
      queue.push(payloadOf(job))
    }
  }
  return Promise.resolve({
    send: async (job) => queue.push(payloadOf(job)),
    sendEach: pushAll,
    sendBulk: pushAll,
    consume: async (concurrency, handler) => {
      perform = handler
      queue.concurrency = concurrency
      queue.resume()
      return async () => void queue.pause()
    },
    unfinished: async () => queue.length() + queue.running(),
    close: async () => void queue.kill()
  })
}

export const make = (): Subject => ({ open, remove: () => Promise.resolve() })

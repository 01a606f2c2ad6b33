import Database from "better-sqlite3"
import { better, defineQueue, defineWorker, JobStatus } from "plainjob"
import * as files from "./files.js"
import { eachOf, type Payload, payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"

const silent = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }

/**
 * It sets WAL and synchronous NORMAL itself. A worker performs one job at a time, so concurrency is a number of workers; they
 * poll, by default once a second.
 */
const open = (filename: string): Queue => {
  const queue = defineQueue({ connection: better(new Database(filename)), logger: silent })
  const send = async (job: number) => void queue.add("noop", payloadOf(job))

  const consume: Queue["consume"] = async (concurrency, perform) => {
    const worker = () =>
      defineWorker("noop", ({ data }) => perform((JSON.parse(data) as Payload).n), {
        queue,
        logger: silent,
        pollIntervall: 10
      })
    const workers = Array.from({ length: concurrency }, worker)
    const ended = workers.map((worker) => worker.start())
    return async () => {
      await Promise.all(workers.map((worker) => worker.stop()))
      await Promise.all(ended)
    }
  }

  return {
    send,
    sendEach: eachOf(send),
    sendBulk: async (from, to) => void queue.addMany("noop", payloadsOf(from, to)),
    consume,
    unfinished: async () =>
      queue.countJobs({ status: JobStatus.Pending }) + queue.countJobs({ status: JobStatus.Processing }),
    close: async () => queue.close()
  }
}

export const make = (): Subject => {
  const { fresh, remove } = files.make()
  return { open: async () => open(await fresh()), remove }
}

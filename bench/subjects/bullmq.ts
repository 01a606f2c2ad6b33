import { createPostgresBackend, withBackend } from "bullmq"
import * as postgres from "./postgres.js"
import { eachOf, type Queue as Opened, type Payload, payloadOf, payloadsOf, type Subject } from "./subject.js"

const schema = "bench_bullmq"
const name = "noop"

const { Queue, Worker } = withBackend(createPostgresBackend)

/** A queue and a worker have a pool each, and never need both in full. The worker is woken by LISTEN. */
const connection = { connectionString: postgres.url, max: postgres.connections, schema, migrate: true }

/** Its guide advises to remove what is done: a table that grows makes it slower. */
const defaultJobOptions = { removeOnComplete: true }

const open = async (): Promise<Opened> => {
  const queue = new Queue<Payload>(name, { connection, defaultJobOptions })
  queue.on("error", () => {})
  await queue.waitUntilReady()
  const send = async (job: number) => void (await queue.add(name, payloadOf(job)))

  const consume: Opened["consume"] = async (concurrency, perform) => {
    const worker = new Worker<Payload>(name, async ({ data }) => perform(data.n), { connection, concurrency })
    worker.on("error", () => {})
    await worker.waitUntilReady()
    return () => worker.close()
  }

  return {
    send,
    sendEach: eachOf(send),
    sendBulk: async (from, to) => void (await queue.addBulk(payloadsOf(from, to).map((data) => ({ name, data })))),
    consume,
    unfinished: async () => {
      const counts = await queue.getJobCounts("waiting", "active", "delayed", "prioritized")
      return Object.values(counts).reduce((sum, jobs) => sum + jobs, 0)
    },
    close: async () => {
      await queue.obliterate({ force: true })
      await queue.close()
    }
  }
}

export const make = (): Subject => ({ open, remove: () => postgres.dropSchema(schema) })

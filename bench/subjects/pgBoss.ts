import PgBoss from "pg-boss"
import * as postgres from "./postgres.js"
import { eachOf, type Payload, payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"

const schema = "bench_pg_boss"
const name = "noop"

/** So many jobs a worker fetches, performs and completes at once. */
const batchSize = 100

/**
 * It polls, at the most twice a second, unless a worker is notified; what knows of work in the same process does that here:
 * whoever sends, and a worker that found a full batch. Concurrency is a number of workers; more than there are connections
 * would only wait for one. Schedules are off, its other maintenance is on.
 */
const open = async (): Promise<Queue> => {
  const boss = new PgBoss({
    connectionString: postgres.url,
    schema,
    max: postgres.connections,
    schedule: false
  })
  boss.on("error", () => {})
  await boss.start()
  await boss.createQueue(name)
  await boss.clearStorage()
  let workers: Array<string> = []
  let turn = 0

  const send = async (job: number) => {
    await boss.send(name, payloadOf(job))
    const worker = workers[turn++ % workers.length]
    if (worker !== undefined) {
      boss.notifyWorker(worker)
    }
  }

  const consume: Queue["consume"] = async (concurrency, perform) => {
    for (let i = 0; i < Math.min(concurrency, postgres.connections); i++) {
      const id = await boss.work<Payload>(name, { batchSize, pollingIntervalSeconds: 0.5 }, async (jobs) => {
        for (const { data } of jobs) {
          perform(data.n)
        }
        if (jobs.length === batchSize) {
          boss.notifyWorker(id)
        }
      })
      workers.push(id)
    }
    return async () => {
      workers = []
      await boss.offWork(name)
    }
  }

  return {
    send,
    sendEach: eachOf(send),
    sendBulk: (from, to) => boss.insert(payloadsOf(from, to).map((data) => ({ name, data }))),
    consume,
    unfinished: () => boss.getQueueSize(name, { before: "completed" }),
    close: () => boss.stop({ wait: true, graceful: true, timeout: 5_000 })
  }
}

export const make = (): Subject => ({ open, remove: () => postgres.dropSchema(schema) })

import { Logger, makeWorkerUtils, run } from "graphile-worker"
import type pg from "pg"
import * as postgres from "./postgres.js"
import { eachOf, type Payload, payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"

const schema = "bench_graphile_worker"

const logger = new Logger(() => () => {})

/**
 * The settings of its own page on performance: jobs are fetched 500 at a time, and completions that come together are written
 * together. It is woken by LISTEN, so its polling stays as it is.
 */
const batching = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }

const open = async (pool: pg.Pool): Promise<Queue> => {
  const utils = await makeWorkerUtils({ pgPool: pool, schema, logger })
  await utils.migrate()
  await pool.query(`TRUNCATE ${schema}._private_jobs`)
  const send = async (job: number) => void (await utils.addJob("noop", payloadOf(job)))

  const consume: Queue["consume"] = async (concurrency, perform) => {
    const runner = await run({
      pgPool: pool,
      taskList: { noop: (payload) => perform((payload as Payload).n) },
      noHandleSignals: true,
      preset: {
        worker: { schema, logger, concurrentJobs: concurrency, maxPoolSize: postgres.connections, ...batching }
      }
    })
    return () => runner.stop()
  }

  return {
    send,
    sendEach: eachOf(send),
    sendBulk: async (from, to) =>
      void (await utils.addJobs(payloadsOf(from, to).map((payload) => ({ identifier: "noop", payload })))),
    consume,
    unfinished: async () => {
      const { rows } = await pool.query<{ readonly jobs: string }>(
        `SELECT count(*) AS jobs FROM ${schema}._private_jobs`
      )
      return Number(rows[0]?.jobs)
    },
    close: async () => {
      await utils.release()
      await pool.end()
    }
  }
}

export const make = (): Subject => ({
  open: () => open(postgres.pool()),
  remove: () => postgres.dropSchema(schema)
})

/*
 * The driver itself, doing the rows' work and nothing else: an insert per job, a claim that leases 200 rows, and a completion
 * that moves them to a history. What this costs, a queue with such rows cannot save; one without a history has less to do.
 */
import type pg from "pg"
import * as postgres from "./postgres.js"
import { eachOf, type Payload, payloadOf, payloadsOf, type Queue, type Subject } from "./subject.js"
import * as wakeable from "./wakeable.js"

const schema = "bench_raw"
const perClaim = 200
const perInsert = 500

const tables = `
CREATE SCHEMA ${schema};
CREATE TABLE ${schema}.queue (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), lane text NOT NULL, rank bigint NOT NULL, state text NOT NULL,
  fence integer NOT NULL, created_at bigint NOT NULL, started_at bigint, lease_until bigint, payload text NOT NULL
);
CREATE INDEX ON ${schema}.queue (lane, rank, id) WHERE state = 'queued';
CREATE TABLE ${schema}.history (
  id uuid PRIMARY KEY, lane text NOT NULL, state text NOT NULL, created_at bigint NOT NULL, started_at bigint NOT NULL,
  ended_at bigint NOT NULL, outcome text NOT NULL, ledger text NOT NULL, payload text NOT NULL
)`

/** Named, so that they are prepared once per connection. */
const statement = (name: string, text: string) => (values: ReadonlyArray<unknown>) => ({
  name,
  text,
  values: [...values]
})

const insertOne = statement(
  "insert",
  `INSERT INTO ${schema}.queue (lane, rank, state, fence, created_at, payload) VALUES ('noop', $1, 'queued', 0, $1, $2)`
)
const insertMany = statement(
  "insertMany",
  `INSERT INTO ${schema}.queue (lane, rank, state, fence, created_at, payload)
SELECT 'noop', $1, 'queued', 0, $1, payload FROM unnest($2::text[]) AS payload`
)
const claim = statement(
  "claim",
  `UPDATE ${schema}.queue SET state = 'running', fence = fence + 1, started_at = $1, lease_until = $2 WHERE id IN (
  SELECT id FROM ${schema}.queue WHERE state = 'queued' AND lane = 'noop'
  ORDER BY rank, id LIMIT ${perClaim} FOR UPDATE SKIP LOCKED
) RETURNING id, payload`
)
const complete = statement(
  "complete",
  `WITH ended AS (DELETE FROM ${schema}.queue WHERE id = ANY($1::uuid[]) RETURNING *)
INSERT INTO ${schema}.history SELECT id, lane, 'success', created_at, started_at, $2, $3, $4, payload FROM ended`
)

const outcome = JSON.stringify({ _tag: "Success" })

const open = (pool: pg.Pool): Queue => {
  const { start, wake } = wakeable.make()

  const send = async (job: number) => {
    await pool.query(insertOne([Date.now(), JSON.stringify(payloadOf(job))]))
    wake()
  }
  const sendBulk = async (from: number, to: number) => {
    for (let at = from; at < to; at += perInsert) {
      const payloads = payloadsOf(at, Math.min(at + perInsert, to)).map((payload) => JSON.stringify(payload))
      await pool.query(insertMany([Date.now(), payloads]))
    }
    wake()
  }
  const work = async (perform: (job: number) => void) => {
    const now = Date.now()
    const { rows } = await pool.query<{ readonly id: string; readonly payload: string }>(claim([now, now + 30_000]))
    for (const { payload } of rows) {
      perform((JSON.parse(payload) as Payload).n)
    }
    if (rows.length > 0) {
      const ledger = JSON.stringify([{ number: 1, startedAt: now, endedAt: Date.now(), outcome: "Success" }])
      await pool.query(complete([rows.map(({ id }) => id), Date.now(), outcome, ledger]))
    }
    return rows.length > 0
  }

  return {
    send,
    sendEach: eachOf(send),
    sendBulk,
    consume: async (concurrency, perform) => start(Math.min(concurrency, postgres.connections), () => work(perform)),
    unfinished: async () => {
      const { rows } = await pool.query<{ readonly jobs: string }>(`SELECT count(*) AS jobs FROM ${schema}.queue`)
      return Number(rows[0]?.jobs)
    },
    close: () => pool.end()
  }
}

export const make = (): Subject => ({
  open: async () => {
    await postgres.dropSchema(schema)
    const pool = postgres.pool()
    await pool.query(tables)
    return open(pool)
  },
  remove: () => postgres.dropSchema(schema)
})

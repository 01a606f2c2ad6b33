/*
 * The driver itself, doing the rows' work and nothing else: an insert per job, a claim that leases 100 rows, and a completion
 * that moves them to a history. What this costs, a queue with such rows cannot save; one with integers for ids, or without a
 * history, has less to do.
 */
import { randomUUID } from "node:crypto"
import Database from "better-sqlite3"
import * as files from "./files.js"
import { type Payload, payloadOf, type Queue, type Subject } from "./subject.js"
import * as wakeable from "./wakeable.js"

const perClaim = 100

const schema = `
CREATE TABLE queue (
  id TEXT NOT NULL PRIMARY KEY, lane TEXT NOT NULL, rank INTEGER NOT NULL, state TEXT NOT NULL, fence INTEGER NOT NULL,
  created_at INTEGER NOT NULL, started_at INTEGER, lease_until INTEGER, payload TEXT NOT NULL
);
CREATE INDEX queue_next ON queue (lane, rank, id) WHERE state = 'queued';
CREATE TABLE history (
  id TEXT NOT NULL PRIMARY KEY, lane TEXT NOT NULL, state TEXT NOT NULL, created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, outcome TEXT NOT NULL, ledger TEXT NOT NULL,
  payload TEXT NOT NULL
);`

const statements = (db: Database.Database) => ({
  insert: db.prepare(
    "INSERT INTO queue (id, lane, rank, state, fence, created_at, payload) VALUES (?, 'noop', ?, 'queued', 0, ?, ?)"
  ),
  claim: db.prepare<[number, number], { readonly id: string; readonly payload: string }>(
    `UPDATE queue SET state = 'running', fence = fence + 1, started_at = ?, lease_until = ? WHERE rowid IN (
  SELECT rowid FROM queue WHERE state = 'queued' AND lane = 'noop' ORDER BY rank, id LIMIT ${perClaim}
) RETURNING id, payload`
  ),
  record: db.prepare(
    `INSERT INTO history SELECT id, lane, 'success', created_at, started_at, ?, ?, ?, payload FROM queue
WHERE id IN (SELECT value FROM json_each(?))`
  ),
  end: db.prepare("DELETE FROM queue WHERE id IN (SELECT value FROM json_each(?))"),
  count: db.prepare<[], { readonly jobs: number }>("SELECT count(*) AS jobs FROM queue")
})

const outcome = JSON.stringify({ _tag: "Success" })

const open = (filename: string): Queue => {
  const db = new Database(filename)
  db.pragma("journal_mode = WAL")
  db.pragma("synchronous = NORMAL")
  db.exec(schema)
  const { claim, count, end, insert, record } = statements(db)
  const { start, wake } = wakeable.make()

  const add = (job: number) => {
    const now = Date.now()
    insert.run(randomUUID(), now, now, JSON.stringify(payloadOf(job)))
  }
  const addAll = (from: number, to: number) => {
    for (let job = from; job < to; job++) {
      add(job)
    }
    wake()
  }
  const addTogether = db.transaction(addAll)
  const complete = db.transaction((ids: ReadonlyArray<string>, ledger: string) => {
    const json = JSON.stringify(ids)
    record.run(Date.now(), outcome, ledger, json)
    end.run(json)
  })

  const work = async (perform: (job: number) => void) => {
    const now = Date.now()
    const jobs = claim.all(now, now + 30_000)
    for (const { payload } of jobs) {
      perform((JSON.parse(payload) as Payload).n)
    }
    if (jobs.length > 0) {
      const ids = jobs.map(({ id }) => id)
      complete(ids, JSON.stringify([{ number: 1, startedAt: now, endedAt: Date.now(), outcome: "Success" }]))
      await new Promise(setImmediate)
    }
    return jobs.length > 0
  }

  return {
    send: async (job) => addAll(job, job + 1),
    sendEach: async (from, to) => addAll(from, to),
    sendBulk: async (from, to) => addTogether(from, to),
    consume: async (_concurrency, perform) => start(1, () => work(perform)),
    unfinished: async () => count.get()?.jobs ?? 0,
    close: async () => void db.close()
  }
}

export const make = (): Subject => {
  const { fresh, remove } = files.make()
  return { open: async () => open(await fresh()), remove }
}

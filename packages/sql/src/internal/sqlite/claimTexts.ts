import { runColumns } from "../rows.js"
import { heldNameOf } from "./controls.js"
import type { Tables } from "./schema.js"

const rowColumns = `${runColumns}, was_scheduled, rowid`

/** A key's name is only looked up for runs whose lease has ended. */
const isUnheld = (t: Tables) => `NOT EXISTS (
    SELECT 1 FROM ${t.rate} AS held WHERE held.name = ${heldNameOf("run")} AND held.until > :now
  )`

/**
 * The texts of a claim. Each is constant, whatever the number of tasks and runs, and reads nothing but the index entries
 * that it answers with. (Short statements in a row are quicker here than one that says it all.)
 */
export const makeTexts = (t: Tables) => ({
  running: `SELECT value AS task, (
  SELECT count(*) FROM ${t.queue} WHERE state = 'running' AND task = value
) AS running FROM json_each(:tasks)`,

  // Which lane with a due run comes last, and when the first run that is still to be moved to its lane is due.
  places: `SELECT served.value AS task, source.value AS queue, (
  SELECT max(lane) FROM ${t.queue} WHERE state = 'queued'
    AND lane >= source.value || char(31) || served.value AND lane < source.value || char(31) || served.value || ' '
) AS lastLane, (
  SELECT due_at FROM ${t.queue} AS run
  WHERE run.state = 'scheduled' AND run.task = served.value AND run.queue = source.value ORDER BY due_at LIMIT 1
) AS dueAt FROM json_each(:tasks) AS served CROSS JOIN json_each(:queues) AS source`,

  // Whether a lease of these tasks has ended, and when the next lease of another ends.
  leases: `SELECT (
  SELECT min((
    SELECT lease_until FROM ${t.queue}
    WHERE state = 'running' AND task = value AND lease_until > :now AND consumer <> :consumer
    ORDER BY lease_until LIMIT 1
  )) FROM json_each(:served)
) AS next, EXISTS (
  SELECT 1 FROM json_each(:tasks) WHERE EXISTS (
    SELECT 1 FROM ${t.queue} WHERE state = 'running' AND task = value AND lease_until <= :now
      AND queue IN (SELECT value FROM json_each(:queues))
  )
) AS expired`,

  // When the next hold ends of keys of a run whose lease has ended.
  heldUntil: `SELECT min(held.until) AS until
FROM json_each(:tasks) AS task CROSS JOIN ${t.queue} AS run CROSS JOIN ${t.rate} AS held
WHERE run.state = 'running' AND run.task = task.value AND run.lease_until <= :now
  AND held.name = ${heldNameOf("run")} AND held.until > :now`,

  promote: `UPDATE ${t.queue} SET state = 'queued' WHERE rowid IN (
  SELECT rowid FROM ${t.queue} WHERE state = 'scheduled' AND task = :task AND queue = :queue AND due_at <= :now
  ORDER BY due_at LIMIT :portion
)`,

  heads: `SELECT rowid, rank, id FROM ${t.queue} WHERE state = 'queued' AND lane = :lane ORDER BY rank, id LIMIT :limit`,

  // The rows of one lane, in their order, without the detour over the heads.
  headRows: `SELECT ${rowColumns} FROM ${t.queue}
WHERE state = 'queued' AND lane = :lane ORDER BY rank, id LIMIT :limit`,

  rows: `SELECT ${rowColumns} FROM ${t.queue} WHERE rowid IN (SELECT value FROM json_each(:rows))`,

  expired: `SELECT ${rowColumns} FROM ${t.queue} WHERE rowid IN (
  SELECT run.rowid FROM json_each(:tasks) AS task CROSS JOIN ${t.queue} AS run
  WHERE run.state = 'running' AND run.task = task.value AND run.lease_until <= :now
    AND run.queue IN (SELECT value FROM json_each(:queues)) AND ${isUnheld(t)}
  ORDER BY run.lease_until, run.id LIMIT :limit
) ORDER BY lease_until, id`,

  crash: `UPDATE ${t.queue} SET ledger = :ledger WHERE rowid = :row`,

  start: `UPDATE ${t.queue} SET
  crashes = crashes + (state = 'running'), state = 'running', fence = fence + 1, consumer = :consumer,
  lease_until = :leaseUntil, started_at = :now
WHERE rowid IN (SELECT value FROM json_each(:rows))`
})

/** What a claim with limits reads. Each text goes down an index, as far as the claim needs. */
export const makeAdmissionTexts = (t: Tables) => ({
  running: `SELECT task, limit_keys AS limitKeys, count(*) AS runs FROM ${t.queue}
WHERE state = 'running' AND task IN (SELECT value FROM json_each(:tasks)) GROUP BY task, limit_keys`,

  runningOfQueues: `SELECT queue, count(*) AS runs FROM ${t.queue} INDEXED BY ${t.queue}_lease
WHERE state = 'running' AND queue IN (SELECT value FROM json_each(:queues)) GROUP BY queue`,

  // The next lanes behind one: from each the index is entered anew, so the runs in between are not read.
  lanes: `WITH RECURSIVE next (lane, place) AS (
  SELECT (SELECT min(lane) FROM ${t.queue} WHERE state = 'queued' AND lane > :from AND lane < :end), 1
  UNION ALL
  SELECT (
    SELECT min(run.lane) FROM ${t.queue} AS run WHERE run.state = 'queued' AND run.lane > next.lane AND run.lane < :end
  ), place + 1 FROM next WHERE lane IS NOT NULL AND place < :most
)
SELECT lane FROM next WHERE lane IS NOT NULL`,

  heads: `SELECT run.lane AS lane, run.rowid AS rowid, run.id AS id, run.rank AS rank, run.priority AS priority,
  run.due_at AS dueAt
FROM json_each(:lanes) AS wanted CROSS JOIN ${t.queue} AS run
WHERE run.rowid IN (
  SELECT rowid FROM ${t.queue} WHERE state = 'queued' AND lane = wanted.value ORDER BY rank, id LIMIT :most
)`,

  moreHeads: `SELECT rowid, id, rank, priority, due_at AS dueAt FROM ${t.queue}
WHERE state = 'queued' AND lane = :lane AND (rank, id) > (:rank, :id) ORDER BY rank, id LIMIT :most`,

  rates: `SELECT name, until, used FROM ${t.rate} WHERE name IN (SELECT value FROM json_each(:names))`
})

import { InvalidOption } from "@effect-tasks/core/TaskError"
import { Either } from "effect"

/** The names of the tables. */
export interface Tables {
  readonly queue: string
  readonly history: string
  readonly count: string
  readonly log: string
  readonly key: string
  readonly control: string
  readonly rate: string
  readonly lock: string
  readonly consumer: string
  readonly schedule: string
  readonly migrations: string
}

/** The names under a prefix, which must be an identifier itself: it becomes a part of every statement. */
export const tables = (prefix: string): Either.Either<Tables, InvalidOption> =>
  /^[a-z][a-z0-9_]*$/i.test(prefix) && !/^sqlite_/i.test(prefix)
    ? Either.right({
        queue: `${prefix}queue`,
        history: `${prefix}history`,
        count: `${prefix}count`,
        log: `${prefix}log`,
        key: `${prefix}key`,
        control: `${prefix}control`,
        rate: `${prefix}rate`,
        lock: `${prefix}lock`,
        consumer: `${prefix}consumer`,
        schedule: `${prefix}schedule`,
        migrations: `${prefix}migrations`
      })
    : Either.left(
        new InvalidOption({
          option: "prefix",
          value: prefix,
          expected: "a letter, then letters, digits and underscores, and not sqlite_"
        })
      )

// Short columns stand before the texts, so that a scan over them need not follow a row into its overflow pages.
const runColumns = `
  id TEXT NOT NULL PRIMARY KEY,
  task TEXT NOT NULL,
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  payload_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  attempt INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  consumer TEXT,
  lease_until INTEGER,
  logged INTEGER NOT NULL,
  snoozes INTEGER NOT NULL,
  expires_at INTEGER,
  group_id TEXT,
  limit_keys TEXT,
  key TEXT,
  key_hold INTEGER,
  key_until INTEGER,
  key_latest INTEGER,
  key_conflict TEXT,
  parent_id TEXT,
  root_id TEXT,
  retry_of TEXT,
  traceparent TEXT,
  tags TEXT NOT NULL,
  progress TEXT,
  outcome TEXT,
  ledger TEXT NOT NULL,
  payload TEXT NOT NULL`

const counted = (t: Tables, row: "NEW" | "OLD", change: 1 | -1): string =>
  `INSERT INTO ${t.count} (queue, task, state, runs) VALUES (${row}.queue, ${row}.task, ${row}.state, ${change})
  ON CONFLICT (queue, task, state) DO UPDATE SET runs = runs + ${change};`

/** The first version of the tables. Each statement is one text. */
export const version1 = (t: Tables): ReadonlyArray<string> => [
  // Unfinished runs only. Each index serves one question of a claim and holds only the rows that can answer it, so a claim
  // reads neither history nor runs that it may not take.
  `CREATE TABLE ${t.queue} (
  lane TEXT NOT NULL,
  rank INTEGER NOT NULL,
  was_scheduled INTEGER NOT NULL,
  cancel_reason TEXT,${runColumns}
)`,
  `CREATE INDEX ${t.queue}_next ON ${t.queue} (lane, rank, id) WHERE state = 'queued'`,
  `CREATE INDEX ${t.queue}_due ON ${t.queue} (task, queue, due_at) WHERE state = 'scheduled'`,
  `CREATE INDEX ${t.queue}_lease ON ${t.queue} (task, lease_until, consumer) WHERE state = 'running'`,
  `CREATE INDEX ${t.queue}_cancel ON ${t.queue} (id) WHERE cancel_reason IS NOT NULL`,

  // Ended runs. Newest first is the order of the primary key. Most runs are successes, and every index that they enter is
  // paid for at each settlement: among them the filters of a query are found by reading on, the others have indexes.
  `CREATE TABLE ${t.history} (${runColumns}
)`,
  `CREATE INDEX ${t.history}_state ON ${t.history} (state, id) WHERE state <> 'success'`,
  `CREATE INDEX ${t.history}_task ON ${t.history} (task, id)`,
  `CREATE INDEX ${t.history}_task_state ON ${t.history} (task, state, id) WHERE state <> 'success'`,
  `CREATE INDEX ${t.history}_group ON ${t.history} (group_id, id) WHERE group_id IS NOT NULL`,
  `CREATE INDEX ${t.history}_parent ON ${t.history} (parent_id, id) WHERE parent_id IS NOT NULL`,
  `CREATE INDEX ${t.history}_root ON ${t.history} (root_id, id) WHERE root_id IS NOT NULL`,

  // How many runs of the history are in each state: a history may be long, and counting it would stop the event loop. What
  // is added is counted by the statement that adds it, all of a batch at once; a trigger would run for each row.
  `CREATE TABLE ${t.count} (
  queue TEXT NOT NULL,
  task TEXT NOT NULL,
  state TEXT NOT NULL,
  runs INTEGER NOT NULL,
  PRIMARY KEY (queue, task, state)
) WITHOUT ROWID`,
  `CREATE TRIGGER ${t.history}_deleted AFTER DELETE ON ${t.history} BEGIN ${counted(t, "OLD", -1)} END`,
  `CREATE TRIGGER ${t.history}_updated AFTER UPDATE OF queue, task, state ON ${t.history}
WHEN (OLD.queue, OLD.task, OLD.state) <> (NEW.queue, NEW.task, NEW.state)
BEGIN ${counted(t, "OLD", -1)} ${counted(t, "NEW", 1)} END`,

  `CREATE TABLE ${t.log} (
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at INTEGER NOT NULL,
  level TEXT NOT NULL,
  message TEXT NOT NULL,
  annotations TEXT NOT NULL,
  spans TEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
) WITHOUT ROWID`,

  // Idempotency keys outlive the row in the queue. held_until NULL: while the run is unfinished, or for ever.
  `CREATE TABLE ${t.key} (
  task TEXT NOT NULL,
  key TEXT NOT NULL,
  run_id TEXT NOT NULL,
  held_until INTEGER,
  PRIMARY KEY (task, key)
)`,
  `CREATE INDEX ${t.key}_held ON ${t.key} (held_until) WHERE held_until IS NOT NULL`,

  `CREATE TABLE ${t.control} (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  held_until INTEGER,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID`,

  // What has passed a rate limit, and until when keys are held (see rateNames and heldName). Well after `until` a row says nothing.
  `CREATE TABLE ${t.rate} (
  name TEXT NOT NULL PRIMARY KEY,
  until INTEGER NOT NULL,
  used INTEGER NOT NULL
) WITHOUT ROWID`,
  `CREATE INDEX ${t.rate}_until ON ${t.rate} (until)`,

  // Locks that are held, or whose holder died. A number is never given twice, so it tells an older holder from a newer one.
  `CREATE TABLE ${t.lock} (
  fence INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  held_until INTEGER NOT NULL
)`,
  `CREATE INDEX ${t.lock}_until ON ${t.lock} (held_until)`,

  `CREATE TABLE ${t.consumer} (
  id TEXT NOT NULL PRIMARY KEY,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  queues TEXT NOT NULL,
  tasks TEXT NOT NULL,
  max_concurrent_tasks INTEGER NOT NULL,
  running INTEGER NOT NULL,
  stopping INTEGER NOT NULL
) WITHOUT ROWID`,

  `CREATE TABLE ${t.schedule} (
  name TEXT NOT NULL PRIMARY KEY,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  next_tick INTEGER,
  waiting_tick INTEGER,
  last_tick INTEGER,
  last_run_id TEXT,
  task TEXT NOT NULL,
  scope TEXT,
  unfinished TEXT NOT NULL,
  spec TEXT NOT NULL,
  run TEXT NOT NULL,
  declared TEXT
)`
]

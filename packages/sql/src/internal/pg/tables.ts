import { literal, type Names } from "./names.js"

/*
 * The tables. Times are epoch milliseconds, and no default or rule here reads the server's clock.
 *
 * Columns of a fixed length stand first: they need no padding between them, and are found without walking over the texts.
 */

/** The columns of a run and their types, in the order in which they are stored. */
export const columnTypes = {
  id: "uuid",
  parent_id: "uuid",
  root_id: "uuid",
  retry_of: "uuid",
  created_at: "bigint",
  due_at: "bigint",
  started_at: "bigint",
  ended_at: "bigint",
  lease_until: "bigint",
  expires_at: "bigint",
  key_hold: "bigint",
  key_until: "bigint",
  key_latest: "bigint",
  priority: "int",
  payload_version: "int",
  attempt: "int",
  crashes: "int",
  fence: "int",
  snoozes: "int",
  logged: "int",
  state: "text",
  task: "text",
  queue: "text",
  consumer: "text",
  group_id: "text",
  limit_keys: "text",
  key: "text",
  key_conflict: "text",
  traceparent: "text",
  tags: "text",
  progress: "text",
  outcome: "text",
  ledger: "text",
  payload: "text"
} as const

export type Column = keyof typeof columnTypes

const columns = Object.keys(columnTypes) as ReadonlyArray<Column>

const required: ReadonlySet<Column> = new Set<Column>([
  "id",
  "created_at",
  "due_at",
  "priority",
  "payload_version",
  "attempt",
  "crashes",
  "fence",
  "snoozes",
  "logged",
  "state",
  "task",
  "queue",
  "tags",
  "ledger",
  "payload"
])

/** Texts by which rows are ordered or looked up compare as bytes, whatever the database's collation. */
const bytewise: ReadonlySet<Column> = new Set<Column>([
  "state",
  "task",
  "queue",
  "consumer",
  "group_id",
  "limit_keys",
  "key"
])

const definition = (column: Column): string =>
  `  ${column} ${columnTypes[column]}${bytewise.has(column) ? ' COLLATE "C"' : ""}${required.has(column) ? " NOT NULL" : ""}`

const runColumns = columns.map(definition).join(",\n")

/**
 * Rows of the queue change state a few times and go: a page keeps room for new versions of its rows, and autovacuum comes by
 * the number of dead rows, not by their share of a table that is nearly empty at one time and long at another.
 */
const hot = `fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000`

/**
 * Unfinished runs only. Each index serves one question of a claim and holds only the rows that can answer it, so a claim reads
 * neither history nor runs that it may not take.
 *
 * A lane is what a claim takes its runs from: one per queue and task, and finer ones for the runs that have a group or keys of a
 * limit (see `laneOfRun`). All lanes of a task in a queue are a range of their index.
 */
const queue = (t: Names): string => `CREATE TABLE ${t.queue} (
  rank bigint NOT NULL,
  was_scheduled boolean NOT NULL,
  lane text COLLATE "C" NOT NULL,
  cancel_reason text,
${runColumns},
  PRIMARY KEY (id)
) WITH (${hot});
CREATE INDEX ${t.prefix}queue_next ON ${t.queue} (lane, rank, id) WHERE state = 'queued';
CREATE INDEX ${t.prefix}queue_due ON ${t.queue} (task, queue, due_at) WHERE state = 'scheduled';
CREATE INDEX ${t.prefix}queue_lease ON ${t.queue} (task, lease_until, consumer) WHERE state = 'running';
CREATE INDEX ${t.prefix}queue_cancel ON ${t.queue} (id) WHERE cancel_reason IS NOT NULL;`

/**
 * Ended runs. Ids are UUIDs of version 7, which begin with their time: a range of ids is a range of time, and the primary key
 * finds a run in the one partition that can hold it. What no other partition takes is in `_rest`.
 *
 * Most runs are successes, and every index that they enter is paid for at each settlement: among them the filters of a query
 * are found by reading on, the others have indexes.
 */
const history = (t: Names): string => `CREATE TABLE ${t.history} (
${runColumns},
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX ${t.prefix}history_state ON ${t.history} (state, id) WHERE state <> 'success';
CREATE INDEX ${t.prefix}history_task ON ${t.history} (task, id);
CREATE INDEX ${t.prefix}history_task_state ON ${t.history} (task, state, id) WHERE state <> 'success';
CREATE INDEX ${t.prefix}history_group ON ${t.history} (group_id, id) WHERE group_id IS NOT NULL;
CREATE INDEX ${t.prefix}history_parent ON ${t.history} (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX ${t.prefix}history_root ON ${t.history} (root_id, id) WHERE root_id IS NOT NULL;
CREATE TABLE ${t.history}_rest PARTITION OF ${t.history} DEFAULT;

CREATE TABLE ${t.log} (
  run_id uuid NOT NULL,
  at bigint NOT NULL,
  seq int NOT NULL,
  attempt int NOT NULL,
  level text NOT NULL,
  message text NOT NULL,
  annotations text NOT NULL,
  spans text NOT NULL,
  PRIMARY KEY (run_id, seq)
) PARTITION BY RANGE (run_id);
CREATE TABLE ${t.log}_rest PARTITION OF ${t.log} DEFAULT;`

/**
 * How many runs of the history are in each state, as changes: whoever ends runs adds a row, so nobody waits for a row that
 * others change too. The sum is the count; maintenance makes one row out of many.
 */
const count = (t: Names): string => `CREATE TABLE ${t.count} (
  runs bigint NOT NULL,
  queue text COLLATE "C" NOT NULL,
  task text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL
) WITH (${hot});`

/** Idempotency keys outlive the row in the queue. `held_until` null: while the run is unfinished, or for ever. */
const key = (t: Names): string => `CREATE TABLE ${t.key} (
  run_id uuid NOT NULL,
  held_until bigint,
  task text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  PRIMARY KEY (task, key)
) WITH (fillfactor = 80);
CREATE INDEX ${t.prefix}key_held ON ${t.key} (held_until) WHERE held_until IS NOT NULL;`

/**
 * What keeps runs from being claimed: `hold` until a moment, of a task or (behind a separator) of some of its limit keys;
 * `pausedQueue`, `pausedTask`; and `disabledTask`, whose runs are claimed to be ended.
 *
 * What has passed a rate is kept under the name that core gives it. A row whose time is over says nothing any more.
 *
 * Locks that are held, or whose holder died. A number is never given twice, and those of one name grow.
 */
const others = (t: Names): string => `CREATE TABLE ${t.control} (
  held_until bigint,
  name text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  PRIMARY KEY (name, kind)
);
CREATE INDEX ${t.prefix}control_held ON ${t.control} (held_until) WHERE held_until IS NOT NULL;

CREATE TABLE ${t.rate} (
  until bigint NOT NULL,
  used int NOT NULL,
  name text COLLATE "C" NOT NULL PRIMARY KEY
) WITH (${hot});
CREATE INDEX ${t.prefix}rate_until ON ${t.rate} (until);

CREATE TABLE ${t.locks} (
  fence bigint GENERATED ALWAYS AS IDENTITY,
  held_until bigint NOT NULL,
  name text COLLATE "C" NOT NULL PRIMARY KEY,
  owner text COLLATE "C" NOT NULL
) WITH (${hot});
CREATE INDEX ${t.prefix}lock_until ON ${t.locks} (held_until);

CREATE TABLE ${t.consumer} (
  started_at bigint NOT NULL,
  seen_at bigint NOT NULL,
  max_concurrent_tasks int NOT NULL,
  running int NOT NULL,
  stopping boolean NOT NULL,
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  queues text NOT NULL,
  tasks text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE ${t.schedule} (
  revision bigint NOT NULL,
  created_at bigint NOT NULL,
  next_tick bigint,
  waiting_tick bigint,
  last_tick bigint,
  last_run_id uuid,
  paused boolean NOT NULL,
  name text COLLATE "C" NOT NULL PRIMARY KEY,
  task text NOT NULL,
  scope text,
  unfinished text NOT NULL,
  spec text NOT NULL,
  run text NOT NULL,
  declared text
) WITH (fillfactor = 50);`

/** Partitions are made a week long, and so many weeks ahead. */
const weeksAhead = 4

/**
 * Makes the partitions of this week and the next ones, unless another process is at it, and folds the counts. It runs with the
 * rights of its owner, so that a role which may only read and write can call it.
 *
 * A partition is made beside the table and then attached, which lets those who write go on. It cannot be attached while its
 * runs are in `_rest` (nobody made it in time): then they stay there.
 */
const maintain = (t: Names): string => `CREATE FUNCTION ${t.maintain}(p_now bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $body$
DECLARE
  v_parent text;
  v_name text;
  v_week bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext(${literal(t.lock)}), 1) THEN
    RETURN false;
  END IF;
  WITH gone AS (DELETE FROM ${t.count} RETURNING queue, task, state, runs)
  INSERT INTO ${t.count} (queue, task, state, runs)
  SELECT queue, task, state, sum(runs) FROM gone GROUP BY queue, task, state HAVING sum(runs) <> 0;
  FOREACH v_parent IN ARRAY ARRAY['history', 'log'] LOOP
    FOR v_week IN SELECT generate_series(p_now / 604800000, p_now / 604800000 + ${weeksAhead}) LOOP
      v_name := ${literal(t.prefix)} || v_parent || '_w' || v_week;
      CONTINUE WHEN EXISTS (
        SELECT FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = ${literal(t.schema)} AND class.relname = v_name
      );
      BEGIN
        EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I INCLUDING ALL)',
          ${literal(t.schema)}, v_name, ${literal(t.prefix)} || v_parent);
        EXECUTE format('ALTER TABLE %1$I.%3$I ATTACH PARTITION %1$I.%2$I FOR VALUES FROM (%4$L) TO (%5$L)',
          ${literal(t.schema)}, v_name, ${literal(t.prefix)} || v_parent,
          rpad(lpad(to_hex(v_week * 604800000), 12, '0'), 32, '0')::uuid,
          rpad(lpad(to_hex((v_week + 1) * 604800000), 12, '0'), 32, '0')::uuid);
      EXCEPTION WHEN check_violation OR lock_not_available THEN
        CONTINUE;
      END;
    END LOOP;
  END LOOP;
  RETURN true;
END $body$;`

export const makeTables = (t: Names): string =>
  [queue, history, count, key, others, maintain].map((f) => f(t)).join("\n\n")

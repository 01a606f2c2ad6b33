import { runColumnNames as columns } from "../rows.js"
import { makeChanges } from "./changes.js"
import { exchange } from "./exchange.js"
import { answerEnded, lockGiven } from "./given.js"
import { acquireLock } from "./locks.js"
import { lookFurther, startChosen } from "./looking.js"
import type { Names } from "./names.js"
import { makeRetention } from "./pruning.js"
import { makeFire } from "./schedules.js"
import { type Column, columnTypes } from "./tables.js"
import { list, nulls, resultColumns, settings } from "./texts.js"

/*
 * The operations that are called all the time are functions: one call is one round trip and one transaction, it works behind a
 * connection pooler, and every statement inside sees what was committed before it began.
 */

/** The columns of rows that come as JSON. */
const recordOf = (names: ReadonlyArray<Column>): string =>
  names.map((name) => `${name} ${columnTypes[name]}`).join(", ")

/** What a settlement says of a run; all else stays as the run was queued. */
const settled = [
  "state",
  "due_at",
  "started_at",
  "ended_at",
  "attempt",
  "crashes",
  "snoozes",
  "fence",
  "consumer",
  "lease_until",
  "logged",
  "progress",
  "outcome",
  "ledger"
] as const satisfies ReadonlyArray<Column>

const isSettled = (column: Column): boolean => (settled as ReadonlyArray<Column>).includes(column)

/** Said so that no index on the state can answer it: the rows are found by their ids. */
const isRunning = "run.state || '' = 'running'"

/** JSON as JavaScript writes it. */
const cancelledOutcome = (reason: string): string =>
  `'{"_tag":"Cancelled","reason":' || to_json(${reason})::text || '}'`

/**
 * The end of runs, wherever they come from: parts of a statement that has a part \`gone\` with all columns. They enter the
 * history, are counted, and free or keep their idempotency keys, in the order of the keys. A run that is there already stays as
 * it is.
 */
const remember = (t: Names): string => `kept AS (
    INSERT INTO ${t.history} (${list(columns)}) SELECT ${list(columns)} FROM gone ON CONFLICT (id) DO NOTHING
    RETURNING id, queue, task, state, ended_at, key, CASE
      WHEN state <> 'success' THEN 0
      WHEN key_hold IS NOT NULL THEN greatest(ended_at + key_hold, key_until)
    END AS key_held
  ), counted AS (
    INSERT INTO ${t.count} (queue, task, state, runs)
    SELECT queue, task, state, count(*) FROM kept GROUP BY queue, task, state
  ), ending AS (
    SELECT held.task, held.key, kept.key_held AS until, kept.key_held <= coalesce(kept.ended_at, 0) AS is_free
    FROM kept JOIN ${t.key} AS held ON held.task = kept.task AND held.key = kept.key AND held.run_id = kept.id
    WHERE kept.key IS NOT NULL ORDER BY held.task, held.key FOR UPDATE OF held
  ), freed AS (
    DELETE FROM ${t.key} AS held USING ending
    WHERE ending.is_free AND held.task = ending.task AND held.key = ending.key
  ), held AS (
    UPDATE ${t.key} AS held SET held_until = ending.until FROM ending
    WHERE NOT ending.is_free AND held.task = ending.task AND held.key = ending.key
  )`

/**
 * A run that is there already, or has ended already, is left as it is: the call that added it is repeated after its answer was
 * lost.
 */
const enqueue = (t: Names): string => {
  const into = ["lane", "rank", "was_scheduled", ...columns]
  return `CREATE FUNCTION ${t.enqueue}(p_runs json) RETURNS void LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  INSERT INTO ${t.queue} (${list(into)})
  SELECT ${list(into, "given")} FROM json_to_recordset(p_runs) AS given (
    lane text, rank bigint, was_scheduled boolean, ${recordOf(columns)}
  ) WHERE NOT EXISTS (SELECT 1 FROM ${t.history} AS ended WHERE ended.id = given.id)
  ON CONFLICT (id) DO NOTHING;
END $body$;`
}

/**
 * Ends claims. Where one of the runs is to be performed again, all are locked first, in the order of their ids: whether somebody
 * has asked to cancel it must not change while it is settled.
 */
const settle = (t: Names): string => {
  const goneColumn = (column: Column): string => {
    switch (column) {
      case "state":
        return "CASE WHEN given.final THEN given.state ELSE 'cancelled' END AS state"
      case "ended_at":
        return "CASE WHEN given.final THEN given.ended_at ELSE given.now END AS ended_at"
      case "consumer":
      case "lease_until":
        return `CASE WHEN given.final THEN given.${column} END AS ${column}`
      case "outcome":
        return `CASE WHEN given.final THEN given.outcome ELSE ${cancelledOutcome("run.cancel_reason")} END AS outcome`
      default:
        return `${isSettled(column) ? "given" : "run"}.${column}`
    }
  }
  return `CREATE FUNCTION ${t.settle}(
  p_given json, p_again boolean, p_lines json, p_holds json, OUT places int[], OUT reasons text[]
) LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  IF p_again THEN
    PERFORM 1 FROM json_to_recordset(p_given) AS given (id uuid)
    JOIN ${t.queue} AS run ON run.id = given.id ORDER BY run.id FOR UPDATE OF run;
  END IF;

  WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(p_given) AS given (
      place int, final boolean, now bigint, rank bigint, id uuid, ${recordOf(settled)}
    )
  ), gone AS (
    DELETE FROM ${t.queue} AS run USING given
    WHERE run.id = given.id AND run.fence = given.fence AND ${isRunning}
      AND (given.final OR run.cancel_reason IS NOT NULL)
    RETURNING given.place, CASE WHEN NOT given.final THEN run.cancel_reason END AS reason,
      ${columns.map(goneColumn).join(", ")}
  ), again AS (
    UPDATE ${t.queue} AS run SET rank = given.rank, was_scheduled = given.state = 'scheduled',
      ${settled.map((column) => `${column} = given.${column}`).join(", ")}
    FROM given
    WHERE run.id = given.id AND run.fence = given.fence AND ${isRunning}
      AND NOT given.final AND run.cancel_reason IS NULL
    RETURNING given.place
  ), ${remember(t)}
  SELECT array_agg(place), array_agg(reason) INTO places, reasons
  FROM (SELECT place, reason FROM gone UNION ALL SELECT place, NULL FROM again) AS answers;

  IF p_lines IS NOT NULL THEN
    INSERT INTO ${t.log} (run_id, at, seq, attempt, level, message, annotations, spans)
    SELECT run_id, at, seq, attempt, level, message, annotations, spans FROM json_to_recordset(p_lines) AS line (
      place int, run_id uuid, at bigint, seq int, attempt int, level text, message text, annotations text, spans text
    ) WHERE place = ANY (places) ON CONFLICT (run_id, seq) DO NOTHING;
  END IF;
  IF p_holds IS NOT NULL THEN
    INSERT INTO ${t.control} AS hold (kind, name, held_until)
    SELECT 'hold', name, max(until) FROM json_to_recordset(p_holds) AS wish (place int, name text, until bigint)
    WHERE place = ANY (places) GROUP BY name ORDER BY name
    ON CONFLICT (name, kind) DO UPDATE SET held_until = greatest(excluded.held_until, hold.held_until);
  END IF;
END $body$;`
}

/** A lease is never made shorter: an extension may arrive after a later one that went over another connection. */
const extend = (t: Names): string => `CREATE FUNCTION ${t.extend}(p_claims json, p_lease_until bigint)
RETURNS TABLE (id_ uuid, fence_ int, reason_ text) LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  RETURN QUERY UPDATE ${t.queue} AS run
  SET lease_until = greatest(run.lease_until, p_lease_until), progress = coalesce(given.progress, run.progress)
  FROM json_to_recordset(p_claims) AS given (id uuid, fence int, progress text)
  WHERE run.id = given.id AND run.fence = given.fence AND ${isRunning}
  RETURNING run.id, run.fence, run.cancel_reason;
END $body$;`

/** The runs are locked first, so that each is in one state for all of this. One that is added meanwhile is not looked at. */
const cancel = (t: Names): string => {
  const goneColumn = (column: Column): string => {
    switch (column) {
      case "state":
        return "'cancelled' AS state"
      case "ended_at":
        return "p_now AS ended_at"
      case "consumer":
      case "lease_until":
        return `NULL::${columnTypes[column]} AS ${column}`
      case "outcome":
        return `${cancelledOutcome("p_reason")} AS outcome`
      default:
        return `run.${column}`
    }
  }
  return `CREATE FUNCTION ${t.cancel}(p_ids uuid[], p_reason text, p_now bigint)
RETURNS TABLE (answer_ text, previous_ text, ${resultColumns})
LANGUAGE plpgsql ${settings} AS $body$
${lockGiven(t)}
BEGIN
  RETURN QUERY WITH gone AS (
    DELETE FROM ${t.queue} AS run USING unnest(v_ids) AS given (id)
    WHERE run.id = given.id AND run.state || '' IN ('queued', 'scheduled')
    RETURNING run.state AS previous, ${columns.map(goneColumn).join(", ")}
  ), ${remember(t)}
  SELECT 'cancelled', previous, ${list(columns)} FROM gone;

  RETURN QUERY UPDATE ${t.queue} AS run SET cancel_reason = p_reason FROM unnest(v_ids) AS given (id)
  WHERE run.id = given.id AND ${isRunning}
  RETURNING 'requested', NULL::text, run.id${nulls(columns.slice(1))};

${answerEnded(t)}
END $body$;`
}

/** One statement, so that a run which ends meanwhile is seen once. */
const get = (t: Names): string => `CREATE FUNCTION ${t.get}(p_ids uuid[]) RETURNS TABLE (${resultColumns})
LANGUAGE plpgsql STABLE ${settings} AS $body$
BEGIN
  RETURN QUERY SELECT ${list(columns, "run")} FROM unnest(p_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id
  UNION ALL
  SELECT ${list(columns, "ended")} FROM unnest(p_ids) AS given (id) JOIN ${t.history} AS ended ON ended.id = given.id;
END $body$;`

/** Of two records of a run the one with the higher fence stands; of two with the same fence, the later. */
const record = (t: Names): string => `CREATE FUNCTION ${t.record}(p_runs json) RETURNS void
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_kept bigint;
BEGIN
  WITH replaced AS (
    DELETE FROM ${t.history} AS ended USING json_to_recordset(p_runs) AS given (id uuid, fence int)
    WHERE ended.id = given.id AND ended.fence <= given.fence
    RETURNING ended.queue, ended.task, ended.state
  )
  INSERT INTO ${t.count} (queue, task, state, runs)
  SELECT queue, task, state, -count(*) FROM replaced GROUP BY queue, task, state;

  WITH gone AS (
    SELECT * FROM json_to_recordset(p_runs) AS given (${recordOf(columns)})
  ), ${remember(t)}
  SELECT count(*) INTO v_kept FROM kept;
END $body$;`

export const makeFunctions = (t: Names): string =>
  [
    enqueue,
    makeFire,
    settle,
    exchange,
    lookFurther,
    startChosen,
    extend,
    cancel,
    record,
    get,
    makeChanges,
    makeRetention,
    acquireLock
  ]
    .map((make) => make(t))
    .join("\n\n")

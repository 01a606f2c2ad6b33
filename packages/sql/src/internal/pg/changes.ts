import { ageingMillis } from "@effect-tasks/core/TaskPriority"
import { runColumnNames as columns } from "../rows.js"
import { answerEnded, lockGiven } from "./given.js"
import { literal, type Names } from "./names.js"
import { columnTypes } from "./tables.js"
import { list, nulls, resultColumns, settings } from "./texts.js"

/**
 * The runs are locked first, in the order of their ids, so that each is in one state for all of this. One that is added meanwhile
 * is not looked at: it would be locked out of order.
 */
const edit = (t: Names): string => {
  const due = "coalesce(p_due_at, run.due_at)"
  const priority = "coalesce(p_priority, run.priority)"
  return `CREATE FUNCTION ${t.edit}(p_ids uuid[], p_priority int, p_due_at bigint, p_now bigint)
RETURNS TABLE (answer_ text, previous_ text, ${resultColumns})
LANGUAGE plpgsql ${settings} AS $body$
${lockGiven(t)}
BEGIN
  RETURN QUERY SELECT 'running', NULL::text, run.id${nulls(columns.slice(1))}
  FROM unnest(v_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id WHERE run.state || '' = 'running';

  RETURN QUERY UPDATE ${t.queue} AS run SET priority = ${priority}, due_at = ${due},
    rank = ${due} - ${priority}::bigint * ${ageingMillis}, was_scheduled = ${due} > p_now,
    state = CASE WHEN ${due} > p_now THEN 'scheduled' ELSE 'queued' END
  FROM unnest(v_ids) AS given (id) JOIN ${t.queue} AS before ON before.id = given.id
  WHERE run.id = given.id AND run.state || '' IN ('queued', 'scheduled')
  RETURNING 'edited', before.state, ${list(columns, "run")};

${answerEnded(t)}
END $body$;`
}

/** What a request that replaces changes of a run that waits. */
const replaced = ["payload", "payload_version", "priority", "limit_keys", "due_at", "state"] as const

/** Brings runs that wait, and that the caller has locked, to other records. */
const change = (t: Names): string => {
  const types = replaced.map((column) => `${column} ${columnTypes[column]}`).join(", ")
  return `CREATE FUNCTION ${t.change}(p_runs json) RETURNS void LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  UPDATE ${t.queue} AS run SET lane = given.lane, rank = given.rank, was_scheduled = given.was_scheduled,
    ${replaced.map((column) => `${column} = given.${column}`).join(", ")}
  FROM json_to_recordset(p_runs) AS given (id uuid, lane text, rank bigint, was_scheduled boolean, ${types})
  WHERE run.id = given.id AND run.state || '' IN ('queued', 'scheduled');
END $body$;`
}

/**
 * The records of the unfinished runs among these ids and those that hold these keys, locked until the end of the transaction in
 * the order of their ids. Without waiting those that others have locked are left out; they are told of all the same, with
 * `is_locked` false.
 */
const holders = (t: Names): string => `CREATE FUNCTION ${t.holders}(p_wishes json, p_ids uuid[], p_wait boolean)
RETURNS TABLE (is_locked_ boolean, ${resultColumns})
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_ids uuid[];
  v_locked uuid[];
BEGIN
  SELECT coalesce(array_agg(DISTINCT id), '{}') INTO v_ids FROM (
    SELECT held.run_id AS id FROM json_to_recordset(p_wishes) AS wish (task text, key text)
    JOIN ${t.key} AS held ON held.task = wish.task AND held.key = wish.key
    UNION ALL SELECT id FROM unnest(p_ids) AS given (id)
  ) AS wanted;
  IF p_wait THEN
    v_locked := ARRAY(
      SELECT run.id FROM unnest(v_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id
      ORDER BY run.id FOR UPDATE OF run
    );
  ELSE
    v_locked := ARRAY(
      SELECT run.id FROM unnest(v_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id
      FOR UPDATE OF run SKIP LOCKED
    );
  END IF;
  RETURN QUERY SELECT run.id = ANY (v_locked), ${list(columns, "run")}
  FROM unnest(v_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id;
END $body$;`

/**
 * How many runs of each task and queue wait, at the most as many as are asked for. Whoever asks is alone with that until the end
 * of the transaction, among those who ask. The given runs themselves are not counted: a call whose answer was lost is repeated.
 */
const waiting = (
  t: Names
): string => `CREATE FUNCTION ${t.waiting}(p_tasks text[], p_queues text[], p_ids uuid[], p_most int)
RETURNS TABLE (task_ text, queue_ text, runs_ bigint) LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_locks int[];
  v_lock int;
BEGIN
  SELECT array_agg(DISTINCT hashtext(place.queue || chr(31) || place.task)) INTO v_locks
  FROM unnest(p_tasks, p_queues) AS place (task, queue);
  FOREACH v_lock IN ARRAY v_locks LOOP
    PERFORM pg_advisory_xact_lock(hashtext(${lockOfFull(t)}), v_lock);
  END LOOP;
  RETURN QUERY SELECT place.task, place.queue, (
    SELECT count(*) FROM (
      SELECT FROM ${t.queue} AS run
      WHERE run.state = 'queued' AND run.lane >= place.queue || chr(31) || place.task
        AND run.lane < place.queue || chr(31) || place.task || ' ' LIMIT p_most
    ) AS queued
  ) + (
    SELECT count(*) FROM (
      SELECT FROM ${t.queue} AS run
      WHERE run.state = 'scheduled' AND run.task = place.task AND run.queue = place.queue LIMIT p_most
    ) AS scheduled
  ) - (
    SELECT count(*) FROM unnest(p_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id
    WHERE run.task || '' = place.task AND run.queue = place.queue AND run.state || '' IN ('queued', 'scheduled')
  ) FROM unnest(p_tasks, p_queues) AS place (task, queue);
END $body$;`

const lockOfFull = (t: Names): string => literal(`${t.lock} full`)

const setControls = (t: Names): string => `CREATE FUNCTION ${t.setControls}(p_add json, p_remove json) RETURNS void
LANGUAGE plpgsql ${settings} AS $body$
BEGIN
  PERFORM 1 FROM json_to_recordset(p_remove) AS given (name text, kind text)
  JOIN ${t.control} AS control ON control.name = given.name AND control.kind = given.kind
  ORDER BY control.name, control.kind FOR UPDATE OF control;
  DELETE FROM ${t.control} AS control USING json_to_recordset(p_remove) AS given (name text, kind text)
  WHERE control.name = given.name AND control.kind = given.kind;
  INSERT INTO ${t.control} (name, kind)
  SELECT DISTINCT given.name COLLATE "C", given.kind COLLATE "C" FROM json_to_recordset(p_add) AS given (name text, kind text)
  ORDER BY 1, 2 ON CONFLICT (name, kind) DO NOTHING;
END $body$;`

/** What changes runs that wait, and what keeps them waiting. */
export const makeChanges = (t: Names): string =>
  [edit, change, holders, waiting, setControls].map((make) => make(t)).join("\n\n")

import { literal, type Names } from "./names.js"
import { settings } from "./texts.js"

/*
 * What keeps the tables from growing without bound. Ids are UUIDs of version 7: what ended before a moment has an id from before
 * it, so ids narrow what is looked at; whether a run goes is decided by when it ended.
 */

/** The smallest id of a moment. */
const idAt = (moment: string): string => `rpad(lpad(to_hex(${moment}), 12, '0'), 32, '0')::uuid`

/** Removes ended runs and their log lines. Who holds an idempotency key does not change. */
const remove = (t: Names): string => `CREATE FUNCTION ${t.remove}(p_ids uuid[]) RETURNS bigint
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_ids uuid[];
BEGIN
  WITH gone AS (
    DELETE FROM ${t.history} AS ended USING (SELECT DISTINCT id FROM unnest(p_ids) AS given (id) ORDER BY id) AS given
    WHERE ended.id = given.id RETURNING ended.id, ended.queue, ended.task, ended.state
  ), counted AS (
    INSERT INTO ${t.count} (queue, task, state, runs)
    SELECT queue, task, state, -count(*) FROM gone GROUP BY queue, task, state
  )
  SELECT coalesce(array_agg(id), '{}') INTO v_ids FROM gone;
  DELETE FROM ${t.log} AS line USING unnest(v_ids) AS gone (id) WHERE line.run_id = gone.id;
  RETURN cardinality(v_ids);
END $body$;`

/**
 * Looks at the next `p_most` ended runs of a task behind an id, of those that may have ended before a moment, and removes those
 * that are in the state and did. Gives the last id, or null when there are no more, or when another process is at it.
 *
 * Successes have no index of their own: they are found among all runs of the task.
 */
const prune = (t: Names): string => {
  const behind = `task = p_task AND id > p_after AND id < ${idAt("p_before")} ORDER BY id LIMIT p_most`
  return `CREATE FUNCTION ${t.prune}(
  p_task text, p_state text, p_before bigint, p_after uuid, p_most int, OUT last_ uuid, OUT removed_ bigint
) LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_gone uuid[];
  v_seen int;
BEGIN
  removed_ := 0;
  IF NOT pg_try_advisory_xact_lock(hashtext(${literal(t.lock)}), 2) THEN
    RETURN;
  END IF;
  IF p_state = 'success' THEN
    SELECT array_agg(id) FILTER (WHERE state || '' = 'success' AND ended_at < p_before), (array_agg(id ORDER BY id DESC))[1], count(*)
    INTO v_gone, last_, v_seen FROM (SELECT id, state, ended_at FROM ${t.history} WHERE ${behind}) AS seen;
  ELSE
    SELECT array_agg(id) FILTER (WHERE ended_at < p_before), (array_agg(id ORDER BY id DESC))[1], count(*)
    INTO v_gone, last_, v_seen
    FROM (SELECT id, ended_at FROM ${t.history} WHERE state = p_state AND state <> 'success' AND ${behind}) AS seen;
  END IF;
  IF v_seen < p_most THEN
    last_ := NULL;
  END IF;
  IF v_gone IS NOT NULL THEN
    removed_ := ${t.remove}(v_gone);
  END IF;
END $body$;`
}

/**
 * Removes what says nothing any more: ended holds, keys whose time is over, and states of rates that are as if nothing had
 * passed. A minute later than they might, as claims of machines whose clocks differ may be a little behind. Gives whether there
 * may be more.
 */
const forget = (t: Names): string => {
  const over = (table: string, column: string, key: ReadonlyArray<string>): string => `
  DELETE FROM ${table} AS old USING (
    SELECT ${key.join(", ")} FROM ${table} WHERE ${column} <= p_now - 60000 ORDER BY ${column} LIMIT p_most
    FOR UPDATE SKIP LOCKED
  ) AS over WHERE ${key.map((name) => `old.${name} = over.${name}`).join(" AND ")};
  GET DIAGNOSTICS v_gone = ROW_COUNT;
  v_more := v_more OR v_gone = p_most;`
  return `CREATE FUNCTION ${t.forget}(p_now bigint, p_most int) RETURNS boolean LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_gone int;
  v_more boolean := false;
BEGIN${over(t.control, "held_until", ["name", "kind"])}${over(t.rate, "until", ["name"])}${over(t.key, "held_until", ["task", "key"])}
  RETURN v_more;
END $body$;`
}

/**
 * Drops the partition of a week in which nothing is to be kept: all of it ended before `p_before`, and no run that was made in
 * that week is unfinished. Gives whether it has dropped one.
 *
 * It runs with the rights of its owner (see `maintain`). Only writers of that old week wait while it is looked at. To take it
 * out everybody is kept off the table for a moment, for which it hardly waits itself: they would stand behind it.
 */
const dropWeek = (t: Names): string => `CREATE FUNCTION ${t.dropWeek}(p_before bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $body$
DECLARE
  v_week bigint;
  v_name text;
  v_log text;
  v_is_kept boolean;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext(${literal(t.lock)}), 1) THEN
    RETURN false;
  END IF;
  FOR v_week, v_name IN
    SELECT week, name FROM (
      SELECT class.relname AS name, substr(class.relname, ${t.prefix.length + "history_w".length + 1})::bigint AS week
      FROM pg_inherits AS part JOIN pg_class AS class ON class.oid = part.inhrelid
      WHERE part.inhparent = ${literal(t.history)}::regclass AND class.relname ~ ${literal(`^${t.prefix}history_w[0-9]+$`)}
    ) AS weeks WHERE (week + 1) * 604800000 <= p_before ORDER BY week
  LOOP
    BEGIN
      v_log := ${literal(`${t.prefix}log_w`)} || v_week;
      EXECUTE format('LOCK TABLE %1$I.%2$I, %1$I.%3$I IN SHARE ROW EXCLUSIVE MODE', ${literal(t.schema)}, v_name, v_log);
      EXECUTE format('SELECT EXISTS (SELECT FROM %1$I.%2$I WHERE ended_at IS NULL OR ended_at >= $1)',
        ${literal(t.schema)}, v_name) INTO v_is_kept USING p_before;
      CONTINUE WHEN v_is_kept OR EXISTS (
        SELECT FROM ${t.queue} WHERE id >= ${idAt("v_week * 604800000")} AND id < ${idAt("(v_week + 1) * 604800000")}
      );
      EXECUTE format('INSERT INTO %1$I.%3$I (queue, task, state, runs)
        SELECT queue, task, state, -count(*) FROM %1$I.%2$I GROUP BY queue, task, state',
        ${literal(t.schema)}, v_name, ${literal(`${t.prefix}count`)});
      EXECUTE format('ALTER TABLE %1$I.%3$I DETACH PARTITION %1$I.%2$I',
        ${literal(t.schema)}, v_name, ${literal(`${t.prefix}history`)});
      EXECUTE format('ALTER TABLE %1$I.%3$I DETACH PARTITION %1$I.%2$I',
        ${literal(t.schema)}, v_log, ${literal(`${t.prefix}log`)});
      EXECUTE format('DROP TABLE %1$I.%2$I, %1$I.%3$I', ${literal(t.schema)}, v_name, v_log);
      RETURN true;
    EXCEPTION WHEN lock_not_available OR deadlock_detected OR undefined_table THEN
      CONTINUE;
    END;
  END LOOP;
  RETURN false;
END $body$;`

export const makeRetention = (t: Names): string => [remove, prune, forget, dropWeek].map((make) => make(t)).join("\n\n")

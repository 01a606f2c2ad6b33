import { startThese } from "./exchange.js"
import { literal, type Names } from "./names.js"
import { resultColumns, settings } from "./texts.js"

/*
 * Claims under limits of any kind: a look, or several, at what may be taken, then the start of what core's `Admission` has
 * chosen, in one transaction.
 */

/** So many runs a look reads over all finer lanes, and at least one of each. */
const headsSeen = 1_000

/**
 * What a claim under limits of any kind looks at, as JSON: how many runs are performed, of tasks by their limit keys and of
 * queues; and the lanes in these segments, `p_most` of each, with their first runs.
 *
 * With `p_locks` it waits for its turn first (see `open`): a claim's first look does so, and what it reads holds until the
 * claim has started its runs.
 */
export const lookFurther = (t: Names): string => `CREATE FUNCTION ${t.look}(
  p_locks text[], p_tasks text[], p_queues text[], p_plain text[], p_from text[], p_upto text[], p_most int,
  p_heads int, p_now bigint
) RETURNS TABLE (running text, queues text, lanes text) LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_locks int[];
  v_lock int;
  v_lanes text[];
  v_segments int[];
  v_heads int;
BEGIN
  IF p_locks IS NOT NULL THEN
    SELECT array_agg(DISTINCT hashtext(name)) INTO v_locks FROM unnest(p_locks) AS lock (name);
    FOREACH v_lock IN ARRAY coalesce(v_locks, '{}') LOOP
      PERFORM pg_advisory_xact_lock(hashtext(${literal(`${t.lock} limit`)}), v_lock);
    END LOOP;
    SELECT json_agg(json_build_array(task, limit_keys, runs)) INTO running FROM (
      SELECT task, limit_keys, count(*) AS runs FROM ${t.queue} WHERE state = 'running' AND task = ANY (p_tasks)
      GROUP BY task, limit_keys
    ) AS counted;
    IF cardinality(p_queues) > 0 THEN
      SELECT json_agg(json_build_array(queue, runs)) INTO queues FROM (
        SELECT queue, count(*) AS runs FROM ${t.queue} WHERE state = 'running' AND queue = ANY (p_queues) GROUP BY queue
      ) AS counted;
    END IF;
  END IF;

  SELECT coalesce(array_agg(found.lane), '{}'), coalesce(array_agg(found.segment), '{}') INTO v_lanes, v_segments
  FROM (
    SELECT lane, 0 AS segment FROM unnest(p_plain) AS plain (lane)
    UNION ALL
    SELECT found.lane, segment.place FROM unnest(p_from, p_upto) WITH ORDINALITY AS segment (beginning, upto, place)
    CROSS JOIN LATERAL (
      WITH RECURSIVE seen (lane, place) AS (
        SELECT (
          SELECT lane FROM ${t.queue} WHERE state = 'queued' AND lane > segment.beginning AND lane <= segment.upto
          ORDER BY lane LIMIT 1
        ), 1
        UNION ALL
        SELECT (
          SELECT next.lane FROM ${t.queue} AS next
          WHERE next.state = 'queued' AND next.lane > seen.lane AND next.lane <= segment.upto ORDER BY next.lane LIMIT 1
        ), seen.place + 1 FROM seen WHERE seen.lane IS NOT NULL AND seen.place < p_most
      )
      SELECT seen.lane FROM seen WHERE seen.lane IS NOT NULL
    ) AS found
  ) AS found;

  v_heads := greatest(1, least(p_heads, ${headsSeen} / greatest(1, cardinality(v_lanes))));
  SELECT json_agg(json_build_array(found.segment, found.lane, held.held_until, head.runs, found.most)) INTO lanes
  FROM (
    SELECT lane, segment, CASE WHEN segment = 0 THEN p_heads ELSE v_heads END AS most
    FROM unnest(v_lanes, v_segments) AS given (lane, segment)
  ) AS found LEFT JOIN LATERAL (
    SELECT held_until FROM ${t.control}
    WHERE name = split_part(found.lane, chr(31), 2) || chr(31) || (nullif(split_part(found.lane, chr(31), 3), '')::json ->> 1)
      AND kind = 'hold' AND held_until > p_now
  ) AS held ON true LEFT JOIN LATERAL (
    SELECT json_agg(json_build_array(id, rank, priority, due_at)) AS runs FROM (
      SELECT id, rank, priority, due_at FROM ${t.queue}
      WHERE state = 'queued' AND lane = found.lane AND held.held_until IS NULL ORDER BY rank, id
      LIMIT found.most
    ) AS run
  ) AS head ON true;
  RETURN NEXT;
END $body$;`

/**
 * Starts runs that a claim has chosen, unless others have been quicker, and writes the states of the rates that they have
 * passed: not where a run is missing, for then these have to be counted again.
 */
export const startChosen = (t: Names): string => `CREATE FUNCTION ${t.start}(
  p_ids uuid[], p_rates json, p_consumer text, p_now bigint, p_lease_until bigint
) RETURNS TABLE (answer_ text, settled_ text, moment_ bigint, ${resultColumns})
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_heads uuid[];
BEGIN
  SELECT coalesce(array_agg(run.id ORDER BY run.place), '{}') INTO v_heads FROM (
    SELECT run.id, chosen.place FROM unnest(p_ids) WITH ORDINALITY AS chosen (id, place)
    JOIN ${t.queue} AS run ON run.id = chosen.id WHERE run.state || '' = 'queued' FOR UPDATE OF run SKIP LOCKED
  ) AS run;
  IF p_rates IS NOT NULL AND cardinality(v_heads) = cardinality(p_ids) THEN
    ${keepRates(t, "p_rates")};
  END IF;
${startThese(t, "'{}'::uuid[]", "v_heads", "place")}
END $body$;`

/** Writes the states of rates. */
export const keepRates = (t: Names, given: string): string => `INSERT INTO ${t.rate} AS known (name, until, used)
    SELECT name, until, used FROM json_to_recordset(${given}) AS rate (name text, until bigint, used int)
    ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET until = excluded.until, used = excluded.used`

import { runColumnNames as columns } from "../rows.js"
import { literal, type Names } from "./names.js"
import { list, nulls, resultColumns, settings } from "./texts.js"

/**
 * So many runs of a task in a queue, or as many as are claimed, are moved from `scheduled` to `queued` at once: a million that
 * become due in one moment are moved in portions. Where a portion was not all, the claimant is told to ask again at once: those
 * that were moved may be of a group or a key whose limit is reached.
 */
const portion = 200

/**
 * So many leases of a task are looked at to find the first that is another consumer's. Where all of them are the claimant's own,
 * it is told to ask again at the last of them: that is too early, but it need not read all that it performs at each claim.
 */
const leasesSeen = 50

/** What a claim knows of controls, due times and leases, and what it does about those that have passed. */
const look = (t: Names): string => `
  SELECT coalesce(array_agg(name) FILTER (WHERE kind IN ('hold', 'pausedTask')), '{}'),
    coalesce(array_agg(name) FILTER (WHERE kind = 'pausedQueue'), '{}'),
    json_agg(name) FILTER (WHERE kind = 'disabledTask'), min(held_until)
  INTO v_held, v_paused, v_disabled, v_next
  FROM ${t.control} WHERE name = ANY (p_tasks || p_queues) AND (held_until > p_now OR held_until IS NULL);
  IF v_disabled IS NOT NULL THEN
    RETURN QUERY SELECT 'disabled', v_disabled::text, NULL::bigint${noColumns};
  END IF;

  SELECT least(v_next, min(first.due_at) FILTER (WHERE first.due_at > p_now)),
    coalesce(array_agg(served.place) FILTER (WHERE first.due_at <= p_now), '{}') INTO v_next, v_due
  FROM unnest(p_lane_tasks, p_lane_queues) WITH ORDINALITY AS served (task, queue, place) CROSS JOIN LATERAL (
    SELECT due_at FROM ${t.queue} WHERE state = 'scheduled' AND task = served.task AND queue = served.queue
    ORDER BY due_at LIMIT 1
  ) AS first;

  FOREACH v_place IN ARRAY v_due LOOP
    UPDATE ${t.queue} AS run SET state = 'queued' FROM (
      SELECT id FROM ${t.queue}
      WHERE state = 'scheduled' AND task = p_lane_tasks[v_place] AND queue = p_lane_queues[v_place] AND due_at <= p_now
      ORDER BY due_at LIMIT greatest(p_wanted, ${portion}) FOR UPDATE SKIP LOCKED
    ) AS due WHERE run.id = due.id;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved >= greatest(p_wanted, ${portion}) THEN
      v_next := p_now + 1;
    ELSE
      SELECT least(v_next, min(due_at)) INTO v_next FROM (
        SELECT due_at FROM ${t.queue}
        WHERE state = 'scheduled' AND task = p_lane_tasks[v_place] AND queue = p_lane_queues[v_place] AND due_at > p_now
        ORDER BY due_at LIMIT 1
      ) AS later;
    END IF;
  END LOOP;

  SELECT least(v_next, min(other.lease_until)), coalesce(array_agg(served.task) FILTER (WHERE late.found), '{}')
  INTO v_next, v_late_tasks
  FROM unnest(p_tasks) AS served (task) LEFT JOIN LATERAL (
    SELECT coalesce(
      min(lease.lease_until) FILTER (WHERE lease.consumer <> p_consumer),
      CASE WHEN count(*) = ${leasesSeen} THEN max(lease.lease_until) END
    ) AS lease_until
    FROM (
      SELECT lease_until, consumer FROM ${t.queue}
      WHERE state = 'running' AND task = served.task AND lease_until > p_now ORDER BY lease_until LIMIT ${leasesSeen}
    ) AS lease
  ) AS other ON true LEFT JOIN LATERAL (
    SELECT true AS found FROM ${t.queue}
    WHERE state = 'running' AND task = served.task AND lease_until <= p_now AND queue = ANY (p_queues)
      AND NOT queue = ANY (v_paused) AND NOT served.task = ANY (v_held) LIMIT 1
  ) AS late ON true;`

/** The name of a hold of a run's limit keys, if it has any. */
const keysHeld = "run.task || chr(31) || run.limit_keys"

/** Runs whose lease has ended. They keep the place that they have under a limit. */
const takeLate = (t: Names): string => `
  IF cardinality(v_late_tasks) > 0 THEN
    SELECT least(v_next, min(held.held_until)) INTO v_next
    FROM ${t.queue} AS run JOIN ${t.control} AS held ON held.name = ${keysHeld} AND held.kind = 'hold'
    WHERE run.state = 'running' AND run.task = ANY (v_late_tasks) AND run.lease_until <= p_now AND held.held_until > p_now;
  END IF;
  FOREACH v_task IN ARRAY v_late_tasks LOOP
    v_late := v_late || ARRAY(
      SELECT id FROM ${t.queue} AS run
      WHERE state = 'running' AND task = v_task AND lease_until <= p_now AND queue = ANY (p_queues)
        AND NOT queue = ANY (v_paused) AND NOT EXISTS (
          SELECT FROM ${t.control} WHERE name = ${keysHeld} AND kind = 'hold' AND held_until > p_now
        )
      ORDER BY lease_until, id LIMIT p_wanted - cardinality(v_late) FOR UPDATE SKIP LOCKED
    );
  END LOOP;
  v_left := p_wanted - cardinality(v_late);`

/**
 * The tasks in queues that have a due run. Where there are runs with a group or limit keys among them, or the claimant has limits
 * beyond one number per task, nothing more is taken here: it is told the places of those, and which of them have finer lanes,
 * and goes on with `look` and `start`.
 */
const openPlaces = (t: Names): string => `
  SELECT array_agg(served.place), array_agg(open.is_special), coalesce(bool_or(open.is_special), false),
    array_agg(served.lane), array_agg(served.task), array_agg(least(v_left, served.most)),
    array_agg(DISTINCT hashtext(served.task)) FILTER (WHERE served.most IS NOT NULL)
  INTO v_open, v_open_special, v_special, v_lanes, v_tasks, v_free, v_locks
  FROM unnest(p_lanes, p_lane_tasks, p_lane_queues, p_lane_limits) WITH ORDINALITY
    AS served (lane, task, queue, most, place)
  CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT 1 FROM ${t.queue} WHERE state = 'queued' AND lane = served.lane) AS is_plain,
      EXISTS (
        SELECT 1 FROM ${t.queue} WHERE state = 'queued' AND lane > served.lane AND lane < served.lane || ' '
      ) AS is_special OFFSET 0
  ) AS open
  WHERE NOT served.task = ANY (v_held) AND NOT served.queue = ANY (v_paused) AND (open.is_plain OR open.is_special);

  IF v_open IS NOT NULL AND (v_special OR NOT p_plain) THEN
    RETURN QUERY SELECT 'special', json_build_array(v_open, v_open_special)::text, NULL::bigint${noColumns};
    v_open := NULL;
  END IF;`

/**
 * The lanes from which a run may be taken now, and how many from each. \`free\` is how many more runs of the lane's task may be
 * running.
 *
 * Claims of a task with a limit take turns, by a lock that ends with the transaction: whoever has it sees all that the others
 * have taken, for each statement here sees what was committed before it began. The locks are taken in the order of their keys,
 * and by nobody who has not something to claim.
 */
const open = (t: Names): string => `
  IF v_locks IS NOT NULL THEN
    FOREACH v_lock IN ARRAY v_locks LOOP
      PERFORM pg_advisory_xact_lock(hashtext(${literal(`${t.lock} limit`)}), v_lock);
    END LOOP;
    SELECT array_agg(served.lane), array_agg(served.task), array_agg(served.free) INTO v_lanes, v_tasks, v_free
    FROM (
      SELECT open.lane, open.task, CASE WHEN limits.most IS NULL THEN open.free ELSE least(open.free, limits.most - (
        SELECT count(*) FROM (
          SELECT FROM ${t.queue} WHERE state = 'running' AND task = open.task LIMIT limits.most
        ) AS running
      )) END AS free
      FROM unnest(v_lanes, v_tasks, v_free) AS open (lane, task, free)
      JOIN unnest(p_lanes, p_lane_limits) AS limits (lane, most) ON limits.lane = open.lane
    ) AS served WHERE served.free > 0;
  END IF;`

/**
 * The first runs of the open lanes, in the order of claiming. Where there are several lanes, how many to take from each is
 * looked up first, without locks, so that no more runs are locked than are taken: others would pass over them and find
 * nothing. Where others have been quicker, what they have left is taken, lane by lane.
 */
const takeHeads = (t: Names): string => `
  IF cardinality(v_lanes) > 1 THEN
    SELECT array_agg(head.lane), array_agg(head.taken) INTO v_take_lanes, v_take
    FROM (
      SELECT lane, count(*)::int AS taken FROM (
        SELECT lane FROM (
          SELECT open.lane, open.free, head.rank, head.id,
            row_number() OVER (PARTITION BY open.task ORDER BY head.rank, head.id) AS turn
          FROM unnest(v_lanes, v_tasks, v_free) AS open (lane, task, free) CROSS JOIN LATERAL (
            SELECT rank, id FROM ${t.queue} WHERE state = 'queued' AND lane = open.lane ORDER BY rank, id LIMIT open.free
          ) AS head
        ) AS head WHERE turn <= free ORDER BY rank, id LIMIT v_left
      ) AS head GROUP BY lane
    ) AS head;
  ELSE
    v_take_lanes := v_lanes;
    v_take := v_free;
  END IF;

  SELECT coalesce(array_agg(head.id), '{}') INTO v_heads
  FROM unnest(v_take_lanes, v_take) AS open (lane, taken) CROSS JOIN LATERAL (
    SELECT id FROM ${t.queue} WHERE state = 'queued' AND lane = open.lane
    ORDER BY rank, id LIMIT open.taken FOR UPDATE SKIP LOCKED
  ) AS head;

  IF cardinality(v_heads) < v_left AND cardinality(v_heads) < (SELECT sum(taken) FROM unnest(v_take) AS open (taken)) THEN
    FOREACH v_lane IN ARRAY v_lanes LOOP
      CONTINUE WHEN (p_lane_limits)[array_position(p_lanes, v_lane)] IS NOT NULL;
      v_heads := v_heads || ARRAY(
        SELECT id FROM ${t.queue} WHERE state = 'queued' AND lane = v_lane AND id <> ALL (v_heads)
        ORDER BY rank, id LIMIT v_left - cardinality(v_heads) FOR UPDATE SKIP LOCKED
      );
    END LOOP;
  END IF;`

/** The ledger with the attempt that its consumer did not survive: see core's `RunRecord.crashed`. */
const crashed = `left(run.ledger, -1) || CASE WHEN run.ledger = '[]' THEN '' ELSE ',' END
      || '{"number":' || run.attempt + 1 || ',"consumer":' || to_json(coalesce(run.consumer, ''))::text
      || ',"startedAt":' || coalesce(run.started_at, p_now) || ',"endedAt":' || p_now
      || ',"outcome":{"_tag":"Crashed"}}]'`

const noColumns = nulls(columns)

/** Starts the runs of `late` and `heads`, lists of ids. */
export const startThese = (t: Names, late: string, heads: string, order: string): string => `
  RETURN QUERY WITH started AS (
    UPDATE ${t.queue} AS run SET state = 'running', fence = run.fence + 1, consumer = p_consumer,
      lease_until = p_lease_until, started_at = p_now,
      crashes = CASE WHEN run.state = 'running' THEN run.crashes + 1 ELSE run.crashes END,
      ledger = CASE WHEN run.state = 'running' THEN ${crashed} ELSE run.ledger END
    FROM unnest(${late} || ${heads}) WITH ORDINALITY AS taken (id, place)
    WHERE run.id = taken.id
    RETURNING taken.place <= cardinality(${late}) AS was_running, taken.place, run.*
  )
  SELECT CASE WHEN was_running THEN 'running' WHEN was_scheduled THEN 'scheduled' ELSE 'queued' END,
    NULL::text, NULL::bigint, ${list(columns)} FROM started
  ORDER BY ${order};`

/**
 * Settles, then claims. Its rows: `settled`, with the places of the settlements that were written, and why those that ended as
 * cancelled did; `disabled`, with names of tasks; `special`, where the claim goes on with `look`; `next`, when to ask again; and
 * the claimed runs, in order, with the state that each was in.
 *
 * No two of these wait for each other, for whoever waits for a lock of one kind has none of a later kind: first come those of a
 * task's full queue (`maxQueued`), then runs in the order of the ids, keys in the order of the keys, holds in the order of their
 * names, and then limits in the order of their numbers. Whoever has the locks of limits waits for nothing more: runs that others
 * have locked are passed over, and the states of a task's rates are written by none but who has the lock of the task.
 */
export const exchange = (t: Names): string => `CREATE FUNCTION ${t.exchange}(
  p_given json, p_again boolean, p_lines json, p_holds json,
  p_consumer text, p_queues text[], p_tasks text[],
  p_lanes text[], p_lane_tasks text[], p_lane_queues text[], p_lane_limits int[], p_plain boolean,
  p_wanted int, p_now bigint, p_lease_until bigint
) RETURNS TABLE (answer_ text, settled_ text, moment_ bigint, ${resultColumns})
LANGUAGE plpgsql ${settings} AS $body$
DECLARE
  v_places int[];
  v_reasons text[];
  v_held text[];
  v_paused text[];
  v_disabled json;
  v_next bigint;
  v_due int[];
  v_place int;
  v_moved int;
  v_open int[];
  v_open_special boolean[];
  v_special boolean;
  v_late_tasks text[];
  v_late uuid[] := '{}';
  v_task text;
  v_left int;
  v_lanes text[];
  v_lane text;
  v_tasks text[];
  v_free int[];
  v_locks int[];
  v_lock int;
  v_take_lanes text[];
  v_take int[];
  v_heads uuid[] := '{}';
BEGIN
  IF p_given IS NOT NULL THEN
    SELECT places, reasons INTO v_places, v_reasons FROM ${t.settle}(p_given, p_again, p_lines, p_holds);
    RETURN QUERY SELECT 'settled', json_build_array(v_places, v_reasons)::text, NULL::bigint${noColumns};
  END IF;
  IF p_wanted IS NULL THEN
    RETURN;
  END IF;
${look(t)}
${takeLate(t)}
  IF v_next IS NOT NULL THEN
    RETURN QUERY SELECT 'next', NULL::text, v_next${noColumns};
  END IF;
  IF v_left > 0 THEN
${openPlaces(t)}
    IF v_open IS NOT NULL THEN
${open(t)}
      IF v_lanes IS NOT NULL THEN
${takeHeads(t)}
      END IF;
    END IF;
  END IF;
  IF cardinality(v_late) + cardinality(v_heads) > 0 THEN
${startThese(t, "v_late", "v_heads", "was_running DESC, CASE WHEN was_running THEN place END, rank, id")}
  END IF;
END $body$;`

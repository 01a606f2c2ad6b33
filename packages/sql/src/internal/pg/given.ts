import { runColumnNames as columns } from "../rows.js"
import type { Names } from "./names.js"
import { nulls } from "./texts.js"

/*
 * What the functions that act on runs by their ids (`p_ids`) have in common.
 */

/** Locks the unfinished ones in the order of their ids, so that nobody waits in a circle, and names them. */
export const lockGiven = (t: Names): string => `DECLARE
  v_ids uuid[] := ARRAY(
    SELECT run.id FROM unnest(p_ids) AS given (id) JOIN ${t.queue} AS run ON run.id = given.id
    ORDER BY run.id FOR UPDATE OF run
  );`

/** Answers for those that have ended. */
export const answerEnded = (
  t: Names
): string => `  RETURN QUERY SELECT 'ended', NULL::text, ended.id${nulls(columns.slice(1))}
  FROM unnest(p_ids) AS given (id) JOIN ${t.history} AS ended ON ended.id = given.id;`

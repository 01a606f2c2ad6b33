import { Effect, Schedule } from "effect"
import { liveClock } from "../liveClock.js"
import type { Rule } from "../retention.js"
import type { Database } from "./database.js"
import type { DriverError } from "./errors.js"
import type { Names } from "./names.js"

/** How often it is looked for what is to go, and for how long others may work between two portions. */
const pace = { pass: "5 minutes", portion: "10 millis" } as const

/** So many runs are looked at in one transaction. */
const portion = 500

/** So many portions one pass takes of what only makes the tables long. */
const mostPortions = 200

const noId = "00000000-0000-0000-0000-000000000000"

const makeStatements = (t: Names) => ({
  forget: { name: `${t.prefix}forget`, text: `SELECT ${t.forget}($1, $2)` },
  dropWeek: { name: `${t.prefix}drop_week`, text: `SELECT ${t.dropWeek}($1)` },
  prune: { name: `${t.prefix}prune`, text: `SELECT last_ FROM ${t.prune}($1, $2, $3, $4, $5)` },
  ended: {
    name: `${t.prefix}ended`,
    text: `SELECT task, state FROM ${t.count} GROUP BY task, state HAVING sum(runs) > 0 ORDER BY task, state`
  }
})

/** How long what is kept longest is kept; `null` when some of it is for ever. */
const longestOf = (rules: ReadonlyArray<Rule>): number | null =>
  rules.reduce<number | null>(
    (longest, { millis }) => (longest === null || millis === null ? null : Math.max(longest, millis)),
    0
  )

const ruleFor = (rules: ReadonlyArray<Rule>, task: string, state: string): Rule | undefined =>
  rules.find(
    (rule) => rule.state === state && (rule.task === null ? !rule.exceptTasks.includes(task) : rule.task === task)
  )

/**
 * Removes what is no longer kept, as long as the scope lasts. The processes share the work: whoever comes while another is at it
 * leaves it to that one.
 */
export const make = Effect.fnUntraced(function* (
  database: Database,
  names: Names,
  now: Effect.Effect<number>,
  rules: ReadonlyArray<Rule>
) {
  const statements = makeStatements(names)
  const clock = yield* Effect.clock
  const longest = longestOf(rules)

  const repeatWhile = (again: Effect.Effect<boolean, DriverError>) =>
    Effect.repeat(Effect.delay(again, pace.portion), { while: (more) => more, times: mostPortions })

  const isTrue = ([row]: ReadonlyArray<readonly [boolean]>): boolean => row?.[0] === true

  /** Goes over the ended runs of a task from the oldest on. */
  const prune = (task: string, state: string, before: number): Effect.Effect<void, DriverError> =>
    Effect.iterate(noId as string | null, {
      while: (last) => last !== null,
      body: (last) =>
        Effect.delay(
          Effect.map(
            database.apart<readonly [last: string | null]>(statements.prune, [task, state, before, last, portion]),
            ([row]) => row?.[0] ?? null
          ),
          pace.portion
        )
    })

  const pass = Effect.gen(function* () {
    const at = yield* Effect.withClock(now, clock)
    yield* repeatWhile(Effect.map(database.apart<readonly [boolean]>(statements.forget, [at, portion]), isTrue))
    if (longest !== null && at > longest) {
      yield* repeatWhile(Effect.map(database.apart<readonly [boolean]>(statements.dropWeek, [at - longest]), isTrue))
    }
    const ended = yield* database.apart<readonly [task: string, state: string]>(statements.ended, [])
    for (const [task, state] of ended) {
      const millis = ruleFor(rules, task, state)?.millis ?? null
      if (millis !== null && at > millis) {
        yield* prune(task, state, at - millis)
      }
    }
  })

  yield* Effect.ignoreLogged(pass).pipe(
    Effect.repeat(Schedule.jittered(Schedule.spaced(pace.pass))),
    Effect.withClock(liveClock),
    Effect.forkScoped
  )
})

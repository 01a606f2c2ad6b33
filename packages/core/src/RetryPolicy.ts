/**
 * Whether and when a failed run is tried again.
 *
 * A retry policy *is* an Effect `Schedule`: any composition of `exponential`, `jittered`, `upTo`, `recurs`,
 * `whileInput` and the rest. Its input is what the attempt failed with. `make` is a shorthand for the usual case.
 *
 * The decision is durable. A `Schedule` keeps its state in memory, which a restart would lose, so the runtime stores
 * only the ledger of attempts and steps the schedule through it again (`next`): the recorded times and the recorded
 * errors lead to the same state on every machine.
 *
 * @since 0.1.0
 */
import { Duration, Effect, Option, type Predicate, Schedule, ScheduleDecision, ScheduleIntervals } from "effect"

/**
 * The most that `make` waits between two attempts, unless `maxDelay` says otherwise: one hour.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxDelay: Duration.Duration = Duration.hours(1)

/**
 * The options of `make`.
 *
 * - `retries`: how many times a run is tried again, the first attempt not counted. Default: without end
 * - `delay`: before the first retry. Default: 1 second
 * - `backoff`: by how much each further delay grows. Default: 1, all delays alike
 * - `maxDelay`: no delay is longer. Default: 1 hour
 * - `jitter`: each delay is drawn from `[1 − jitter, 1 + jitter] × delay`. Default: 0
 * - `while`: which failures are retried. Default: all
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in E> {
  readonly retries?: number | undefined
  readonly delay?: Duration.DurationInput | undefined
  readonly backoff?: number | undefined
  readonly maxDelay?: Duration.DurationInput | undefined
  readonly jitter?: number | undefined
  readonly while?: Predicate.Predicate<E> | undefined
}

/**
 * A schedule whose delay before retry `n` is `min(delay × backoff^(n−1), maxDelay)`.
 *
 * @example
 * ```ts
 * import { RetryPolicy } from "@effect-tasks/core"
 *
 * // after 1 s, 2 s and 4 s
 * const policy = RetryPolicy.make({ retries: 3, delay: "1 second", backoff: 2 })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  // without a filter it suits every task: its input is not to be inferred from where it stands
  (options?: Options<never> & { readonly while?: undefined }): Schedule.Schedule<unknown>
  <E>(options: Options<E>): Schedule.Schedule<unknown, E>
} = <E>(options: Options<E> = {}): Schedule.Schedule<unknown, E> => {
  const maxDelay = Duration.decode(options.maxDelay ?? defaultMaxDelay)
  const jitter = Math.min(Math.max(options.jitter ?? 0, 0), 1)
  const delays = Schedule.exponential(options.delay ?? "1 second", Math.max(options.backoff ?? 1, 0)).pipe(
    Schedule.modifyDelay((_, delay) => Duration.min(delay, maxDelay))
  )
  const jittered = jitter === 0 ? delays : Schedule.jitteredWith(delays, { min: 1 - jitter, max: 1 + jitter })
  const counted: Schedule.Schedule<unknown> =
    options.retries === undefined ? jittered : Schedule.intersect(jittered, Schedule.recurs(options.retries))
  return options.while === undefined ? counted : Schedule.whileInput(counted, options.while)
}

/**
 * One failed attempt of the ledger: its number (from 1), when it ended (epoch milliseconds), and what it failed with.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedAttempt<out E> {
  readonly number: number
  readonly endedAt: number
  readonly failure: E
}

/**
 * When the run is due again, in epoch milliseconds, or `None` when no retry remains.
 *
 * The schedule is stepped through every failed attempt, in order. Attempts that a bounded ledger has dropped from its
 * middle are stepped with the failure of their predecessor, at evenly spread times, so counts stay exact.
 *
 * @since 0.1.0
 * @category stepping
 */
export const next = Effect.fnUntraced(function* <E>(
  schedule: Schedule.Schedule<unknown, E>,
  ledger: ReadonlyArray<FailedAttempt<E>>
): Effect.fn.Return<Option.Option<number>> {
  let state: unknown = schedule.initial
  let dueAt = Option.none<number>()
  for (const attempt of withoutGaps(ledger)) {
    const [nextState, , decision] = yield* schedule.step(attempt.endedAt, attempt.failure, state)
    if (ScheduleDecision.isDone(decision)) {
      return Option.none()
    }
    state = nextState
    dueAt = Option.some(Math.max(attempt.endedAt, ScheduleIntervals.start(decision.intervals)))
  }
  return dueAt
})

function* withoutGaps<E>(ledger: ReadonlyArray<FailedAttempt<E>>): Iterable<FailedAttempt<E>> {
  let previous: FailedAttempt<E> | undefined
  for (const attempt of ledger) {
    const missing = previous === undefined ? 0 : attempt.number - previous.number - 1
    for (let i = 1; previous !== undefined && i <= missing; i++) {
      yield {
        number: previous.number + i,
        endedAt: Math.round(previous.endedAt + ((attempt.endedAt - previous.endedAt) * i) / (missing + 1)),
        failure: previous.failure
      }
    }
    yield attempt
    previous = attempt
  }
}

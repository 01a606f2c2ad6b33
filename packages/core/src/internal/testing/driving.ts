import { Duration, Effect, Schema } from "effect"
import type { Recorded } from "./recording.js"
import * as virtualTime from "./virtualTime.js"

/** Documented in `TaskTest`. */
export class NeverDone extends Schema.TaggedError<NeverDone>("@effect-tasks/core/TaskTest/NeverDone")("NeverDone", {
  performed: Schema.Number,
  waiting: Schema.Number,
  running: Schema.Number,
  comesBack: Schema.Array(Schema.Struct({ task: Schema.String, claims: Schema.Number }))
}) {
  override get message(): string {
    const tasks = this.comesBack.map(({ claims, task }) => `${task} (${claims} times)`).join(", ")
    const left = `${this.waiting} runs wait and ${this.running} are performed`
    return tasks === ""
      ? `nothing was performed, though ${left}; is there a consumer for them?`
      : `after ${this.performed} attempts ${left}; what was performed: ${tasks}. If that is right, raise the limit`
  }
}

/** How a drain went. Documented in `TaskTest`. */
export interface Drained {
  readonly performed: number
  readonly waiting: number
  readonly running: number
}

export interface DrainOptions {
  readonly scheduled?: boolean | undefined
  readonly limit?: number | undefined
}

type Claims = ReadonlyMap<string, number>

const total = (claims: Claims): number => Array.from(claims.values()).reduce((sum, count) => sum + count, 0)

const since = (claims: Claims, before: Claims) =>
  Array.from(claims, ([task, count]) => ({ task, claims: count - (before.get(task) ?? 0) }))
    .filter(({ claims }) => claims > 0)
    .sort((a, b) => b.claims - a.claims)

/** So many wake-ups in a row, in none of which a run was claimed, tell that what waits will wait for ever. */
const idleWakings = 10_000

/** Performs what is due, and what follows from it; with `scheduled` what is due later, too, at its own time. */
export const drain = (
  recorded: typeof Recorded.Service,
  { limit = 10_000, scheduled = false }: DrainOptions
): Effect.Effect<Drained, NeverDone> =>
  Effect.gen(function* () {
    const before = yield* recorded.claims
    const clock = yield* virtualTime.testClock
    const report = Effect.gen(function* () {
      const { running, waiting } = yield* recorded.unfinished
      return { performed: total(yield* recorded.claims) - total(before), waiting, running }
    })
    const giveUp = Effect.flatMap(
      Effect.zip(report, recorded.claims),
      ([drained, claims]) => new NeverDone({ ...drained, comesBack: since(claims, before).slice(0, 5) })
    )
    const check = Effect.flatMap(recorded.claims, (claims) =>
      total(claims) - total(before) > limit ? giveUp : Effect.void
    )
    let idle = 0
    let claimed = total(before)
    while (true) {
      yield* virtualTime.quiet(recorded, check)
      const drained = yield* report
      const next = yield* virtualTime.nextWaking(clock)
      if (!scheduled || drained.waiting + drained.running === 0 || !Number.isFinite(next)) {
        return drained
      }
      const claims = total(yield* recorded.claims)
      idle = claims === claimed ? idle + 1 : 0
      claimed = claims
      if (idle > idleWakings) {
        return yield* giveUp
      }
      yield* virtualTime.setTime(clock, next)
    }
  })

/** Lets virtual time pass, stopping at each moment at which a fiber wakes up. */
export const advance = (recorded: typeof Recorded.Service, duration: Duration.DurationInput): Effect.Effect<void> =>
  Effect.gen(function* () {
    const clock = yield* virtualTime.testClock
    const end = (yield* clock.currentTimeMillis) + Duration.toMillis(duration)
    while (true) {
      yield* virtualTime.quiet(recorded, Effect.void)
      const next = yield* virtualTime.nextWaking(clock)
      yield* virtualTime.setTime(clock, Math.min(next, end))
      if (next > end) {
        return yield* virtualTime.quiet(recorded, Effect.void)
      }
    }
  })

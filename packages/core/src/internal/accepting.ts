import { Cause, Effect, Option } from "effect"
import type { Broker, Enqueued } from "../Broker.js"
import type { ScheduleChange } from "../Scheduling.js"
import type { BackendError, IdempotencyConflict, QueueFull } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Bus } from "./bus.js"
import type { Meter } from "./metrics.js"

/*
 * New runs on their way to the broker: handed over, counted, and told of when they are committed.
 */

interface Parts {
  readonly broker: typeof Broker.Service
  readonly bus: Bus
  readonly meter: Meter
}

/** Hands runs to the broker, and publishes `init` and the state they wait in once they are committed. */
export const enqueue = (
  { broker, bus, meter }: Parts,
  runs: ReadonlyArray<EncodedRun>,
  maxQueued: number | undefined
): Effect.Effect<ReadonlyArray<Enqueued>, IdempotencyConflict | QueueFull | BackendError> =>
  Effect.uninterruptibleMask((restore) => {
    const isHeard = bus.hasListeners
    const ids = isHeard ? runs.map((run) => run.id) : []
    bus.hold(ids)
    const rolledBack = () => bus.release(ids, [])
    const enqueued = maxQueued === undefined ? broker.enqueue(runs) : broker.enqueue(runs, { maxQueued })
    return Effect.matchCauseEffect(restore(enqueued), {
      onFailure: (cause) => {
        const refusal = refusalOf(cause)
        bus.release(ids, isHeard && refusal === "QueueFull" ? runs.flatMap(asRejected) : [])
        if (!Cause.isInterruptedOnly(cause) && refusal === undefined) {
          meter.brokerFailed("enqueue")
        }
        return Effect.failCause(cause)
      },
      onSuccess: (results) => {
        count(meter, results)
        return Effect.as(
          isHeard
            ? broker.atTransactionEnd({ committed: () => bus.release(ids, results.flatMap(asMade)), rolledBack })
            : Effect.void,
          results
        )
      }
    })
  })

/** Hands the ticks of schedules to the broker, and publishes the runs of those that were fired. */
export const fire = (
  { broker, bus, meter }: Parts,
  changes: ReadonlyArray<ScheduleChange>,
  isByHand = false
): Effect.Effect<ReadonlyArray<boolean>, BackendError> =>
  Effect.uninterruptibleMask((restore) => {
    const ids = bus.hasListeners ? changes.flatMap(({ runs }) => runs.map((run) => run.id)) : []
    bus.hold(ids)
    return Effect.matchCauseEffect(restore(isByHand ? broker.putSchedules(changes) : broker.fire(changes)), {
      onFailure: (cause) => {
        bus.release(ids, [])
        if (!Cause.isInterruptedOnly(cause)) {
          meter.brokerFailed("fire")
        }
        return Effect.failCause(cause)
      },
      onSuccess: (written) => {
        const queued = changes
          .filter((_, i) => written[i])
          .flatMap(({ runs }) => runs.map((run): Enqueued => ({ _tag: "Queued", run })))
        count(meter, queued)
        return Effect.as(
          broker.atTransactionEnd({
            committed: () => bus.release(ids, ids.length === 0 ? [] : queued.flatMap(asMade)),
            rolledBack: () => bus.release(ids, [])
          }),
          written
        )
      }
    })
  })

/** `enqueue`, for runs that come without a limit. */
export const enqueueUnlimited = (
  parts: Parts,
  runs: ReadonlyArray<EncodedRun>
): Effect.Effect<ReadonlyArray<Enqueued>, IdempotencyConflict | BackendError> =>
  Effect.catchTag(enqueue(parts, runs, undefined), "QueueFull", Effect.die)

/** Why the broker has refused the runs, if it has. */
const refusalOf = (
  cause: Cause.Cause<IdempotencyConflict | QueueFull | BackendError>
): "IdempotencyConflict" | "QueueFull" | undefined => {
  const failure = Cause.failureOption(cause)
  return Option.isSome(failure) && failure.value._tag !== "BackendError" ? failure.value._tag : undefined
}

const count = (meter: Meter, results: ReadonlyArray<Enqueued>): void => {
  let task: string | undefined
  let runs = 0
  for (const { _tag, run } of results) {
    if (run.task !== task && task !== undefined) {
      meter.of(task).queued(runs)
      runs = 0
    }
    task = run.task
    runs += _tag === "Queued" ? 1 : 0
  }
  if (task !== undefined) {
    meter.of(task).queued(runs)
  }
}

const asRejected = (run: EncodedRun) => [
  { run: { ...run, state: "init" as const }, from: null, at: run.createdAt },
  { run: { ...run, state: "rejected" as const }, from: "init" as const, at: run.createdAt }
]

const asMade = ({ _tag, run }: Enqueued) =>
  _tag !== "Queued"
    ? []
    : [
        { run: { ...run, state: "init" as const }, from: null, at: run.createdAt },
        { run, from: "init" as const, at: run.createdAt }
      ]

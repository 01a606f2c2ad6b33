import { Chunk, Duration, Effect, Option, Queue, type Scope, Stream } from "effect"
import type { Broker, Signal } from "../Broker.js"
import type { Store } from "../Store.js"
import { type BackendError, RunNotFound } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { isFinal } from "../TaskState.js"
import type { Bus } from "./bus.js"
import { LogCursor } from "./logCursor.js"
import { survive } from "./outage.js"
import type { LogLine, RunId } from "./run.js"

/*
 * What one run says while it is performed, here or in another process, up to its end: pushed where this process performs
 * it, and otherwise read from the store, when the broker signals and once a second.
 */

interface Parts {
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
  readonly bus: Bus
  readonly maxLogLines: number
}

/** How long a change that nobody signals may stay unseen. */
const pace = Duration.seconds(1)

const pageSize = 1_000

/** What is known of a run that is followed. */
class Following {
  /** Open while there may be something to tell. */
  readonly bell = Effect.unsafeMakeLatch(true)
  /** Whether the store may know more. */
  mustAsk = true
  hasEnded = false

  hear(signal: Signal, id: RunId): void {
    if (signal._tag === "Changed" || (signal._tag === "Ended" && signal.ids.includes(id))) {
      this.mustAsk = true
      this.bell.unsafeOpen()
    }
  }
}

/** Lets a follower hear what the broker signals of a run. */
const listen = ({ broker }: Parts, id: RunId, following: Following): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(broker.signals, (signals) =>
    Queue.takeBetween(signals, 1, pageSize).pipe(
      Effect.map((heard) => {
        for (const signal of heard) {
          following.hear(signal, id)
        }
      }),
      Effect.forever,
      Effect.forkScoped,
      Effect.asVoid
    )
  )

/** The record of a run; nothing, when it was there and is there no more. */
const look = (
  { store }: Parts,
  id: RunId,
  isKnown: boolean
): Effect.Effect<EncodedRun | null, RunNotFound | BackendError> =>
  Effect.flatMap(survive(store.get([id])), ([run]) =>
    run !== undefined && Option.isSome(run)
      ? Effect.succeed(run.value)
      : isKnown
        ? Effect.succeed(null)
        : new RunNotFound({ runId: id })
  )

/** Asks the store again and again until the run has ended; `take` gives what there is to tell, `read` asks for more. */
const follow = <A>(
  parts: Parts,
  id: RunId,
  following: Following,
  take: (isEnd: boolean) => ReadonlyArray<A>,
  read: (run: EncodedRun) => Effect.Effect<void, BackendError>
): Stream.Stream<A, RunNotFound | BackendError> => {
  let isKnown = false
  let isOver = false
  const ask = Effect.suspend(() => {
    following.mustAsk = false
    return Effect.flatMap(look(parts, id, isKnown), (run) => {
      isKnown = true
      following.hasEnded = run === null || isFinal(run.state)
      return run === null ? Effect.void : read(run)
    })
  })
  const rest = Effect.map(Effect.timeoutOption(following.bell.await, pace), (woken) => {
    following.mustAsk ||= Option.isNone(woken)
  })
  const pull: Effect.Effect<Chunk.Chunk<A>, Option.Option<RunNotFound | BackendError>> = Effect.suspend(() => {
    if (isOver) {
      return Effect.fail(Option.none())
    }
    following.bell.unsafeClose()
    const items = take(following.hasEnded)
    isOver = following.hasEnded
    if (items.length > 0 || isOver) {
      return Effect.succeed(Chunk.unsafeFromArray(items))
    }
    return Effect.zipRight(Effect.mapError(following.mustAsk ? ask : rest, Option.some), pull)
  })
  return Stream.repeatEffectChunkOption(Effect.withTracerEnabled(pull, false))
}

/** The log of a run, from its first line to its end. */
export const logs = (parts: Parts, id: RunId): Stream.Stream<LogLine, RunNotFound | BackendError> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const following = new Following()
      const cursor = new LogCursor(parts.maxLogLines)
      yield* listen(parts, id, following)
      yield* parts.bus.onLine({ runId: id }, (line) => {
        cursor.hear(line)
        following.bell.unsafeOpen()
      })
      const readFrom = (fromSeq: number): Effect.Effect<void, BackendError> =>
        Effect.flatMap(survive(parts.store.logs(id, { fromSeq, limit: pageSize })), (lines) => {
          cursor.read(lines)
          const last = lines[lines.length - 1]
          return last === undefined || lines.length < pageSize ? Effect.void : readFrom(last.seq + 1)
        })
      return follow(
        parts,
        id,
        following,
        (isEnd) => cursor.take(isEnd),
        () => Effect.suspend(() => readFrom(cursor.next))
      )
    })
  )

/** The progress of a run, of which the newest report is told, to its end. */
export const progress = <A>(
  parts: Parts,
  id: RunId,
  decode: (progress: string) => A
): Stream.Stream<A, RunNotFound | BackendError> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const following = new Following()
      let newest: string | null = null
      let told: string | null = null
      let heardUnder = -1
      yield* listen(parts, id, following)
      yield* parts.bus.onProgress(id, (progress, fence) => {
        newest = progress
        heardUnder = fence
        following.bell.unsafeOpen()
      })
      const take = (): ReadonlyArray<A> => {
        if (newest === null || newest === told) {
          return []
        }
        told = newest
        return [decode(newest)]
      }
      const read = (run: EncodedRun) =>
        Effect.sync(() => {
          // what was heard of a claim is newer than what is stored of it, until it has ended
          if (run.fence > heardUnder || isFinal(run.state)) {
            newest = run.progress ?? newest
          }
        })
      return follow(parts, id, following, take, read)
    })
  )

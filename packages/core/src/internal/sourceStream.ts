import { Cause, Chunk, Effect, Option, Queue, type Scope, Stream } from "effect"
import type { InvalidOption } from "../TaskError.js"
import * as polling from "./polling.js"

/*
 * Sources as streams, and streams as sources.
 */

type Event<E, PE> =
  | { readonly _tag: "Task"; readonly task: Effect.Effect<unknown, E> }
  | { readonly _tag: "Empty" }
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<PE> }

/** The tasks of a source: it is started when one is asked for, and stopped as soon as it has given something. */
export const toStream = <E, PE, R>(
  open: Effect.Effect<polling.OpenSource<E, PE>, InvalidOption, R>,
  isDaemon: boolean
): Stream.Stream<Effect.Effect<unknown, E>, PE | InvalidOption, Exclude<R, Scope.Scope>> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const source = yield* open
      const events = yield* Queue.unbounded<Event<E, PE>>()
      const sink: polling.Sink<E, PE> = {
        taskStarted: (task) => Queue.offer(events, { _tag: "Task", task }),
        noTasksFound: isDaemon ? Effect.void : Queue.offer(events, { _tag: "Empty" }),
        taskProductionFailed: (cause) =>
          isDaemon
            ? Effect.logWarning("no task could be produced", cause)
            : Queue.offer(events, { _tag: "Failed", cause })
      }
      const asked = source.start(sink).pipe(Effect.zipRight(Queue.take(events)), Effect.zipLeft(source.stop))
      const next = Effect.flatMap(Queue.poll(events), (event) =>
        Option.isSome(event) ? Effect.succeed(event.value) : asked
      )
      return Stream.repeatEffectOption(Effect.flatMap(next, give))
    })
  )

const give = <E, PE>(event: Event<E, PE>): Effect.Effect<Effect.Effect<unknown, E>, Option.Option<PE>> => {
  switch (event._tag) {
    case "Task":
      return Effect.succeed(event.task)
    case "Empty":
      return Effect.fail(Option.none())
    case "Failed":
      return Effect.mapError(Effect.failCause(event.cause), Option.some)
  }
}

/** A source that gives the elements of a stream, each when it is asked. After its end, or its failure, it is dry. */
export const fromStream = Effect.fnUntraced(function* <E, PE, R>(
  stream: Stream.Stream<Effect.Effect<unknown, E>, PE, R>
) {
  const pull = yield* Stream.toPull(stream)
  const context = yield* Effect.context<R>()
  let read: Chunk.Chunk<Effect.Effect<unknown, E>> = Chunk.empty()
  let isOver = false

  const take = () => {
    const task = Chunk.unsafeHead(read)
    read = Chunk.drop(read, 1)
    return task
  }
  const more: Effect.Effect<Effect.Effect<unknown, E> | undefined, PE> = Effect.matchCauseEffect(
    Effect.provide(pull, context),
    {
      onSuccess: (chunk) => {
        read = chunk
        return produce
      },
      onFailure: (cause) => {
        isOver = true
        return Option.match(Cause.flipCauseOption(cause), {
          onNone: () => Effect.succeed(undefined),
          onSome: Effect.failCause
        })
      }
    }
  )
  const produce: Effect.Effect<Effect.Effect<unknown, E> | undefined, PE> = Effect.suspend(() =>
    Chunk.isNonEmpty(read) ? Effect.sync(take) : isOver ? Effect.succeed(undefined) : more
  )
  return yield* polling.open({ interval: Number.POSITIVE_INFINITY, produce, backoff: undefined })
})

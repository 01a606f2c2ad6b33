import type { Message } from "@effect-tasks/core/Subscription"
import type { BackendError } from "@effect-tasks/core/TaskError"
import { Cause, Chunk, Clock, Duration, Effect, Either, Schedule, type Scope, Stream } from "effect"
import type { Redis } from "ioredis"
import * as client from "./client.js"
import * as scripts from "./scripts.js"

/*
 * A consumer of a group: it reads new messages, claims those whose consumers died or gave them back, and says of those that it
 * has that it still does.
 */

export interface Fields {
  readonly [field: string]: string
}

/** The options, checked; times in milliseconds. Documented in `RedisStream`. */
export interface Settings<A> {
  readonly stream: string
  readonly group: string
  readonly consumer: string
  readonly from: "0" | "$"
  readonly batch: number
  readonly claimAfter: number
  readonly claimEvery: number
  readonly redeliverAfter: number
  readonly maxDeliveries: number
  readonly deadLetters: string
  readonly deadLettersLength: number
  readonly decode: (fields: Fields) => Either.Either<A, { readonly message: string }>
}

interface Entry {
  readonly id: string
  readonly fields: ReadonlyArray<string>
  readonly deliveries: number
}

/** How long the server may take for an answer beyond the time for which it was asked to wait. */
const answerTime = 10_000
const cleanupTime = Duration.seconds(5)
/** A consumer that has asked for nothing for so long, and has nothing, is forgotten. */
const forgottenAfter = 24 * 60 * 60 * 1_000

/** Joins the group, which is made when it is not there, and gives its messages. */
export const open = Effect.fnUntraced(function* <A>(
  commands: Redis,
  settings: Settings<A>
): Effect.fn.Return<Stream.Stream<Message<A>, BackendError>, BackendError, Scope.Scope> {
  yield* makeGroup(commands, settings)
  yield* Effect.addFinalizer(() => leave(commands, settings, settings.consumer))
  yield* forget(commands, settings)
  const reader = yield* client.duplicate(commands)
  const id = yield* client.call(reader, "client id", "CLIENT", "ID")
  const reading = new Reading(settings, commands, reader, Number(id))
  yield* Effect.forkScoped(Effect.interruptible(reading.keep))
  return Stream.repeatEffectChunk(reading.next)
})

const makeGroup = (commands: Redis, { from, group, stream }: Settings<unknown>) =>
  Effect.catchIf(
    client.call(commands, "make group", "XGROUP", "CREATE", stream, group, from, "MKSTREAM"),
    ({ cause }) => cause instanceof Error && cause.message.startsWith("BUSYGROUP"),
    () => Effect.void
  )

const leave = (commands: Redis, { group, stream }: Settings<unknown>, consumer: string): Effect.Effect<void> =>
  client
    .run(commands, "leave group", scripts.leave, [stream], [group, consumer])
    .pipe(Effect.interruptible, Effect.disconnect, Effect.timeout(cleanupTime), Effect.ignore)

/** Removes consumers that crashed long ago, when others have taken over what they had. */
const forget = (commands: Redis, settings: Settings<unknown>): Effect.Effect<void, BackendError> =>
  Effect.flatMap(
    client.call(commands, "look at group", "XINFO", "CONSUMERS", settings.stream, settings.group),
    (consumers) =>
      Effect.forEach(
        (consumers as ReadonlyArray<ReadonlyArray<unknown>>).map(pairs).filter((one) => isForgotten(one)),
        (one) => leave(commands, settings, String(one.get("name"))),
        { discard: true }
      )
  )

const isForgotten = (consumer: ReadonlyMap<unknown, unknown>): boolean =>
  Number(consumer.get("pending")) === 0 && Number(consumer.get("idle")) > forgottenAfter

const pairs = (flat: ReadonlyArray<unknown>): ReadonlyMap<unknown, unknown> =>
  new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]))

class Reading<A> {
  private readonly settings: Settings<A>
  private readonly commands: Redis
  private readonly reader: Redis
  private readonly readerId: number
  /** The messages that were given and are not settled. */
  private readonly held = new Set<string>()
  /** When to look for messages to claim, and where to go on. */
  private claimAt = 0
  private cursor = "0-0"

  constructor(settings: Settings<A>, commands: Redis, reader: Redis, readerId: number) {
    this.settings = settings
    this.commands = commands
    this.reader = reader
    this.readerId = readerId
  }

  /** Some messages, or none for now. */
  get next(): Effect.Effect<Chunk.Chunk<Message<A>>, BackendError> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.flatMap(now >= this.claimAt ? this.claim(now) : this.read(this.claimAt - now), (entries) =>
        Effect.map(
          Effect.forEach(entries, (entry) => this.decoded(entry)),
          (messages) => Chunk.compact(Chunk.unsafeFromArray(messages.map(Either.getRight)))
        )
      )
    )
  }

  private run(operation: string, script: string, ...args: ReadonlyArray<string | number>) {
    const { consumer, deadLetters, group, stream } = this.settings
    return client.run(this.commands, operation, script, [stream, deadLetters], [group, consumer, ...args])
  }

  private claim(now: number): Effect.Effect<ReadonlyArray<Entry>, BackendError> {
    const { batch, claimAfter, claimEvery } = this.settings
    return Effect.map(this.run("claim", scripts.claim, claimAfter, this.cursor, batch), (reply) => {
      const [cursor, entries] = reply as [string, ReadonlyArray<[string, ReadonlyArray<string>, number]>]
      this.cursor = cursor
      if (cursor === "0-0") {
        this.claimAt = now + claimEvery
      }
      return this.hold(entries.map(([id, fields, deliveries]) => ({ id, fields, deliveries })))
    })
  }

  /** Waits for new messages. When it is interrupted, the server is asked to wait no longer, and what it gave is given back. */
  private read(millis: number): Effect.Effect<ReadonlyArray<Entry>, BackendError> {
    const { batch, consumer, group, stream } = this.settings
    const wait = Math.max(1, Math.ceil(millis))
    return Effect.async<ReadonlyArray<Entry>, BackendError>((resume) => {
      const args = ["GROUP", group, consumer, "COUNT", batch, "BLOCK", wait, "STREAMS", stream, ">"]
      const reply = this.reader.call("XREADGROUP", ...args).then(entriesOf)
      void reply.then(
        (entries) => resume(Effect.sync(() => this.hold(entries))),
        (cause) => resume(Effect.fail(client.toError("read", cause)))
      )
      const late = Effect.promise(() => reply.catch((): ReadonlyArray<Entry> => []))
      return Effect.zipRight(this.unblock, late).pipe(
        Effect.flatMap((entries) => Effect.forEach(entries, ({ id }) => Effect.ignore(this.release(id)))),
        Effect.interruptible,
        Effect.disconnect,
        Effect.timeout(cleanupTime),
        Effect.ignore
      )
    }).pipe(
      Effect.timeoutFail({
        duration: wait + answerTime,
        onTimeout: () => client.toError("read", new Error("the server does not answer"))
      })
    )
  }

  /** What it has already is being handled: it was idle for the server only. */
  private hold(entries: ReadonlyArray<Entry>): ReadonlyArray<Entry> {
    const fresh = entries.filter(({ id }) => !this.held.has(id))
    fresh.forEach(({ id }) => this.held.add(id))
    return fresh
  }

  private get unblock(): Effect.Effect<void> {
    return Effect.ignore(client.call(this.commands, "unblock", "CLIENT", "UNBLOCK", this.readerId))
  }

  /** A message that can be handled; one that cannot, because it does not fit the schema or kills who has it, is buried. */
  private decoded({ deliveries, fields, id }: Entry): Effect.Effect<Either.Either<Message<A>, void>, BackendError> {
    const { attributes, body } = split(fields)
    const { maxDeliveries } = this.settings
    const decoded =
      deliveries > maxDeliveries
        ? Either.left({ message: `its consumers died ${maxDeliveries} times` })
        : this.settings.decode(body)
    return Either.match(decoded, {
      onLeft: ({ message }) => Effect.as(this.giveBack(id, 0, message), Either.left(undefined)),
      onRight: (body) =>
        Effect.succeed(
          Either.right({
            id,
            body,
            attributes,
            deliveries,
            ack: this.ack(id),
            nack: this.giveBack(id, maxDeliveries, "it could not be handled"),
            release: this.release(id)
          })
        )
    })
  }

  private settled(id: string): () => void {
    return () => {
      this.held.delete(id)
    }
  }

  private ack(id: string): Effect.Effect<void, BackendError> {
    const { group, stream } = this.settings
    return Effect.map(client.call(this.commands, "ack", "XACK", stream, group, id), this.settled(id))
  }

  /** Has it delivered again after a while, or buries it when it was delivered so often. */
  private giveBack(id: string, maxDeliveries: number, reason: string): Effect.Effect<void, BackendError> {
    const { claimAfter, deadLetters, deadLettersLength, redeliverAfter } = this.settings
    const idle = claimAfter - redeliverAfter
    return this.run("nack", scripts.nack, id, idle, maxDeliveries, reason, deadLettersLength).pipe(
      Effect.tap(this.settled(id)),
      Effect.flatMap((outcome) =>
        outcome === 2
          ? Effect.annotateLogs(Effect.logError("a message was buried among the dead letters", reason), {
              messageId: id,
              deadLetters
            })
          : outcome === 1
            ? this.claimIn(redeliverAfter)
            : Effect.void
      )
    )
  }

  private claimIn(millis: number): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      this.claimAt = Math.min(this.claimAt, now + millis)
      return this.unblock
    })
  }

  private release(id: string): Effect.Effect<void, BackendError> {
    return Effect.map(this.run("release", scripts.release, id, this.settings.claimAfter), this.settled(id))
  }

  /** Says every so often that the messages being handled are. */
  get keep(): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.held.size === 0 ? Effect.void : this.run("extend", scripts.extend, ...this.held)
    ).pipe(
      Effect.catchAll((error) =>
        Effect.logWarning("messages could not be kept; others may take them over", Cause.fail(error))
      ),
      Effect.repeat(Schedule.spaced(this.settings.claimAfter / 3)),
      Effect.asVoid
    )
  }
}

const entriesOf = (reply: unknown): ReadonlyArray<Entry> =>
  ((reply ?? []) as ReadonlyArray<[string, ReadonlyArray<[string, ReadonlyArray<string> | null]>]>).flatMap(
    ([, entries]) => entries.map(([id, fields]) => ({ id, fields: fields ?? [], deliveries: 1 }))
  )

/** Attributes stand among the fields, under names that begin with this. */
export const attributeMark = "@"

const split = (flat: ReadonlyArray<string>) => {
  const body: Record<string, string> = {}
  const attributes: Record<string, string> = {}
  for (const [name, value] of pairs(flat) as ReadonlyMap<string, string>) {
    if (!name.startsWith(attributeMark)) {
      body[name] = value
    } else if (name !== attributeMark) {
      attributes[name.slice(attributeMark.length)] = value
    }
  }
  return { attributes, body }
}

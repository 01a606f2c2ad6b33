/** A topic that lives in memory and whose connection can be cut: a stand-in for a broker of messages. */
import type { Subscription } from "@effect-tasks/core"
import { Data, Deferred, Effect, Queue, Stream } from "effect"

export class ConnectionLost extends Data.TaggedError("ConnectionLost")<{ readonly topic: string }> {
  override get message() {
    return `the connection to ${this.topic} is lost`
  }
}

interface Sent<A> {
  readonly id: string
  readonly body: A
  readonly deliveries: number
}

export const make = Effect.fnUntraced(function* <A>(topic: string) {
  const waiting = yield* Queue.unbounded<Sent<A>>()
  const counts = { acked: 0, nacked: 0, connections: 0 }
  let cutting = yield* Deferred.make<never, ConnectionLost>()
  let isDown = false

  const message = (sent: Sent<A>): Subscription.Message<A> => ({
    ...sent,
    ack: Effect.sync(() => {
      counts.acked++
    }),
    nack: Effect.suspend(() => {
      counts.nacked++
      return Queue.offer(waiting, { ...sent, deliveries: sent.deliveries + 1 })
    })
  })

  /** Connecting is the Effect, reading is the Stream: a subscription is ready when it is connected. */
  const pull = Effect.suspend(() => {
    if (isDown) {
      return new ConnectionLost({ topic })
    }
    counts.connections++
    const next = Effect.raceFirst(Queue.take(waiting), Deferred.await(cutting))
    return Effect.succeed(Stream.repeatEffect(Effect.map(next, message)))
  })

  return {
    pull,
    counts,
    publish: (id: string, body: A) => Queue.offer(waiting, { id, body, deliveries: 1 }),
    /** How many messages wait. */
    size: Queue.size(waiting),
    /** Breaks the connection; no new one can be made until it is mended. */
    cut: Effect.suspend(() => {
      isDown = true
      return Deferred.fail(cutting, new ConnectionLost({ topic }))
    }),
    mend: Effect.map(Deferred.make<never, ConnectionLost>(), (next) => {
      cutting = next
      isDown = false
    })
  }
})

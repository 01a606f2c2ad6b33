import { Effect, Schema, type Scope, Stream } from "effect"

/** Documented in `TaskEvents`. */
export class Lagged extends Schema.TaggedClass<Lagged>("@effect-tasks/core/TaskEvents/Lagged")("Lagged", {
  missed: Schema.Number
}) {}

/**
 * A bounded buffer between the runtime, which must not wait, and one listener. What does not fit is dropped, and a marker
 * that says how much stands in its place.
 */
export class Feed<A> {
  private items: Array<A | Lagged> = []
  private missed = 0
  private missedInAll = 0
  private isClosed = false
  private readonly filled = Effect.unsafeMakeLatch(false)
  private readonly lagging = Effect.unsafeMakeLatch(false)
  private readonly capacity: number
  private readonly onDrop: () => void

  constructor(capacity: number, onDrop: () => void) {
    this.capacity = Math.max(1, capacity)
    this.onDrop = onDrop
  }

  offer(item: A): void {
    if (this.isClosed) {
      return
    }
    if (this.items.length >= this.capacity) {
      this.missed++
      this.missedInAll++
      this.onDrop()
      this.lagging.unsafeOpen()
      return
    }
    this.items.push(item)
    this.filled.unsafeOpen()
  }

  /** No more comes; what is there can be taken. */
  close(): void {
    this.isClosed = true
    this.filled.unsafeOpen()
  }

  /** All that is there, once there is something; nothing, when the feed is closed and empty. */
  get take(): Effect.Effect<ReadonlyArray<A | Lagged>> {
    return Effect.zipRight(
      this.filled.await,
      Effect.sync(() => {
        const { items, missed } = this
        this.items = []
        this.missed = 0
        if (missed > 0) {
          // all that was missed came after what is there, and before what is to come
          items.push(new Lagged({ missed }, { disableValidation: true }))
        }
        if (!this.isClosed) {
          this.filled.unsafeClose()
        }
        return items
      })
    )
  }

  /** What comes, one chunk for each time that the listener asks. */
  get stream(): Stream.Stream<A | Lagged> {
    return Stream.repeatEffect(this.take).pipe(
      Stream.takeWhile((items) => items.length > 0),
      Stream.flattenIterables
    )
  }

  /** Warns when the listener begins to miss something, and tells at the end how much it was. */
  warn(who: string): Effect.Effect<void, never, Scope.Scope> {
    return Effect.zipRight(
      Effect.addFinalizer(() =>
        this.missedInAll === 0 ? Effect.void : Effect.logWarning(`${who} was too slow and missed ${this.missedInAll}`)
      ),
      this.lagging.await.pipe(
        Effect.zipRight(Effect.logWarning(`${who} is too slow and begins to miss something`)),
        Effect.forkScoped,
        Effect.asVoid
      )
    )
  }
}

/** Leaves the markers out. */
export const withoutMarkers = <A, E, R>(self: Stream.Stream<A | Lagged, E, R>): Stream.Stream<A, E, R> =>
  Stream.filter(self, (item): item is A => !(item instanceof Lagged))

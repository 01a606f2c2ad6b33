/**
 * Joins concurrent calls into one: for those who write a backend.
 *
 * Work that arrives while nothing is in flight is flushed at once; work that arrives during a flush goes with the next
 * one, all together. So a single caller waits for nobody, and many callers share one statement, while each still waits for
 * its own commit. (The scheme is group commit, as databases do it for their logs.)
 *
 * @since 0.1.0
 */
import { Clock, Duration, Effect, Exit, type Scope } from "effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Batcher<in A, out B, out E> {
  /**
   * Hands over the items of one caller and waits for the answer to them. Interrupting it takes back items that no flush has
   * taken yet.
   */
  readonly submit: (items: ReadonlyArray<A>) => Effect.Effect<B, E>
}

interface Entry<A, B, E> {
  readonly items: ReadonlyArray<A>
  readonly done: (exit: Exit.Exit<B, E>) => void
}

const drainTime = Duration.seconds(10)
const liveClock = Clock.make()

/**
 * Makes a batcher whose flushes run in this scope, one at a time, and are not interrupted half way. When the scope closes,
 * what callers still wait for is flushed first, for up to ten seconds of real time; who comes later, or is left then, is
 * interrupted.
 *
 * `flush` gets the items of each caller as a group and gives back an answer per group, in order; when it fails, all groups
 * of the flush fail alike. No flush takes more groups once it has `maxItems` items (default 1,000).
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* <A, B, E, R>(options: {
  readonly flush: (groups: ReadonlyArray<ReadonlyArray<A>>) => Effect.Effect<ReadonlyArray<Exit.Exit<B, E>>, E, R>
  readonly maxItems?: number | undefined
}): Effect.fn.Return<Batcher<A, B, E>, never, R | Scope.Scope> {
  const maxItems = options.maxItems ?? 1_000
  let pending: Array<Entry<A, B, E>> = []
  let wake: (() => void) | undefined
  let whenIdle: (() => void) | undefined
  let flushing = false
  let closed = false

  const take = (): ReadonlyArray<Entry<A, B, E>> => {
    let items = 0
    let count = 0
    while (count < pending.length && (count === 0 || items + pending[count]!.items.length <= maxItems)) {
      items += pending[count++]!.items.length
    }
    const taken = pending.slice(0, count)
    pending = pending.slice(count)
    return taken
  }

  const someWork = Effect.async<void>((resume) => {
    if (pending.length > 0) {
      return resume(Effect.void)
    }
    wake = () => {
      wake = undefined
      resume(Effect.void)
    }
  })

  const noteIdle = () => {
    if (pending.length === 0 && !flushing) {
      whenIdle?.()
    }
  }

  const flushOnce = Effect.suspend(() => {
    const taken = take()
    flushing = true
    return options.flush(taken.map((entry) => entry.items)).pipe(
      Effect.exit,
      Effect.map((exit) => {
        for (let i = 0; i < taken.length; i++) {
          taken[i]!.done(Exit.isFailure(exit) ? Exit.failCause(exit.cause) : exit.value[i]!)
        }
        flushing = false
        noteIdle()
      })
    )
  })

  yield* someWork.pipe(
    Effect.zipRight(Effect.uninterruptible(flushOnce)),
    Effect.forever,
    Effect.onInterrupt(() =>
      Effect.fiberIdWith((fiberId) =>
        Effect.sync(() => {
          closed = true
          pending.forEach((entry) => entry.done(Exit.interrupt(fiberId)))
        })
      )
    ),
    Effect.forkScoped
  )

  const idle = Effect.async<void>((resume) => {
    whenIdle = () => resume(Effect.void)
    noteIdle()
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
    }).pipe(
      Effect.zipRight(idle),
      Effect.interruptible,
      Effect.timeoutOption(drainTime),
      // what is waited for is real: under a test's virtual clock the limit would never come
      Effect.withClock(liveClock)
    )
  )

  return {
    submit: (items) =>
      Effect.async<B, E>((resume) => {
        if (closed) {
          return resume(Effect.interrupt)
        }
        const entry: Entry<A, B, E> = { items, done: resume }
        pending.push(entry)
        wake?.()
        return Effect.sync(() => {
          pending = pending.filter((other) => other !== entry)
          noteIdle()
        })
      })
  }
})

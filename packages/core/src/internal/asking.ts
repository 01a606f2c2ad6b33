import { Cause, Duration, Effect, Either, Exit, type Fiber, Runtime } from "effect"
import type { ClaimRequest, Exchanged } from "../Broker.js"
import { BackendError } from "../TaskError.js"
import type { State } from "./consumerState.js"
import type { Ended } from "./inFlight.js"

/*
 * Asking the broker for an exchange, and understanding what it answers.
 */

/** Why there is no answer; `died` when the broker gave a defect rather than an error. */
export interface NoAnswer {
  readonly error: BackendError
  readonly died: boolean
}

type Answer = Either.Either<Exchanged, NoAnswer>

/**
 * One call of the broker. An answer that comes when the lease it asked for has ended is of little use, so after that time the
 * call is given up; after each failure in a row (`failures`) later, for a broker that is slow without end. It runs in a fiber of its own, for a broker that does not obey either; one that answers at once needs
 * neither a timer nor a turn.
 */
export const ask = (
  state: State,
  ended: ReadonlyArray<Ended>,
  claim: ClaimRequest | null,
  failures: number
): Effect.Effect<Answer> =>
  Effect.suspend(() => {
    const settlements = ended.map(({ settlement }) => settlement)
    const call = Effect.exit(Effect.suspend(() => state.broker.exchange({ settlements, claim })))
    const fiber = Runtime.runFork(state.untraced, call)
    const exit = fiber.unsafePoll()
    return Effect.map(exit === null ? within(state, fiber, failures) : exit, (exit) => read(state, ended, exit))
  })

type Call = Fiber.RuntimeFiber<Exit.Exit<Exchanged, BackendError>>

const mostLeases = 16

const within = (
  { broker, lease }: State,
  fiber: Call,
  failures: number
): Effect.Effect<Exit.Exit<Exchanged, BackendError>> => {
  const duration = Duration.times(lease, Math.min(2 ** failures, mostLeases))
  const giveUp = Effect.fiberIdWith((fiberId) => Effect.sync(() => fiber.unsafeInterruptAsFork(fiberId)))
  const late = new BackendError({
    backend: broker.name,
    operation: "exchange",
    transient: true,
    cause: new Error("the broker has not answered within the lease")
  })
  return Effect.flatten(fiber.await).pipe(
    Effect.timeoutTo({ duration, onSuccess: (exit) => exit, onTimeout: () => Exit.fail(late) }),
    Effect.tap((exit) => (Exit.isFailure(exit) && fiber.unsafePoll() === null ? giveUp : Effect.void)),
    Effect.onInterrupt(() => giveUp)
  )
}

/** A broker that dies is a broker that is away, unless what it was given is the reason. */
const read = ({ broker }: State, ended: ReadonlyArray<Ended>, exit: Exit.Exit<Exchanged, BackendError>): Answer => {
  if (Exit.isSuccess(exit)) {
    return Either.right(exit.value)
  }
  const failure = Cause.failureOrCause(exit.cause)
  return Either.left(
    Either.isLeft(failure)
      ? { error: failure.left, died: false }
      : {
          error: new BackendError({
            backend: broker.name,
            operation: "exchange",
            transient: ended.length === 0,
            cause: Cause.squash(failure.right)
          }),
          died: true
        }
  )
}

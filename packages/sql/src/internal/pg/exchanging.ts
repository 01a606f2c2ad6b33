import { lookAgainMillis } from "@effect-tasks/core/Admission"
import type { Broker, Claimed, ClaimRequest, Exchange, Exchanged, Settlement, Signal } from "@effect-tasks/core/Broker"
import { signalsAfter } from "@effect-tasks/core/RunRecord"
import { BackendError } from "@effect-tasks/core/TaskError"
import type * as TaskRun from "@effect-tasks/core/TaskRun"
import { Cause, Effect, FiberRef } from "effect"
import { makeAdmit } from "./admitting.js"
import {
  type Answer,
  claimParams,
  type ExchangeRow,
  exchangeStatement,
  makeServed,
  noClaim,
  readExchange
} from "./claims.js"
import type { Database, Run } from "./database.js"
import { isLockTimeout } from "./errors.js"
import type { Names } from "./names.js"
import { settleAnswers, settleParams } from "./settlements.js"

const work: Signal = { _tag: "Work" }

/** Claims that nobody will know of: their runs wait again. One that was taken over has crashed all the same. */
const givenBack = (claimed: Claimed, now: number): ReadonlyArray<Settlement> =>
  claimed.runs.map(({ previous, run }) => ({
    run: { ...run, state: previous === "scheduled" ? previous : "queued", consumer: null, leaseUntil: null },
    now,
    logs: [],
    hold: null
  }))

const isInterrupted = Effect.map(FiberRef.get(FiberRef.interruptedCause), (cause) => !Cause.isEmpty(cause))

/** The tasks and queues of which this process knows that so many runs may be performed at one time. */
const makeLimited = () => {
  const tasks = new Set<string>()
  const queues = new Set<string>()
  return {
    note: ({ queueLimits, tasks: served }: ClaimRequest): void => {
      queueLimits.forEach(({ queue }) => queues.add(queue))
      for (const { limits, maxConcurrency, name } of served) {
        if (maxConcurrency !== null || limits.some(({ _tag }) => _tag === "Concurrency")) {
          tasks.add(name)
        }
      }
    },
    /** The end of such a run may let another one begin: that is work for those who wait. */
    has: ({ queue, task }: TaskRun.Encoded): boolean => tasks.has(task) || queues.has(queue)
  }
}

interface Options {
  readonly database: Database
  readonly names: Names
  readonly tell: (signals: ReadonlyArray<Signal>) => Effect.Effect<void>
}

/**
 * Makes the exchange. Mostly it is one call. Where the claim has to look further, that is done in a transaction of several
 * statements; the next exchange of that consumer is such a transaction from the beginning, until nothing is left there.
 */
export const makeExchange = ({ database, names, tell }: Options): (typeof Broker.Service)["exchange"] => {
  const statement = exchangeStatement(names)
  const servedBy = makeServed()
  const admit = makeAdmit(names)
  const limited = makeLimited()
  const special = new Set<string>()

  const ask = (run: Run, { claim, settlements }: Exchange, isAlone: boolean) => {
    if (claim === null) {
      return Effect.map(run<ExchangeRow>(statement, [...settleParams(settlements), ...noClaim]), (rows) =>
        readExchange(rows, null)
      )
    }
    const { isPlain, params } = servedBy(claim)
    const values = [...settleParams(settlements), ...claimParams(claim, params, isPlain && isAlone)]
    return Effect.map(run<ExchangeRow>(statement, values), (rows) => {
      const answer = readExchange(rows, claim)
      if (answer.open !== undefined && (!isPlain || answer.open[1].includes(true))) {
        special.add(claim.consumer)
      } else {
        special.delete(claim.consumer)
      }
      return answer
    })
  }

  /** What the claim has gives when it has looked further, where it has to. */
  const further = (run: Run, claim: ClaimRequest | null, { claimed, open }: Answer) =>
    claim === null || open === undefined
      ? Effect.succeed(claimed)
      : admit(run, { request: claim, lanes: servedBy(claim).lanes, open, claimed })

  const inOne = (request: Exchange) =>
    database.write("exchange", (run) =>
      Effect.flatMap(ask(run, request, false), (answer) =>
        Effect.map(further(run, request.claim, answer), (claimed): Answer => ({ ...answer, claimed }))
      )
    )

  const oneByOne = (request: Exchange) =>
    Effect.flatMap(
      database.read("exchange", (run) => ask(run, request, true)),
      (answer) =>
        answer.open === undefined
          ? Effect.succeed(answer)
          : database
              .write("exchange", (run) => further(run, request.claim, answer))
              .pipe(
                // what has been written and claimed already has to be known
                Effect.catchIf(
                  () => request.settlements.length + answer.claimed.runs.length > 0,
                  () => Effect.succeed(laterAgain(answer.claimed, request.claim?.now ?? 0))
                ),
                Effect.map((claimed): Answer => ({ ...answer, claimed }))
              )
    )

  /** A caller that was interrupted meanwhile gets no answer, and so never hears of its claims. */
  const unlessInterrupted = (claimed: Claimed, now: number): Effect.Effect<void> =>
    Effect.flatMap(isInterrupted, (interrupted) =>
      interrupted && claimed.runs.length > 0
        ? Effect.ignore(
            Effect.zipRight(
              database.call("exchange", statement, [...settleParams(givenBack(claimed, now)), ...noClaim]),
              tell([work])
            )
          )
        : Effect.void
    )

  const exchange = (request: Exchange) => {
    const { claim, settlements } = request
    const answered = claim !== null && special.has(claim.consumer) ? inOne(request) : oneByOne(request)
    return Effect.flatMap(answered, ({ claimed, written }) => {
      const settled = settleAnswers(settlements, written)
      const signals = settled.length === 0 ? [] : signalsAfter(settlements, settled, limited.has)
      return Effect.zipRight(tell(signals), unlessInterrupted(claimed, claim?.now ?? 0)).pipe(
        Effect.as<Exchanged>({ settled, claimed: claim === null ? null : claimed })
      )
    })
  }

  return (request) =>
    Effect.suspend(() => {
      const { claim, settlements } = request
      if (claim !== null) {
        limited.note(claim)
      }
      return settlements.length === 0 && claim === null
        ? Effect.succeed<Exchanged>({ settled: [], claimed: null })
        : Effect.mapError(Effect.uninterruptible(exchange(request)), (error) => orApart(error, request))
    })
}

/**
 * A run that somebody keeps locked must not keep the ends of others from being written: what else there is to settle or to claim
 * is to be tried without it.
 */
const orApart = (error: BackendError, { claim, settlements }: Exchange): BackendError =>
  isLockTimeout(error.cause) && settlements.length + (claim === null ? 0 : 1) > 1 && settlements.length > 0
    ? new BackendError({
        backend: error.backend,
        operation: error.operation,
        transient: false,
        cause: error.cause
      })
    : error

const laterAgain = (claimed: Claimed, now: number): Claimed => ({
  ...claimed,
  nextAt: Math.min(claimed.nextAt ?? Number.POSITIVE_INFINITY, now + lookAgainMillis)
})

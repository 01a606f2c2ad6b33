import type { Broker } from "@effect-tasks/core"
import { Effect, Option } from "effect"
import type { Services } from "./backends.js"

/*
 * Backends that break a promise each, to see that the simulation notices.
 */

type Change = (services: Services) => Services

const withExchange = (
  services: Services,
  exchange: (exchange: Broker.Exchange) => ReturnType<Services["broker"]["exchange"]>
): Services => ({ ...services, broker: { ...services.broker, exchange } })

/** Writes every end under the newest fence, whoever hands it in. */
export const withoutFence: Change = (services) =>
  withExchange(services, (exchange) =>
    Effect.flatMap(services.store.get(exchange.settlements.map(({ run }) => run.id)), (found) =>
      services.broker.exchange({
        ...exchange,
        settlements: exchange.settlements.map((settlement, i) => ({
          ...settlement,
          run: { ...settlement.run, fence: Option.match(found[i]!, { onNone: () => 0, onSome: ({ fence }) => fence }) }
        }))
      })
    )
  )

/** Forgets the lease of every fifth claim, and gives the run out again. */
export const forgetfulOfLeases: Change = (services) => {
  let claims = 0
  return withExchange(services, ({ claim, settlements }) => {
    const forgets = claim !== null && ++claims % 5 === 0
    const sent = forgets ? { ...claim, leaseUntil: claim.now + 1 } : claim
    return Effect.map(services.broker.exchange({ settlements, claim: sent }), ({ claimed, settled }) => ({
      settled,
      claimed:
        // what it has forgotten it does not say, either
        claimed === null || claim === null
          ? claimed
          : { ...claimed, runs: claimed.runs.map((one) => withLease(one, claim.leaseUntil)) }
    }))
  })
}

const withLease = (claimed: Broker.ClaimedRun, leaseUntil: number): Broker.ClaimedRun => ({
  ...claimed,
  run: { ...claimed.run, leaseUntil }
})

const never = 4_000_000_000_000

/** Loses a run that is to be tried again. */
export const losingRetries: Change = (services) =>
  withExchange(services, ({ claim, settlements }) =>
    services.broker.exchange({
      claim,
      settlements: settlements.map((settlement) =>
        settlement.run.state === "scheduled" ? { ...settlement, run: { ...settlement.run, dueAt: never } } : settlement
      )
    })
  )

/** Claims of tasks that are not as the consumer says. */
const withTasks =
  (change: (task: Broker.ServedTask) => Broker.ServedTask): Change =>
  (services) =>
    withExchange(services, ({ claim, settlements }) =>
      services.broker.exchange({ settlements, claim: claim && { ...claim, tasks: claim.tasks.map(change) } })
    )

/** Claims as if no task had a limit. */
export const withoutLimits = withTasks((task) => ({ ...task, maxConcurrency: null, limits: [] }))

/** Claims as if no task had a rate; the keys of the others stand where they stood. */
export const withoutRates = withTasks((task) => ({
  ...task,
  limits: task.limits.map((limit) =>
    limit._tag === "Concurrency" ? limit : { _tag: "Concurrency", max: 1_000, key: null }
  )
}))

/** Takes no notice of what is paused. */
export const withoutPauses: Change = (services) => ({
  ...services,
  broker: {
    ...services.broker,
    control: ({ add, remove }) =>
      services.broker.control({ add: add.filter(({ state }) => state !== "paused"), remove })
  }
})

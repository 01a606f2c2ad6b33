/**
 * Which of the runs that wait a claim may take, and in what order: limits, and fairness among groups. For those who write a
 * backend.
 *
 * Runs that wait stand in lanes. The runs of a lane have everything in common that a limit or a fair share looks at: task,
 * queue, group and limit keys; so where the first may not be taken, none of the lane may. A claim takes from the heads of
 * lanes and never looks behind a head that may not be taken. All here is pure, but for `Turns`, which remembers whose turn it
 * was.
 *
 * @since 0.1.0
 */
import type { ClaimRequest, ServedTask } from "./Broker.js"
import * as Limit from "./Limit.js"
import { ageingMillis } from "./TaskPriority.js"

/**
 * What the runs of a lane have in common.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kind {
  readonly task: string
  readonly queue: string
  readonly group: string | null
  /** The keys of the task's keyed limits, as a JSON array of texts. */
  readonly limitKeys: string | null
}

/**
 * The first run of a lane.
 *
 * @since 0.1.0
 * @category models
 */
export interface Head {
  readonly id: string
  readonly rank: number
  readonly priority: number
  readonly dueAt: number
}

/**
 * A lane with its runs in the order of their rank.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lane<H extends Head> extends Kind {
  readonly peek: () => H | undefined
  readonly next: () => void
}

/**
 * How many runs of a kind are being performed.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunningCount {
  readonly task: string
  readonly limitKeys: string | null
  readonly runs: number
}

/**
 * A run that may be claimed, or that a rate refuses: then `refusedFor` says for how many milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Admitted<H extends Head> {
  readonly head: H
  readonly kind: Kind
  readonly refusedFor: number | null
}

/**
 * The state of a rate, by name, as it is to be kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface NamedRate extends Limit.RateState {
  readonly name: string
}

/**
 * Whether the task has limits beyond one number for all of its runs.
 *
 * @since 0.1.0
 * @category guards
 */
export const isPlain = ({ limits, room }: ServedTask): boolean => limits.length === 0 && room === null

const separator = "\u001f"

const keysOf = (limitKeys: string | null): ReadonlyArray<string> => (limitKeys === null ? [] : JSON.parse(limitKeys))

/** The limits of a task that hold for runs with these keys. A run that was queued before a limit has no key for it. */
const limitsOf = (
  { limits, name }: ServedTask,
  limitKeys: string | null
): ReadonlyArray<{ readonly name: string; readonly limit: Limit.Encoded }> => {
  const keys = keysOf(limitKeys)
  return limits.flatMap((limit, place) => {
    const key = limit.key === null ? "" : keys[limit.key]
    return key === undefined ? [] : [{ name: `${name}${separator}${place}${separator}${key}`, limit }]
  })
}

/**
 * The names of the rates that the runs of a lane pass.
 *
 * @since 0.1.0
 * @category rates
 */
export const rateNames = (task: ServedTask, { limitKeys }: Kind): ReadonlyArray<string> =>
  limitsOf(task, limitKeys).flatMap(({ limit, name }) => (limit._tag === "Concurrency" ? [] : [name]))

interface Counter {
  free: number
}

interface Rate {
  readonly name: string
  readonly rate: Limit.EncodedRate
  state: Limit.RateState
  isChanged: boolean
}

/** What stands between a lane and a claim. */
interface Gates {
  readonly counters: ReadonlyArray<Counter>
  readonly rates: ReadonlyArray<Rate>
}

/**
 * The limits as they are at one moment. `running` counts the runs of the tasks that have limits, `runningOfQueues` those of
 * the queues that have one, and `rates` are the states that are kept, by name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Usage {
  readonly running: ReadonlyArray<RunningCount>
  readonly runningOfQueues: ReadonlyMap<string, number>
  readonly rates: ReadonlyMap<string, Limit.RateState>
}

/**
 * The limits during one claim: what is admitted counts at once.
 *
 * @since 0.1.0
 * @category services
 */
export class Limits {
  private readonly tasks: ReadonlyMap<string, ServedTask>
  private readonly counters = new Map<string, Counter>()
  private readonly rates = new Map<string, Rate>()
  private readonly running = new Map<string, number>()
  private readonly request: ClaimRequest
  private readonly usage: Usage
  /** When the first of the rates that were met has a place again. */
  nextAt = Number.POSITIVE_INFINITY
  /** The tasks, and the queues behind a separator, in which a run waits for the end of another one. */
  readonly full = new Set<string>()

  constructor(request: ClaimRequest, usage: Usage) {
    this.request = request
    this.usage = usage
    this.tasks = new Map(request.tasks.map((task) => [task.name, task]))
    for (const { limitKeys, runs, task } of usage.running) {
      this.count(task, runs)
      const served = this.tasks.get(task)
      for (const { limit, name } of served === undefined ? [] : limitsOf(served, limitKeys)) {
        if (limit._tag === "Concurrency") {
          this.count(name, runs)
        }
      }
    }
  }

  /** The rates that have changed. */
  get changed(): ReadonlyArray<NamedRate> {
    return Array.from(this.rates.values())
      .filter(({ isChanged }) => isChanged)
      .map(({ name, state }) => ({ name, until: state.until, used: state.used }))
  }

  private count(name: string, runs: number): void {
    this.running.set(name, (this.running.get(name) ?? 0) + runs)
  }

  private counter(name: string, max: number, running: number): Counter {
    let counter = this.counters.get(name)
    if (counter === undefined) {
      counter = { free: max - running }
      this.counters.set(name, counter)
    }
    return counter
  }

  /** What stands between the runs of a lane and the claim. */
  gates(kind: Kind): Gates {
    const { queue } = kind
    const task = this.tasks.get(kind.task)
    const counters: Array<Counter> = []
    const rates: Array<Rate> = []
    const ofQueue = this.request.queueLimits.find((limit) => limit.queue === queue)
    if (ofQueue !== undefined) {
      counters.push(this.counter(fullQueue(queue), ofQueue.maxConcurrency, this.usage.runningOfQueues.get(queue) ?? 0))
    }
    if (task === undefined) {
      return { counters, rates }
    }
    if (task.maxConcurrency !== null) {
      counters.push(this.counter(task.name, task.maxConcurrency, this.running.get(task.name) ?? 0))
    }
    if (task.room !== null) {
      counters.push(this.counter(`${task.name}${separator}room`, task.room, 0))
    }
    for (const { limit, name } of limitsOf(task, kind.limitKeys)) {
      if (limit._tag === "Concurrency") {
        counters.push(this.counter(name, limit.max, this.running.get(name) ?? 0))
      } else {
        rates.push(this.rate(name, limit))
      }
    }
    return { counters, rates }
  }

  private rate(name: string, rate: Limit.EncodedRate): Rate {
    let known = this.rates.get(name)
    if (known === undefined) {
      known = { name, rate, state: this.usage.rates.get(name) ?? Limit.unused, isChanged: false }
      this.rates.set(name, known)
    }
    return known
  }

  /** Lets one run pass: `null` when it may be claimed, else for how long it is refused, or `closed` when it has to wait. */
  pass({ counters, rates }: Gates, kind: Kind): null | number | "closed" {
    const { now } = this.request
    if (counters.some(({ free }) => free <= 0)) {
      this.full.add(kind.task).add(fullQueue(kind.queue))
      return "closed"
    }
    const shut = rates.filter(({ rate, state }) => Limit.free(rate, state, now) === 0)
    if (shut.length > 0) {
      const freeAt = Math.max(...shut.map(({ rate, state }) => Limit.freeAt(rate, state)))
      if (!shut.some(({ rate }) => rate.refuse)) {
        this.nextAt = Math.min(this.nextAt, Math.max(freeAt, now + 1))
        return "closed"
      }
      counters.forEach((counter) => counter.free--)
      return Math.max(1, freeAt - now)
    }
    counters.forEach((counter) => counter.free--)
    for (const rate of rates) {
      rate.state = Limit.passed(rate.rate, rate.state, now)
      rate.isChanged = true
    }
    return null
  }
}

/**
 * The name of a queue in `Limits.full`.
 *
 * @since 0.1.0
 * @category claims
 */
export const fullQueue = (queue: string): string => `${separator}${queue}`

/** So many groups are remembered. One that is forgotten only has its turn a little sooner. */
const mostTurns = 10_000

/**
 * When each group of a queue was served last, by this process. The runs without a group are one too.
 *
 * @since 0.1.0
 * @category services
 */
export class Turns {
  private readonly byGroup = new Map<string, number>()
  private latest = 0

  /** From when on the group's next run counts as waiting. */
  since({ group, queue }: Kind): number {
    return this.byGroup.get(`${queue}${separator}${group ?? ""}`) ?? 0
  }

  /** Notes a turn of the group. Turns within a millisecond keep their order, and come after whoever is due in it. */
  served({ group, queue }: Kind, now: number): void {
    this.latest = Math.max(now, this.latest) + 0.001
    const name = `${queue}${separator}${group ?? ""}`
    this.byGroup.delete(name)
    this.byGroup.set(name, this.latest)
    if (this.byGroup.size > mostTurns) {
      const [oldest] = this.byGroup.keys()
      this.byGroup.delete(oldest!)
    }
  }
}

interface Open<H extends Head> {
  readonly lane: Lane<H>
  readonly gates: Gates
}

/**
 * The runs that a claim takes from these lanes, in order, at most `limit`.
 *
 * Without groups the order is that of ranks and ids. Among groups the waiting of a run counts from when its group was last
 * served, if that is later than its due time: so groups take turns, whatever the length of their backlogs, a higher priority
 * comes first, and a low one that waits gains on it by the rule of `TaskPriority`.
 *
 * @since 0.1.0
 * @category claims
 */
export const admit = <H extends Head>(
  lanes: ReadonlyArray<Lane<H>>,
  limits: Limits,
  turns: Turns,
  { limit, now }: { readonly limit: number; readonly now: number }
): ReadonlyArray<Admitted<H>> => {
  const isFair = lanes.some(({ group }) => group !== null)
  const rankOf = (lane: Kind, head: Head): number =>
    isFair ? Math.max(head.dueAt, turns.since(lane)) - head.priority * ageingMillis : head.rank
  const open: Array<Open<H>> = lanes.map((lane) => ({ lane, gates: limits.gates(lane) }))
  const admitted: Array<Admitted<H>> = []
  while (admitted.length < limit) {
    const at = first(open, rankOf)
    const chosen = open[at]
    const head = chosen?.lane.peek()
    if (chosen === undefined || head === undefined) {
      break
    }
    const answer = limits.pass(chosen.gates, chosen.lane)
    if (answer === "closed") {
      open.splice(at, 1)
      continue
    }
    chosen.lane.next()
    admitted.push({ head, kind: chosen.lane, refusedFor: answer })
    if (isFair) {
      turns.served(chosen.lane, now)
    }
  }
  return admitted
}

/** The place of the lane whose head comes first. Lanes that are empty are taken out. */
const first = <H extends Head>(open: Array<Open<H>>, rankOf: (lane: Kind, head: Head) => number): number => {
  let best: { readonly at: number; readonly rank: number; readonly head: H } | undefined
  for (let at = open.length - 1; at >= 0; at--) {
    const { lane } = open[at]!
    const head = lane.peek()
    if (head === undefined) {
      open.splice(at, 1)
      best = best === undefined ? undefined : { ...best, at: best.at - 1 }
      continue
    }
    const rank = rankOf(lane, head)
    if (best === undefined || rank < best.rank || (rank === best.rank && head.id < best.head.id)) {
      best = { at, rank, head }
    }
  }
  return best?.at ?? -1
}

/**
 * How many lanes of one task in one queue a claim looks at before it goes on with the next ones at the next claim. Runs that
 * need a lane of their own are those with a group, or with keys of a limit.
 *
 * @since 0.1.0
 * @category constants
 */
export const lanesSeen = 200

/**
 * How often one claim goes on with the next lanes while it finds too little in those before.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostLooks = 5

/**
 * After so many milliseconds a claim that has not seen all lanes is worth another one.
 *
 * @since 0.1.0
 * @category constants
 */
export const lookAgainMillis = 20

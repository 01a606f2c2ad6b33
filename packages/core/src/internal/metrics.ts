import { Effect, Metric, MetricBoundaries, type MetricHook, MetricKey, type MetricKeyType, MetricLabel } from "effect"
import type { QueueStats } from "../Store.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Final } from "../TaskState.js"
import type { AttemptResult } from "./attemptResult.js"

/*
 * What the runtime counts and measures. A tagged metric is looked up once and its hook kept, so that counting is a plain
 * call: a run pays a few of them, and no Effect.
 */

/** Documented in `TaskMetrics`. */
export interface Description {
  readonly name: string
  readonly kind: "counter" | "gauge" | "histogram"
  readonly labels: ReadonlyArray<string>
  readonly description: string
}

/** A metric before it has its labels. */
interface Untagged<Type extends MetricKeyType.MetricKeyType<number, unknown>> extends Description {
  readonly key: MetricKey.MetricKey<Type>
}

const described: Array<Description> = []

const describe = <Type extends MetricKeyType.MetricKeyType<number, unknown>>(
  kind: Description["kind"],
  key: MetricKey.MetricKey<Type>,
  labels: ReadonlyArray<string>,
  description: string
): Untagged<Type> => {
  const metric = { name: key.name, kind, labels, description, key }
  described.push({ name: key.name, kind, labels, description })
  return metric
}

const counter = (name: string, labels: ReadonlyArray<string>, description: string) =>
  describe(
    "counter",
    MetricKey.counter(`effect_tasks_${name}`, { description, incremental: true }),
    labels,
    description
  )

const gauge = (name: string, labels: ReadonlyArray<string>, description: string) =>
  describe("gauge", MetricKey.gauge(`effect_tasks_${name}`, { description }), labels, description)

const histogram = (name: string, buckets: ReadonlyArray<number>, labels: ReadonlyArray<string>, description: string) =>
  describe(
    "histogram",
    MetricKey.histogram(`effect_tasks_${name}`, MetricBoundaries.fromIterable(buckets), description),
    labels,
    description
  )

// From a millisecond to an hour: the wait for a place, and what handlers take.
const longSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600]
// From a tenth of a millisecond to ten seconds: one call of a backend.
const shortSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const batchSizes = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000]

const queued = counter("queued_total", ["task"], "runs accepted from producers")
const queueLatency = histogram(
  "queue_latency_seconds",
  longSeconds,
  ["task", "queue"],
  "from the moment a run was due to the moment a consumer claimed it"
)
const attemptDuration = histogram("attempt_duration_seconds", longSeconds, ["task"], "how long attempts took")
const attempts = counter("attempts_total", ["task", "outcome"], "attempts that have ended, by how")
const retries = counter("retries_total", ["task"], "failed attempts after which the run is tried again")
const ended = counter("runs_ended_total", ["task", "state"], "runs that have ended, by their final state")
const inFlight = gauge("in_flight", ["task"], "runs that consumers of this process perform now")
const leasesLost = counter("leases_lost_total", ["task"], "claims that this process lost before it could settle them")
const takeovers = counter("takeovers_total", ["task"], "runs taken over after the crash of the consumer that held them")
const exchangeDuration = histogram("exchange_duration_seconds", shortSeconds, [], "how long the broker took to answer")
const exchangeClaims = histogram(
  "exchange_claims",
  batchSizes,
  [],
  "how many runs an exchange gave, where it asked for any"
)
const exchangeSettlements = histogram("exchange_settlements", batchSizes, [], "how many ends an exchange handed in")
const brokerFailures = counter("broker_failures_total", ["operation"], "calls of the broker that failed")
const eventsDropped = counter("events_dropped_total", ["listener"], "events and lines that a slow listener missed")
const scheduleTicks = counter(
  "schedule_ticks_total",
  ["schedule", "outcome"],
  "ticks of schedules that were fired, skipped or missed"
)
const executorBusy = gauge(
  "executor_busy",
  ["executor"],
  "attempts that threads and child processes of this process perform now"
)
const queueDepth = gauge("queue_depth", ["queue", "state"], "unfinished runs, polled")
const oldestDue = gauge(
  "queue_oldest_due_seconds",
  ["queue"],
  "for how long the oldest waiting run has been due, polled"
)

/** All metrics, in the order of the documentation. */
export const all: ReadonlyArray<Description> = described

type HookOf<Type extends MetricKeyType.MetricKeyType<number, unknown>> = MetricHook.MetricHook<
  MetricKeyType.MetricKeyType.InType<Type>,
  unknown
>

const hookOf = <Type extends MetricKeyType.MetricKeyType<number, unknown>>(
  { key, labels }: Untagged<Type>,
  values: ReadonlyArray<string>,
  extra: ReadonlyArray<MetricLabel.MetricLabel>
): HookOf<Type> =>
  Metric.globalMetricRegistry.get(
    MetricKey.taggedWithLabels(key, [...extra, ...labels.map((label, i) => MetricLabel.make(label, values[i] ?? ""))])
  ) as HookOf<Type>

type Extra = ReadonlyArray<MetricLabel.MetricLabel>

/** Hooks of one metric by the value of its last label, made when they are first used. */
class Hooks<Type extends MetricKeyType.MetricKeyType<number, unknown>> {
  private readonly byLabel = new Map<string, HookOf<Type>>()
  private readonly metric: Untagged<Type>
  private readonly before: ReadonlyArray<string>
  private readonly extra: Extra

  constructor(metric: Untagged<Type>, before: ReadonlyArray<string>, extra: Extra) {
    this.metric = metric
    this.before = before
    this.extra = extra
  }

  at(label: string): HookOf<Type> {
    let hook = this.byLabel.get(label)
    if (hook === undefined) {
      hook = hookOf(this.metric, [...this.before, label], this.extra)
      this.byLabel.set(label, hook)
    }
    return hook
  }
}

const inSeconds = (millis: number): number => Math.max(0, millis) / 1_000

/** What is counted of the runs of one task. */
export class TaskMeter {
  private readonly latency: Hooks<MetricKeyType.MetricKeyType.Histogram>
  private readonly results: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly ends: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly queuedRuns: HookOf<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly durations: HookOf<MetricKeyType.MetricKeyType.Histogram>
  private readonly performing: HookOf<MetricKeyType.MetricKeyType.Gauge<number>>
  private readonly retried: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly lost: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly taken: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly task: string

  constructor(task: string, extra: Extra) {
    this.task = task
    this.latency = new Hooks(queueLatency, [task], extra)
    this.results = new Hooks(attempts, [task], extra)
    this.ends = new Hooks(ended, [task], extra)
    this.queuedRuns = hookOf(queued, [task], extra)
    this.durations = hookOf(attemptDuration, [task], extra)
    this.performing = hookOf(inFlight, [task], extra)
    this.retried = new Hooks(retries, [], extra)
    this.lost = new Hooks(leasesLost, [], extra)
    this.taken = new Hooks(takeovers, [], extra)
  }

  queued(count: number): void {
    this.queuedRuns.update(count)
  }

  /** A consumer begins an attempt. One that takes a run over says nothing of how long it waited. */
  began({ dueAt, queue, startedAt }: EncodedRun, previous: "queued" | "scheduled" | "running"): void {
    this.performing.modify(1)
    if (previous === "running") {
      this.taken.at(this.task).update(1)
    } else {
      this.latency.at(queue).update(inSeconds((startedAt ?? dueAt) - dueAt))
    }
  }

  attempted(result: AttemptResult, millis: number): void {
    this.results.at(result).update(1)
    this.durations.update(inSeconds(millis))
  }

  retriedOnce(): void {
    this.retried.at(this.task).update(1)
  }

  ended(state: Final): void {
    this.ends.at(state).update(1)
  }

  lostClaim(): void {
    this.lost.at(this.task).update(1)
  }

  /** A consumer lets a run go that it had begun. */
  letGo(): void {
    this.performing.modify(-1)
  }
}

/** What one manager or one consumer counts. */
export class Meter {
  private readonly tasks = new Map<string, TaskMeter>()
  private readonly duration: HookOf<MetricKeyType.MetricKeyType.Histogram>
  private readonly claims: HookOf<MetricKeyType.MetricKeyType.Histogram>
  private readonly settlements: HookOf<MetricKeyType.MetricKeyType.Histogram>
  private readonly failures: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly dropped: Hooks<MetricKeyType.MetricKeyType.Counter<number>>
  private readonly extra: Extra

  constructor(extra: Extra) {
    this.extra = extra
    this.duration = hookOf(exchangeDuration, [], extra)
    this.claims = hookOf(exchangeClaims, [], extra)
    this.settlements = hookOf(exchangeSettlements, [], extra)
    this.failures = new Hooks(brokerFailures, [], extra)
    this.dropped = new Hooks(eventsDropped, [], extra)
  }

  of(task: string): TaskMeter {
    let meter = this.tasks.get(task)
    if (meter === undefined) {
      meter = new TaskMeter(task, this.extra)
      this.tasks.set(task, meter)
    }
    return meter
  }

  /** The broker answered an exchange. `claimed` is `null` where nothing was asked for. */
  exchanged(settled: number, claimed: number | null, millis: number): void {
    this.duration.update(inSeconds(millis))
    this.settlements.update(settled)
    if (claimed !== null) {
      this.claims.update(claimed)
    }
  }

  brokerFailed(operation: "exchange" | "extend" | "enqueue" | "fire"): void {
    this.failures.at(operation).update(1)
  }

  /** Ticks of a schedule, by what became of them. */
  ticked(schedule: string, outcome: "fired" | "skipped" | "missed", ticks: number): void {
    if (ticks > 0) {
      hookOf(scheduleTicks, [schedule, outcome], this.extra).update(ticks)
    }
  }

  droppedOne(listener: "stream" | "observer"): void {
    this.dropped.at(listener).update(1)
  }
}

/** Counts an effect, while it is performed, among what an executor of this kind does. */
export const whileBusy =
  (executor: string) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(Effect.metricLabels, (labels) => {
      const busy = hookOf(executorBusy, [executor], labels)
      busy.modify(1)
      return Effect.ensuring(
        self,
        Effect.sync(() => busy.modify(-1))
      )
    })

/** A meter with the labels that the application gives to the metrics of this fiber. */
export const make: Effect.Effect<Meter> = Effect.map(Effect.metricLabels, (labels) => new Meter(labels))

/** The polled gauges. A queue that is there no more goes to zero. */
export class QueueMeter {
  private readonly known = new Set<string>()
  private readonly extra: Extra

  constructor(extra: Extra) {
    this.extra = extra
  }

  show(queues: ReadonlyArray<QueueStats>, now: number): void {
    const gone = new Set(this.known)
    for (const stats of queues) {
      this.known.add(stats.queue)
      gone.delete(stats.queue)
      this.showOne(stats, now)
    }
    for (const queue of gone) {
      this.showOne({ queue, queued: 0, scheduled: 0, running: 0, oldestDueAt: null }, now)
    }
  }

  private showOne({ oldestDueAt, queue, ...counts }: QueueStats, now: number): void {
    for (const state of ["queued", "scheduled", "running"] as const) {
      hookOf(queueDepth, [queue, state], this.extra).update(counts[state])
    }
    hookOf(oldestDue, [queue], this.extra).update(oldestDueAt === null ? 0 : inSeconds(now - oldestDueAt))
  }
}

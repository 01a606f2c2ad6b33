/*
 * Does a long history slow claims down? Two backends of one kind, one without history and one with many ended runs, claim in
 * turn from the same small backlog; runs are given back, so that neither history grows.
 */
import { type Backend, Broker, Store, TaskRun } from "@effect-tasks/core"
import { Context, Effect, type Layer, Layer as Layers, type Scope } from "effect"
import { median, type Result } from "../report.js"

export interface Options {
  readonly backend: Result["backend"]
  readonly layer: (name: string) => Layer.Layer<Backend.Backend, unknown>
  readonly history: number
  readonly rounds: number
}

const backlog = 1_000
const claimsPerRound = 300
const perClaim = 10

const task = "Noop"
const payload = JSON.stringify({ text: "x".repeat(90) })

const encoded = (n: number, state: "queued" | "success"): TaskRun.Encoded => ({
  id: TaskRun.RunId.make(`00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`),
  task,
  queue: "default",
  state,
  priority: 0,
  payload,
  payloadVersion: 1,
  createdAt: n,
  dueAt: n,
  startedAt: state === "success" ? n : null,
  endedAt: state === "success" ? n + 1 : null,
  attempt: 0,
  crashes: 0,
  fence: state === "success" ? 1 : 0,
  consumer: null,
  leaseUntil: null,
  ledger: "[]",
  outcome: state === "success" ? JSON.stringify({ _tag: "Success" }) : null,
  progress: null,
  logged: 0,
  tags: [],
  group: null,
  idempotency: null,
  parentId: null,
  rootId: null,
  retryOf: null,
  traceparent: null
})

interface Opened {
  readonly broker: typeof Broker.Broker.Service
  readonly store: typeof Store.Store.Service
}

/** A backend with so many ended runs, and the backlog. */
const prepare = (
  layer: Layer.Layer<Backend.Backend, unknown>,
  history: number
): Effect.Effect<Opened, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Layers.build(layer)
    const broker = Context.get(context, Broker.Broker)
    const store = Context.get(context, Store.Store)
    for (let from = 0; from < history; from += 1_000) {
      const count = Math.min(1_000, history - from)
      yield* store.record(Array.from({ length: count }, (_, i) => ({ run: encoded(from + i, "success"), logs: [] })))
    }
    yield* broker.enqueue(Array.from({ length: backlog }, (_, i) => encoded(history + i, "queued")))
    return { broker, store }
  })

/** Microseconds per claim; what is claimed is given back outside the measured time. */
const round = ({ broker }: Opened): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    let elapsed = 0
    for (let i = 0; i < claimsPerRound; i++) {
      const now = yield* broker.now
      const request = {
        consumer: "bench",
        queues: ["default"],
        tasks: [{ name: task, maxConcurrency: null }],
        limit: perClaim,
        now,
        leaseUntil: now + 30_000
      }
      const start = performance.now()
      const { runs } = yield* Broker.claim(broker, request)
      elapsed += performance.now() - start
      yield* Broker.settle(
        broker,
        runs.map(({ run }) => ({
          run: { ...run, state: "queued" as const, consumer: null, leaseUntil: null },
          logs: [],
          now,
          holdTaskUntil: null
        }))
      )
    }
    return (elapsed * 1_000) / claimsPerRound
  })

/** What a claim costs without and with a history, in interleaved rounds. */
export const claimBesideHistory = (options: Options): Effect.Effect<ReadonlyArray<Result>, unknown> =>
  Effect.scoped(
    Effect.gen(function* () {
      const empty = yield* prepare(options.layer("empty"), 0)
      const full = yield* prepare(options.layer("full"), options.history)
      const costs = { empty: [] as Array<number>, full: [] as Array<number> }
      yield* round(empty)
      yield* round(full)
      for (let i = 0; i < options.rounds; i++) {
        costs.empty.push(yield* round(empty))
        costs.full.push(yield* round(full))
      }
      const result = (subject: string, rounds: ReadonlyArray<number>): Result => ({
        backend: options.backend,
        measure: `claim of ${perClaim}`,
        subject,
        unit: "µs",
        median: median(rounds),
        rounds
      })
      return [result("history 0", costs.empty), result(`history ${options.history.toLocaleString("en")}`, costs.full)]
    })
  )

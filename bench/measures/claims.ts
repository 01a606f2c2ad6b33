/*
 * What a claim costs: beside runs that wait, and beside runs that have ended. A claim takes ten runs; they are given back, so
 * that backlog and history stay as they are.
 */
import { type Backend, Broker, Store, TaskRun } from "@effect-tasks/core"
import { Context, Effect, Exit, type Layer, Layer as Layers, Scope } from "effect"

/** How many runs wait, and how many have ended. */
export interface Scale {
  readonly backlog: number
  readonly history: number
}

/** A backend of that scale, ready for rounds. */
export interface Claims {
  /** Microseconds per claim. */
  readonly round: () => Promise<number>
  readonly close: () => Promise<void>
}

const claimsPerRound = 300
const perClaim = 10
const perCall = 1_000

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
  limitKeys: null,
  expiresAt: null,
  snoozes: 0,
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

/** Calls with the numbers from `from` to before `to`, a thousand at a time. */
const inPortions = <E>(
  from: number,
  to: number,
  call: (numbers: ReadonlyArray<number>) => Effect.Effect<unknown, E>
): Effect.Effect<void, E> =>
  Effect.iterate(from, {
    while: (at) => at < to,
    body: (at) => {
      const count = Math.min(perCall, to - at)
      return Effect.as(call(Array.from({ length: count }, (_, i) => at + i)), at + count)
    }
  })

/** A backend with so many ended runs, and the backlog. */
const prepare = (
  layer: Layer.Layer<Backend.Backend, unknown>,
  { backlog, history }: Scale
): Effect.Effect<Opened, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Layers.build(layer)
    const broker = Context.get(context, Broker.Broker)
    const store = Context.get(context, Store.Store)
    yield* inPortions(0, history, (numbers) =>
      store.record(numbers.map((n) => ({ run: encoded(n, "success"), logs: [] })))
    )
    yield* inPortions(history, history + backlog, (numbers) => broker.enqueue(numbers.map((n) => encoded(n, "queued"))))
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
        queueLimits: [],
        tasks: [{ name: task, maxConcurrency: null, limits: [], room: null }],
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
          hold: null
        }))
      )
    }
    return (elapsed * 1_000) / claimsPerRound
  })

export const open = async (layer: Layer.Layer<Backend.Backend, unknown>, scale: Scale): Promise<Claims> => {
  const scope = Effect.runSync(Scope.make())
  const opened = await Effect.runPromise(Scope.extend(prepare(layer, scale), scope))
  return {
    round: () => Effect.runPromise(round(opened)),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/*
 * What a claim costs: beside runs that wait, and beside runs that have ended. A claim takes ten runs; they are given back, so
 * that backlog and history stay as they are.
 */
import { type Backend, Broker, Store, TaskRun } from "@effect-tasks/core"
import { Context, Effect, Exit, type Layer, Layer as Layers, Scope } from "effect"

/**
 * How many runs wait, and how many have ended. `beside` are runs of another task that the consumer serves too, and that wait
 * longest: but their task is at its limit, or the one key that they all have, or their queue is paused.
 */
export interface Scale {
  readonly backlog: number
  readonly history: number
  readonly beside?: { readonly runs: number; readonly shutBy: "task" | "key" | "queue" } | undefined
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
const shutTask = "Shut"
const shutQueue = "shut"
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
  readonly request: Request
  readonly store: typeof Store.Store.Service
}

type Request = Pick<Broker.ClaimRequest, "queues" | "queueLimits" | "tasks">

const served = (fields: Partial<Broker.ServedTask>): Broker.ServedTask => ({
  name: task,
  maxConcurrency: null,
  limits: [],
  room: null,
  ...fields
})

/** What the consumer serves. */
const requestOf = ({ beside }: Scale): Request => {
  const common = { queues: ["default"], queueLimits: [] }
  switch (beside?.shutBy) {
    case undefined:
      return { ...common, tasks: [served({})] }
    case "task":
      return { ...common, tasks: [served({}), served({ name: shutTask, maxConcurrency: 1 })] }
    case "key": {
      const limit = { _tag: "Concurrency", max: 1, key: 0 } as const
      return { ...common, tasks: [served({}), served({ name: shutTask, limits: [limit] })] }
    }
    case "queue":
      return { ...common, queues: ["default", shutQueue], tasks: [served({}), served({ name: shutTask })] }
  }
}

/** Enqueues the runs that may not be claimed, and brings their limit about. */
const shut = (
  broker: typeof Broker.Broker.Service,
  from: number,
  { runs, shutBy }: NonNullable<Scale["beside"]>,
  request: Request
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const fields = {
      task: shutTask,
      queue: shutBy === "queue" ? shutQueue : "default",
      limitKeys: shutBy === "key" ? JSON.stringify(["hot"]) : null
    }
    yield* inPortions(from, from + runs, (numbers) =>
      broker.enqueue(numbers.map((n) => ({ ...encoded(n, "queued"), ...fields })))
    )
    if (shutBy === "queue") {
      return yield* broker.control({ add: [{ of: "queue", name: shutQueue, state: "paused" }], remove: [] })
    }
    const now = yield* broker.now
    yield* Broker.claim(broker, { ...request, consumer: "other", limit: 1, now, leaseUntil: now + 3_600_000 })
  })

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
  scale: Scale
): Effect.Effect<Opened, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { backlog, beside, history } = scale
    const request = requestOf(scale)
    const context = yield* Layers.build(layer)
    const broker = Context.get(context, Broker.Broker)
    const store = Context.get(context, Store.Store)
    yield* inPortions(0, history, (numbers) =>
      store.record(numbers.map((n) => ({ run: encoded(n, "success"), logs: [] })))
    )
    if (beside !== undefined) {
      yield* shut(broker, history, beside, request)
    }
    const from = history + (beside?.runs ?? 0)
    yield* inPortions(from, from + backlog, (numbers) => broker.enqueue(numbers.map((n) => encoded(n, "queued"))))
    return { broker, store, request }
  })

/** Microseconds per claim; what is claimed is given back outside the measured time. */
const round = ({ broker, request: common }: Opened): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    let elapsed = 0
    for (let i = 0; i < claimsPerRound; i++) {
      const now = yield* broker.now
      const request = {
        ...common,
        consumer: "bench",
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

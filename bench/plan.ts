/* What is measured, with whom, how much, and in which order. */
import type { Arguments } from "./arguments.js"
import type { Backend, Job, Size } from "./protocol.js"
import { ours, subjects } from "./subjects/index.js"

/** One subject at one job. */
export interface Lane {
  readonly subject: string
  readonly job: Job
  /** Lanes of the same name share a process. */
  readonly process: string
}

/** Lanes whose rounds take turns, so that whatever else the machine does disturbs all of them alike. */
export interface Group {
  readonly lanes: ReadonlyArray<Lane>
  readonly rounds: number
  /** Rounds before those, which are not counted. */
  readonly warmUps: number
  /** Whether a round's lanes go at one time. Only for processes that do nothing. */
  readonly together: boolean
  readonly size: Size
  readonly warmUpSize: Size
  /** After so many seconds a process that has not answered has failed. */
  readonly patience: number
}

const sizes: { readonly [Mode in "quick" | "full"]: { readonly [B in Backend]: Size } } = {
  quick: {
    memory: { single: 5_000, bulk: 10_000, drain: 5_000, latencySeconds: 0.2, idleSeconds: 2 },
    sqlite: { single: 1_000, bulk: 3_000, drain: 1_000, latencySeconds: 0.2, idleSeconds: 2 },
    pg: { single: 300, bulk: 1_000, drain: 500, latencySeconds: 0.2, idleSeconds: 2 }
  },
  full: {
    memory: { single: 100_000, bulk: 100_000, drain: 50_000, latencySeconds: 2, idleSeconds: 5 },
    sqlite: { single: 10_000, bulk: 30_000, drain: 20_000, latencySeconds: 2, idleSeconds: 5 },
    pg: { single: 3_000, bulk: 10_000, drain: 10_000, latencySeconds: 2, idleSeconds: 5 }
  }
}

/** Each poll of SqlPersistedQueue sorts all that waits: with a longer queue it would be slower, and never be done. */
const longestDrain: { readonly [subject: string]: number } = { "@effect/sql": 3_000 }

/** The size of a lane's round. */
export const sizeOf = (size: Size, { subject }: Lane): Size => ({
  ...size,
  drain: Math.min(size.drain, longestDrain[subject] ?? size.drain)
})

const beside: ReadonlyArray<Job> = [
  "enqueue-single",
  "enqueue-bulk",
  "drain-c10",
  "drain-c100",
  "latency-idle",
  "latency-half"
]

/** What one measures of the growth of costs. The long histories take minutes to write. */
const growth = {
  quick: [["claim-history-0", "claim-history-100k"]],
  full: [
    ["claim-1k", "claim-100k", "claim-1m"],
    ["claim-history-0", "claim-history-1m"],
    ["claim-beside-none", "claim-beside-task", "claim-beside-key", "claim-beside-queue"]
  ]
} satisfies Record<string, ReadonlyArray<ReadonlyArray<Job>>>

/** What tasks that keep the processor busy do to the loop of their consumer. No backend matters to that. */
const executors: ReadonlyArray<Job> = ["executor-inline", "executor-thread", "executor-cancel"]

/** The subjects of a backend: ours first, where it has that backend. */
const subjectsOf = (backend: Backend): ReadonlyArray<string> => [ours, ...Object.keys(subjects[backend])]

const scaled = (size: Size, factor: number): Size => ({
  single: Math.ceil(size.single * factor),
  bulk: Math.ceil(size.bulk * factor),
  drain: Math.ceil(size.drain * factor),
  latencySeconds: size.latencySeconds * factor,
  idleSeconds: size.idleSeconds * factor
})

export const make = (backend: Backend, { only, quick, subjects }: Arguments): ReadonlyArray<Group> => {
  const names = subjectsOf(backend).filter((name) => subjects.length === 0 || subjects.includes(name))
  const isWanted = (job: Job) =>
    only.length === 0 || only.some((name) => `${job}-`.startsWith(`${name}-`) || name.startsWith(`${job}-`))
  const size = sizes[quick ? "quick" : "full"][backend]
  const common = {
    size,
    warmUpSize: scaled(size, quick ? 0.25 : 0.5),
    warmUps: 1,
    together: false,
    patience: quick ? 15 : 60
  }
  const rounds = quick ? 3 : 5
  const lanesOf = (job: Job): ReadonlyArray<Lane> => names.map((subject) => ({ subject, job, process: subject }))
  const alone = (jobs: ReadonlyArray<Job>): ReadonlyArray<Lane> =>
    names.includes(ours) ? jobs.map((job) => ({ subject: ours, job, process: `${ours} ${job}` })) : []
  const few = { rounds: quick ? 1 : 3, warmUps: 0 }
  return [
    ...beside.map((job): Group => ({ ...common, lanes: lanesOf(job), rounds })),
    ...(backend === "memory" ? [{ ...common, ...few, lanes: lanesOf("memory-100k") }] : []),
    { ...common, ...few, lanes: lanesOf("cpu-idle"), together: true },
    ...(backend === "memory" ? [{ ...common, ...few, lanes: alone(executors), patience: 60 }] : []),
    ...growth[quick ? "quick" : "full"].map(
      (jobs): Group => ({ ...common, lanes: alone(jobs), rounds, patience: quick ? 40 : 400 })
    )
  ]
    .map((group) => ({ ...group, lanes: group.lanes.filter(({ job }) => isWanted(job)) }))
    .filter(({ lanes }) => lanes.length > 0)
}

import { parseArgs } from "node:util"
import { type BackendName, backendNames } from "./backends.js"

/** Which worlds to play. */
export interface Arguments {
  readonly seeds: ReadonlyArray<number>
  /** `null`: even seeds on memory, odd ones on SQLite. */
  readonly backend: BackendName | null
  /** Whether to print the trace. */
  readonly replays: boolean
}

export const usage = `usage: simulate [--seeds N] [--from S] [--seed X] [--backend memory|sqlite]

  --seeds N    plays N worlds (default 100)
  --from S     beginning with the world of seed S (default 1)
  --seed X     plays only the world of seed X, and prints its trace
  --backend    on this backend; otherwise worlds of even seeds on memory, of odd ones on SQLite`

const isBackend = (name: string): name is BackendName => (backendNames as ReadonlyArray<string>).includes(name)

/** The arguments of the command line, or what is wrong with them. */
export const parse = (args: ReadonlyArray<string>): Arguments | string => {
  try {
    const text = { type: "string" } as const
    const { values } = parseArgs({
      args: [...args],
      options: { seeds: text, from: text, seed: text, backend: text }
    })
    const [seeds, from] = [Number(values.seed === undefined ? (values.seeds ?? 100) : 1), Number(values.from ?? 1)]
    const first = values.seed === undefined ? from : Number(values.seed)
    const { backend = null } = values
    if (!Number.isSafeInteger(seeds) || seeds < 1 || !Number.isSafeInteger(first)) {
      return "--seeds, --from and --seed are integers"
    }
    if (backend !== null && !isBackend(backend)) {
      return `--backend is ${backendNames.join(" or ")}`
    }
    return { seeds: Array.from({ length: seeds }, (_, i) => first + i), backend, replays: values.seed !== undefined }
  } catch (error) {
    return (error as Error).message
  }
}

export const backendOf = (seed: number, { backend }: Pick<Arguments, "backend">): BackendName =>
  backend ?? (seed % 2 === 0 ? "memory" : "sqlite")

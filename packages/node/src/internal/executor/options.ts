import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import { isAbsolute } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { ExecutorUnavailable, InvalidOption } from "@effect-tasks/core/TaskError"
import { Duration, Effect } from "effect"
import type { ResourceLimits } from "./host.js"

/** Documented in `NodeExecutor`. */
export interface PoolOptions {
  readonly poolSize?: number | undefined
  readonly eager?: boolean | undefined
  readonly startTimeout?: Duration.DurationInput | undefined
  readonly grace?: Duration.DurationInput | undefined
  readonly idleTimeout?: Duration.DurationInput | undefined
  readonly maxTasksPerWorker?: number | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly execArgv?: ReadonlyArray<string> | undefined
}

/** Documented in `NodeExecutor`. */
export interface Options extends PoolOptions {
  readonly entry: URL | string
  readonly thread?: (PoolOptions & { readonly resourceLimits?: ResourceLimits | undefined }) | undefined
  readonly process?: (PoolOptions & { readonly killAfter?: Duration.DurationInput | undefined }) | undefined
}

/** The options of one pool, checked, with defaults filled in. */
export interface Checked {
  readonly entry: URL
  readonly poolSize: number
  readonly eager: boolean
  readonly startTimeout: Duration.Duration
  readonly grace: Duration.Duration
  readonly idleTimeout: Duration.Duration
  readonly maxTasksPerWorker: number
  readonly env: Readonly<Record<string, string>>
  readonly execArgv: ReadonlyArray<string> | undefined
  readonly resourceLimits: ResourceLimits
  readonly killAfter: Duration.Duration
}

type Check = readonly [option: string, value: unknown, fits: boolean, expected: string]

const isCount = (value: number): boolean => value === Number.POSITIVE_INFINITY || Number.isSafeInteger(value)

/** What is given for the kind of worker wins over what is given for both. */
export const check = Effect.fnUntraced(function* (
  kind: "thread" | "process",
  { entry, process, thread, ...common }: Options
): Effect.fn.Return<Checked, InvalidOption | ExecutorUnavailable> {
  const url = yield* urlOf(entry)
  const own = kind === "thread" ? thread : process
  const options: PoolOptions = { ...common, ...own }
  const checked: Checked = {
    entry: url,
    poolSize: options.poolSize ?? Math.max(1, availableParallelism() - 1),
    eager: options.eager ?? false,
    startTimeout: Duration.decode(options.startTimeout ?? "30 seconds"),
    grace: Duration.decode(options.grace ?? "500 millis"),
    idleTimeout: Duration.decode(options.idleTimeout ?? Duration.infinity),
    maxTasksPerWorker: options.maxTasksPerWorker ?? Number.POSITIVE_INFINITY,
    env: options.env ?? {},
    execArgv: options.execArgv,
    resourceLimits: thread?.resourceLimits ?? {},
    killAfter: Duration.decode(process?.killAfter ?? "2 seconds")
  }
  const failed = checksOf(checked).find(([, , fits]) => !fits)
  return failed === undefined
    ? checked
    : yield* new InvalidOption({ option: failed[0], value: failed[1], expected: failed[3] })
})

const checksOf = (checked: Checked): ReadonlyArray<Check> => {
  const finite = (option: "startTimeout" | "grace" | "killAfter"): Check => [
    option,
    Duration.format(checked[option]),
    Duration.isFinite(checked[option]),
    "a finite duration"
  ]
  const { maxTasksPerWorker, poolSize } = checked
  return [
    ["poolSize", poolSize, Number.isSafeInteger(poolSize) && poolSize >= 1, "an integer, 1 or more"],
    [
      "maxTasksPerWorker",
      maxTasksPerWorker,
      isCount(maxTasksPerWorker) && maxTasksPerWorker >= 1,
      "an integer, 1 or more"
    ],
    finite("startTimeout"),
    finite("grace"),
    finite("killAfter")
  ]
}

const urlOf = (entry: URL | string): Effect.Effect<URL, InvalidOption | ExecutorUnavailable> => {
  const url =
    typeof entry !== "string" ? entry : isAbsolute(entry) ? pathToFileURL(entry) : URL.canParse(entry) && new URL(entry)
  if (url === false || url.protocol !== "file:") {
    return new InvalidOption({ option: "entry", value: entry, expected: "an absolute path, or a URL with file:" })
  }
  return existsSync(fileURLToPath(url))
    ? Effect.succeed(url)
    : new ExecutorUnavailable({ entry: nameOf(url), reason: "there is no such file" })
}

/** An entry as messages name it. */
export const nameOf = (url: URL): string => fileURLToPath(url)

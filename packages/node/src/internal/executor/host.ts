import { type ChildProcess, fork } from "node:child_process"
import { Worker } from "node:worker_threads"
import { type Duration, Effect } from "effect"
import type { Stream } from "./output.js"
import { mark } from "./protocol.js"

/*
 * Threads and child processes, as what they have in common.
 */

/** A thread or a child process that runs an entry. */
export interface Host {
  readonly post: (text: string) => void
  /** Ends it, whatever it does. It is given what waits for its end. */
  readonly kill: (exited: Effect.Effect<void>) => Effect.Effect<void>
}

/** Who hears of it. `onExit` is the last that is called. */
interface Listener {
  readonly onMessage: (message: unknown) => void
  readonly onOutput: (stream: Stream, text: string) => void
  readonly onExit: (reason: string) => void
}

/** Starts one. It may throw, when it cannot be tried at all. */
export type Start = (listener: Listener) => Host

/** The memory that a thread may use, in megabytes. */
export interface ResourceLimits {
  readonly maxOldGenerationSizeMb?: number | undefined
  readonly maxYoungGenerationSizeMb?: number | undefined
  readonly codeRangeSizeMb?: number | undefined
  readonly stackSizeMb?: number | undefined
}

interface Program {
  readonly entry: URL
  readonly env: Readonly<Record<string, string>>
  readonly execArgv: ReadonlyArray<string> | undefined
}

const given = <A extends object>(options: A) =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error))

export const thread =
  ({ entry, env, execArgv, resourceLimits }: Program & { readonly resourceLimits: ResourceLimits }): Start =>
  (listener) => {
    const worker = new Worker(entry, {
      workerData: mark,
      stdout: true,
      stderr: true,
      env: { ...process.env, ...env },
      resourceLimits: given(resourceLimits),
      ...(execArgv === undefined ? {} : { execArgv: Array.from(execArgv) })
    })
    let reason: string | undefined
    worker.stdout.setEncoding("utf8").on("data", (text: string) => listener.onOutput("stdout", text))
    worker.stderr.setEncoding("utf8").on("data", (text: string) => listener.onOutput("stderr", text))
    worker.on("message", listener.onMessage)
    worker.on("error", (error: Error & { readonly code?: string }) => {
      reason = error?.code === "ERR_WORKER_OUT_OF_MEMORY" ? `the thread: ${error.message}` : describe(error)
    })
    worker.on("exit", (code) => listener.onExit(reason ?? `the thread ended with code ${code}`))
    return {
      post: (text) => worker.postMessage(text),
      kill: (exited) =>
        Effect.zipRight(
          Effect.promise(() => worker.terminate()),
          exited
        )
    }
  }

/** After the end of a process, what it wrote may still be under way; but not for long. */
const lastWordsMillis = 200

/** The children that are alive. They have groups of their own: no signal that is meant for this process reaches them. */
const children = new Set<ChildProcess>()

const killAll = () => children.forEach((child) => signal(child, "SIGKILL"))

/** A child that is busy would outlive its parent. */
const watch = (child: ChildProcess): void => {
  if (children.size === 0) {
    process.on("exit", killAll)
  }
  children.add(child)
}

const unwatch = (child: ChildProcess): void => {
  if (children.delete(child) && children.size === 0) {
    process.off("exit", killAll)
  }
}

const hasGroups = process.platform !== "win32"

/** Reaches the processes that the child has started, too. */
const signal = (child: ChildProcess, name: NodeJS.Signals): void => {
  if (child.pid === undefined || !children.has(child)) {
    return
  }
  try {
    if (hasGroups) {
      process.kill(-child.pid, name)
    } else {
      child.kill(name)
    }
  } catch {
    // it has ended in this moment
  }
}

export const childProcess =
  ({ entry, env, execArgv, killAfter }: Program & { readonly killAfter: Duration.Duration }): Start =>
  (listener) => {
    const child = fork(entry, [], {
      env: { ...process.env, ...env, [mark]: "process" },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      detached: hasGroups,
      ...(execArgv === undefined ? {} : { execArgv: Array.from(execArgv) })
    })
    watch(child)
    child.stdout?.setEncoding("utf8").on("data", (text: string) => listener.onOutput("stdout", text))
    child.stderr?.setEncoding("utf8").on("data", (text: string) => listener.onOutput("stderr", text))
    child.on("message", listener.onMessage)
    listenToEnd(child, listener.onExit)
    return {
      // one that has ended is told of by its exit
      post: (text) => child.connected && child.send(text, () => {}),
      kill: (exited) =>
        Effect.sync(() => signal(child, "SIGTERM")).pipe(
          Effect.zipRight(exited),
          Effect.timeoutOption(killAfter),
          Effect.zipRight(Effect.sync(() => signal(child, "SIGKILL"))),
          Effect.zipRight(exited)
        )
    }
  }

const listenToEnd = (child: ChildProcess, onExit: (reason: string) => void): void => {
  let isTold = false
  const tell = (reason: string) => {
    if (!isTold) {
      isTold = true
      onExit(reason)
    }
  }
  child.once("error", (error) => {
    // without a process there is no exit
    if (child.pid === undefined) {
      unwatch(child)
      tell(describe(error))
    }
  })
  child.once("exit", (code, name) => {
    unwatch(child)
    const reason = name === null ? `the process ended with code ${code}` : `the process was ended by ${name}`
    const timer = setTimeout(() => tell(reason), lastWordsMillis)
    child.once("close", () => {
      clearTimeout(timer)
      tell(reason)
    })
  })
}

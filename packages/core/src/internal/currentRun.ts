import { Effect, type Scope } from "effect"
import type { CurrentRun } from "../CurrentRun.js"
import type { LockLost } from "../LockError.js"
import type { LogLine } from "../Store.js"
import type { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import { type Lock, type LockError, type LockOptions, type Locks, nameOfTask } from "./locks.js"
import type { Outcome, RunId } from "./run.js"
import { scheduleOf, tickOf } from "./scheduleTags.js"

/** Writes the end of a run inside the caller's transaction; false when the claim on it is lost. */
export type Complete = (outcome: Outcome) => Effect.Effect<boolean, BackendError>

/** A line that a handler logs. */
export type NewLine = Omit<typeof LogLine.Type, "runId" | "attempt" | "seq">

/** Where the lines of a run go. */
export interface Lines {
  readonly push: (line: NewLine) => void
}

/** What a handler does to its run, beside its own end. */
export interface Actions {
  /** Takes progress in its encoded form. */
  readonly report: (progress: string) => void
  readonly complete: Complete
  readonly locks: Pick<Locks, "acquire">
}

/** What is known of a run where it is performed. */
export type Facts = Pick<
  EncodedRun,
  | "id"
  | "task"
  | "queue"
  | "attempt"
  | "crashes"
  | "consumer"
  | "createdAt"
  | "dueAt"
  | "startedAt"
  | "tags"
  | "group"
  | "parentId"
  | "rootId"
  | "retryOf"
  | "payload"
  | "payloadVersion"
>

/** What a handler sees of its run, and what the runtime finds there when the handler logs or completes it. */
export class Current {
  readonly id: RunId
  readonly task: string
  readonly queue: string
  readonly attempt: number
  readonly crashes: number
  readonly consumer: string
  readonly createdAt: number
  readonly dueAt: number
  readonly startedAt: number
  readonly tags: ReadonlyArray<string>
  readonly group: string | null
  readonly parentId: RunId | null
  readonly rootId: RunId
  readonly retryOf: RunId | null
  readonly schedule: string | null
  readonly scheduledFor: number | null
  readonly progress: (value: number, message?: string) => Effect.Effect<void>
  readonly lock: (name?: string, options?: LockOptions) => Effect.Effect<Lock, LockError, Scope.Scope>
  readonly #log: Lines
  readonly #complete: Complete
  #lostLock: LockLost | undefined

  constructor(run: Facts, log: Lines, { complete, locks, report }: Actions) {
    this.id = run.id
    this.task = run.task
    this.queue = run.queue
    this.attempt = run.attempt + 1
    this.crashes = run.crashes
    this.consumer = run.consumer ?? ""
    this.createdAt = run.createdAt
    this.dueAt = run.dueAt
    this.startedAt = run.startedAt ?? run.createdAt
    this.tags = run.tags
    this.group = run.group
    this.parentId = run.parentId
    this.rootId = run.rootId ?? run.id
    this.retryOf = run.retryOf
    this.schedule = scheduleOf(run.tags)
    this.scheduledFor = tickOf(run.tags)
    this.progress = (value, message) => Effect.sync(() => report(JSON.stringify({ value, message: message ?? null })))
    this.lock = (name, options = {}) =>
      locks.acquire(nameOfTask(run.task, name), options, (lost, fiber) => {
        this.#lostLock = lost
        fiber.unsafeInterruptAsFork(fiber.id())
      })
    this.#log = log
    this.#complete = complete
  }

  static logOf(current: typeof CurrentRun.Service): Lines | undefined {
    return current instanceof Current ? current.#log : undefined
  }

  static completionOf(current: typeof CurrentRun.Service): Complete | undefined {
    return current instanceof Current ? current.#complete : undefined
  }

  /** The lock whose loss has interrupted the handler. */
  static lostLockOf(current: typeof CurrentRun.Service): LockLost | undefined {
    return current instanceof Current ? current.#lostLock : undefined
  }
}

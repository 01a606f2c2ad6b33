import type * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import { Deferred, type Duration, Effect, Fiber, FiberId, Option } from "effect"
import type { Host, Start } from "./host.js"
import { liveClock } from "./liveClock.js"
import { Output, type Stream } from "./output.js"
import * as protocol from "./protocol.js"

/** What a worker performs. */
interface Job {
  readonly id: number
  readonly report: (report: typeof TaskExecutor.Report.Type) => void
  readonly end: Deferred.Deferred<typeof TaskExecutor.End.Type>
  isInterrupted: boolean
}

/** What is kept of the last words of a worker. */
const keptWords = 2_000

export interface Options {
  readonly start: Start
  /** How long a handler may take to end after its interruption. */
  readonly grace: Duration.Duration
  /** Hears the lines that belong to no attempt. */
  readonly onLine: (line: typeof TaskExecutor.Line.Type) => void
}

/** A thread or a process of a pool. It performs one attempt at a time. */
export class PoolWorker {
  /** The tasks that it serves, or why it does not. */
  readonly ready = Deferred.unsafeMake<ReadonlyArray<string>, string>(FiberId.none)
  readonly exited = Deferred.unsafeMake<void>(FiberId.none)
  /** How many attempts it has performed. */
  served = 0
  private isKilled = false
  private isGone = false
  private isAskedToClose = false
  private job: Job | null = null
  private lastWords = ""
  private readonly host: Host
  private readonly grace: Duration.Duration
  private readonly onLine: Options["onLine"]
  private readonly outputs: { readonly [S in Stream]: Output }

  constructor({ grace, onLine, start }: Options) {
    this.grace = grace
    this.onLine = onLine
    const write = (line: typeof TaskExecutor.Line.Type) => this.tell(line)
    this.outputs = { stdout: new Output("stdout", write), stderr: new Output("stderr", write) }
    this.host = start({
      onMessage: (message) => Option.map(protocol.decodeFromWorker(message), (message) => this.hear(message)),
      onOutput: (stream, text) => {
        if (stream === "stderr") {
          this.lastWords = `${this.lastWords}${text}`.slice(-keptWords)
        }
        this.outputs[stream].write(text)
      },
      onExit: (reason) => this.leave(reason)
    })
  }

  /** Whether it can be given an attempt. */
  get isUsable(): boolean {
    return !(this.isGone || this.isKilled || this.isAskedToClose)
  }

  readonly perform = (
    request: typeof TaskExecutor.Request.Type,
    report: Job["report"]
  ): Effect.Effect<typeof TaskExecutor.End.Type> =>
    Effect.suspend(() => {
      const job: Job = { id: this.served++, report, end: Deferred.unsafeMake(FiberId.none), isInterrupted: false }
      if (this.isGone) {
        return Effect.succeed(crashed("it ended before it was given the attempt"))
      }
      this.job = job
      this.post({ _tag: "Perform", id: job.id, request })
      return Effect.matchCauseEffect(Effect.interruptible(Deferred.await(job.end)), {
        onFailure: () => this.stop(job),
        onSuccess: Effect.succeed
      })
    }).pipe(Effect.uninterruptible)

  /** Interrupts the handler; and ends the whole worker, when that takes too long. */
  private stop(job: Job): Effect.Effect<typeof TaskExecutor.End.Type> {
    job.isInterrupted = true
    this.post({ _tag: "Interrupt", id: job.id })
    return Effect.sleep(this.grace).pipe(
      Effect.zipRight(this.kill),
      Effect.withClock(liveClock),
      Effect.interruptible,
      Effect.forkDaemon,
      Effect.flatMap((killing) => Effect.zipLeft(Deferred.await(job.end), Fiber.interruptFork(killing)))
    )
  }

  /** Ends it by force. Does not wait for the end. */
  readonly kill: Effect.Effect<void> = Effect.suspend(() => {
    if (this.isGone || this.isKilled) {
      return Effect.void
    }
    this.isKilled = true
    return this.host
      .kill(Deferred.await(this.exited))
      .pipe(Effect.withClock(liveClock), Effect.interruptible, Effect.forkDaemon, Effect.asVoid)
  })

  /** Lets it end in order, within the grace; else by force. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isAskedToClose = true
    this.post({ _tag: "Close" })
    return Effect.interruptible(Deferred.await(this.exited)).pipe(
      Effect.timeoutOption(this.grace),
      Effect.withClock(liveClock),
      Effect.flatMap((ended) => (Option.isSome(ended) ? Effect.void : this.kill)),
      Effect.zipRight(Deferred.await(this.exited))
    )
  })

  private post(message: protocol.ToWorker): void {
    if (!this.isGone) {
      this.host.post(protocol.encode(message))
    }
  }

  private hear(message: protocol.FromWorker): void {
    const { job } = this
    if (message._tag === "Ready") {
      Deferred.unsafeDone(this.ready, Effect.succeed(message.tasks))
    } else if (message._tag === "Failed") {
      Deferred.unsafeDone(this.ready, Effect.fail(message.reason))
    } else if (message._tag === "Line") {
      this.onLine(message.line)
    } else if (job?.id === message.id) {
      if (message._tag === "Report") {
        job.report(message.report)
      } else {
        this.conclude(job, message.end)
      }
    }
  }

  /** A line that it wrote itself belongs to what it performs. */
  private tell(line: typeof TaskExecutor.Line.Type): void {
    if (this.job === null) {
      this.onLine(line)
    } else {
      this.job.report({ _tag: "Line", line })
    }
  }

  private conclude(job: Job, end: typeof TaskExecutor.End.Type): void {
    this.outputs.stdout.end()
    this.outputs.stderr.end()
    this.job = null
    Deferred.unsafeDone(job.end, Effect.succeed(end))
  }

  private leave(reason: string): void {
    this.isGone = true
    const words = this.lastWords.trim()
    const full = words === "" ? reason : `${reason}\n${words}`
    if (this.job !== null) {
      this.conclude(this.job, this.job.isInterrupted ? { _tag: "Interrupted" } : crashed(full))
    } else if (this.served > 0 && !this.isKilled && !this.isAskedToClose) {
      // no run tells of it
      const message = `a worker that had nothing to do has ended: ${full}`
      this.onLine({ at: liveClock.unsafeCurrentTimeMillis(), level: "WARN", message, annotations: {}, spans: [] })
    }
    Deferred.unsafeDone(this.ready, Effect.fail(full))
    Deferred.unsafeDone(this.exited, Effect.void)
  }
}

const crashed = (reason: string): typeof TaskExecutor.End.Type => ({
  _tag: "Outcome",
  outcome: { _tag: "ExecutorCrashed", reason }
})

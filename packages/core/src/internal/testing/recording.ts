import { Array as Arr, Context, Effect } from "effect"
import type { Enqueued, Exchanged } from "../../Broker.js"
import type { ScheduleChange } from "../../Scheduling.js"
import type { LogLine, Store } from "../../Store.js"
import type { TaskEvent } from "../../TaskEvent.js"
import type { Observer } from "../../TaskLogger.js"
import type { Encoded as EncodedRun } from "../../TaskRun.js"
import type { RunId } from "../run.js"
import { type Change, changeAll } from "./operations.js"

/** What happened so far. Documented in `TaskTest`. */
export class Recorded extends Context.Tag("@effect-tasks/core/TaskTest/Recorded")<
  Recorded,
  {
    readonly events: Effect.Effect<ReadonlyArray<TaskEvent>>
    readonly lines: Effect.Effect<ReadonlyArray<LogLine>>
    /** The records, as they are now, of the runs that were queued, in order. */
    readonly queued: Effect.Effect<ReadonlyArray<EncodedRun>>
    /** How many calls of broker and store were made, and how many of them are not answered yet. */
    readonly calls: Effect.Effect<{ readonly made: number; readonly underWay: number }>
    /** How often a run of each task was claimed. */
    readonly claims: Effect.Effect<ReadonlyMap<string, number>>
    /** How many runs wait or are performed now. */
    readonly unfinished: Effect.Effect<{ readonly waiting: number; readonly running: number }>
  }
>() {}

/** Notes what happens in the services of a test. */
export class Recording {
  private readonly events: Array<TaskEvent> = []
  private readonly lines: Array<LogLine> = []
  private readonly queued: Array<RunId> = []
  private readonly claims = new Map<string, number>()
  private readonly store: typeof Store.Service
  private made = 0
  private underWay = 0

  constructor(store: typeof Store.Service) {
    this.store = store
  }

  readonly observer: Observer = {
    name: "TaskTest",
    onEvent: (event) => Effect.sync(() => this.events.push(event)),
    onLine: (line) => Effect.sync(() => this.lines.push(line))
  }

  readonly service: typeof Recorded.Service = {
    events: Effect.sync(() => this.events.slice()),
    lines: Effect.sync(() => this.lines.slice()),
    queued: Effect.suspend(() => Effect.forEach(Arr.chunksOf(this.queued, 500), (ids) => this.store.get(ids))).pipe(
      Effect.map((found) => Arr.getSomes(found.flat())),
      Effect.orDie
    ),
    calls: Effect.sync(() => ({ made: this.made, underWay: this.underWay })),
    claims: Effect.sync(() => new Map(this.claims)),
    unfinished: Effect.suspend(() =>
      Effect.map(this.store.counts({}), ({ queued = 0, running = 0, scheduled = 0 }) => ({
        waiting: queued + scheduled,
        running
      }))
    ).pipe(Effect.orDie)
  }

  /** A service whose every operation is watched. */
  watch<S extends object>(service: S): S {
    return changeAll(service, this.watchCall)
  }

  private readonly watchCall: Change = (name, args, call) =>
    Effect.suspend(() => {
      this.made++
      this.underWay++
      return Effect.onExit(call(...args), (exit) =>
        Effect.sync(() => {
          this.underWay--
          if (exit._tag === "Success") {
            this.note(name, args, exit.value)
          }
        })
      )
    })

  private note(name: string, args: ReadonlyArray<unknown>, answer: unknown): void {
    if (name === "enqueue") {
      for (const { _tag, run } of answer as ReadonlyArray<Enqueued>) {
        if (_tag === "Queued") {
          this.queued.push(run.id)
        }
      }
    } else if (name === "fire" || name === "putSchedules") {
      const [changes] = args as readonly [ReadonlyArray<ScheduleChange>]
      const written = answer as ReadonlyArray<boolean>
      changes.filter((_, i) => written[i]).forEach(({ runs }) => runs.forEach(({ id }) => this.queued.push(id)))
    } else if (name === "exchange") {
      for (const { run } of (answer as Exchanged).claimed?.runs ?? []) {
        this.claims.set(run.task, (this.claims.get(run.task) ?? 0) + 1)
      }
    }
  }
}

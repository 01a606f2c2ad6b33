import {
  type Array as Arr,
  type Clock,
  Context,
  Duration,
  Effect,
  Either,
  Exit,
  Fiber,
  FiberId,
  Layer,
  Runtime,
  type Schema,
  type Scope,
  Tracer
} from "effect"
import { CurrentRun } from "../CurrentRun.js"
import { InvalidOption } from "../TaskError.js"
import type { Definition } from "./definition.js"
import { type Handler, surroundings, tag } from "./handlers.js"
import type { QueueError } from "./managerTag.js"
import { capturing } from "./runLog.js"

/*
 * Handlers that perform several runs at once. Each run has its own attempt, with all that belongs to it; what the attempt
 * calls only adds an item to a batch and waits for its exit. The batch has a fiber of its own, which lives no longer than the
 * attempts that wait for it.
 */

/** Documented in `Task`. */
export interface BatchItem<out Payload> {
  readonly payload: Payload
  readonly run: typeof CurrentRun.Service
  readonly use: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, CurrentRun>>
}

/** Documented in `Task`. */
export interface BatchOptions {
  readonly maxSize: number
  readonly maxWait: Duration.DurationInput
  readonly concurrency?: number | undefined
}

/** Documented in `Task`. */
export type BatchHandlerOf<
  Payload extends Schema.Schema.All,
  Success extends Schema.Schema.All,
  Error extends Schema.Schema.All
> = (
  items: Arr.NonEmptyReadonlyArray<BatchItem<Schema.Schema.Type<Payload>>>
) => Effect.Effect<
  ReadonlyArray<ItemEnd<Schema.Schema.Type<Success>, Schema.Schema.Type<Error> | QueueError>>,
  Schema.Schema.Type<Error> | QueueError,
  unknown
>

type ItemEnd<A, E> = Exit.Exit<A, E> | Either.Either<A, E>

/** What a batch handler needs from outside: its Scope is given to it, a current run is not. */
export type BatchServices<H> = H extends (...args: ReadonlyArray<never>) => Effect.Effect<infer _A, infer _E, infer R>
  ? Exclude<R, Scope.Scope>
  : never

/** An item, and the attempt that waits for its exit. */
interface Member {
  readonly item: BatchItem<unknown>
  readonly dueAt: number
  readonly resume: (end: Effect.Effect<unknown, unknown>) => void
  batch: Batch | null
  hasLeft: boolean
}

interface Batch {
  readonly members: ReadonlyArray<Member>
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** How many attempts wait for it. */
  awaited: number
}

interface Settings {
  readonly task: string
  readonly maxSize: number
  readonly maxWaitMillis: number
  readonly concurrency: number
  readonly clock: Clock.Clock
  /** What the fibers of batches begin with. */
  readonly runtime: Runtime.Runtime<never>
  readonly handler: (items: never) => Effect.Effect<unknown, unknown, unknown>
}

/** Collects items into batches, and performs these. */
class Collector {
  private readonly settings: Settings
  private waiting: Array<Member> = []
  private underWay = 0
  /** Sleeps until the first item that waits is due; only while an item waits for that. */
  private timer: Fiber.RuntimeFiber<void> | null = null

  constructor(settings: Settings) {
    this.settings = settings
  }

  /** What the attempt of one run does: adds its item, and waits for its exit. */
  readonly perform = (payload: unknown): Effect.Effect<unknown, unknown, CurrentRun> =>
    Effect.contextWithEffect((context: Context.Context<CurrentRun>) => {
      const item = itemOf(payload, context)
      const dueAt = this.settings.clock.unsafeCurrentTimeMillis() + this.settings.maxWaitMillis
      return Effect.async((resume) => {
        const member: Member = { item, dueAt, resume, batch: null, hasLeft: false }
        this.add(member)
        return this.leave(member)
      })
    })

  private add(member: Member): void {
    this.waiting.push(member)
    if (this.hasPlace && this.waiting.length >= this.settings.maxSize) {
      this.begin()
    }
    this.watch()
  }

  /** The way out of an attempt that is interrupted. The last one of a batch interrupts it, and sees it end. */
  private leave(member: Member): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { batch } = member
      member.hasLeft = true
      if (batch === null) {
        this.waiting = this.waiting.filter((other) => other !== member)
        this.watch()
        return Effect.void
      }
      batch.awaited--
      // whoever is interrupted at the same time has left when this fiber has its next turn; they all see the batch end
      return Effect.zipRight(
        Effect.yieldNow(),
        Effect.suspend(() => (batch.awaited > 0 ? Effect.void : Effect.asVoid(Fiber.interrupt(batch.fiber))))
      )
    })
  }

  private get hasPlace(): boolean {
    return this.underWay < this.settings.concurrency
  }

  private get isDue(): boolean {
    const [first] = this.waiting
    return (
      this.waiting.length >= this.settings.maxSize ||
      (first !== undefined && first.dueAt <= this.settings.clock.unsafeCurrentTimeMillis())
    )
  }

  private fill(): void {
    while (this.hasPlace && this.isDue) {
      this.begin()
    }
    this.watch()
  }

  private begin(): void {
    const members = this.waiting.splice(0, this.settings.maxSize)
    const items = members.map(({ item }) => item)
    const performed = Effect.scoped(Effect.suspend(() => this.settings.handler(items as never)))
    const batch: Batch = { members, awaited: members.length, fiber: this.fork(performed) }
    this.underWay++
    for (const member of members) {
      member.batch = batch
    }
    batch.fiber.addObserver((exit) => this.conclude(batch, exit))
  }

  private conclude({ members }: Batch, exit: Exit.Exit<unknown, unknown>): void {
    this.underWay--
    const ends = endsOf(this.settings.task, members.length, exit)
    members.forEach(({ hasLeft, resume }, i) => {
      if (!hasLeft) {
        resume(ends(i))
      }
    })
    this.fill()
  }

  /** Sets the timer where an item waits for its time, and stops it where none does. */
  private watch(): void {
    const [first] = this.waiting
    if (first === undefined) {
      this.timer?.unsafeInterruptAsFork(FiberId.none)
      this.timer = null
    } else if (this.timer === null && this.hasPlace) {
      const millis = Math.max(0, first.dueAt - this.settings.clock.unsafeCurrentTimeMillis())
      const timer: Fiber.RuntimeFiber<void> = this.fork(
        Effect.zipRight(
          Effect.sleep(millis),
          Effect.sync(() => this.ring(timer))
        )
      )
      this.timer = timer
    }
  }

  private ring(timer: Fiber.RuntimeFiber<void>): void {
    // one that was stopped as it rang is not the present one
    if (this.timer === timer) {
      this.timer = null
      this.fill()
    }
  }

  /** A fiber that does not begin before it is known. */
  private fork<A>(self: Effect.Effect<A, unknown, unknown>): Fiber.RuntimeFiber<A, never> {
    return Runtime.runFork(this.settings.runtime, self as Effect.Effect<A>, { immediate: false })
  }
}

const itemOf = (payload: unknown, context: Context.Context<CurrentRun>): BatchItem<unknown> => {
  const run = Context.get(context, CurrentRun)
  const span: Tracer.AnySpan | undefined = context.unsafeMap.get(Tracer.ParentSpan.key)
  const use = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, CurrentRun>> => {
    const inRun = Effect.provideService(effect, CurrentRun, run)
    return span === undefined
      ? inRun
      : (Effect.provideService(inRun, Tracer.ParentSpan, span) as Effect.Effect<A, E, Exclude<R, CurrentRun>>)
  }
  return { payload, run, use }
}

/** How each run of a batch ends, by the exit of the whole. */
const endsOf = (
  task: string,
  size: number,
  exit: Exit.Exit<unknown, unknown>
): ((index: number) => Effect.Effect<unknown, unknown>) => {
  if (Exit.isFailure(exit)) {
    return () => Effect.failCause(exit.cause)
  }
  const ends = exit.value
  if (!Array.isArray(ends) || ends.length !== size) {
    const given = Array.isArray(ends) ? `${ends.length} exits` : "no list of exits"
    return () => Effect.die(new Error(`the batch handler of ${task} gave ${given} for ${size} runs`))
  }
  return (index) => {
    const end: unknown = ends[index]
    return Exit.isExit(end) || Either.isEither(end)
      ? end
      : Effect.die(new Error(`the batch handler of ${task} gave, for a run, what is neither an Exit nor an Either`))
  }
}

const settingsOf = ({
  concurrency = 1,
  maxSize,
  maxWait
}: BatchOptions): Effect.Effect<Pick<Settings, "maxSize" | "maxWaitMillis" | "concurrency">, InvalidOption> => {
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 1
  const wait = Duration.decode(maxWait)
  const checks: ReadonlyArray<readonly [option: string, value: unknown, fits: boolean, expected: string]> = [
    ["maxSize", maxSize, isCount(maxSize), "an integer, 1 or more"],
    ["concurrency", concurrency, isCount(concurrency), "an integer, 1 or more"],
    ["maxWait", maxWait, Duration.isFinite(wait), "a finite duration"]
  ]
  const failed = checks.find(([, , fits]) => !fits)
  return failed === undefined
    ? Effect.succeed({ maxSize, concurrency, maxWaitMillis: Math.ceil(Duration.toMillis(wait)) })
    : new InvalidOption({ option: failed[0], value: failed[1], expected: failed[3] })
}

/** Gives the handler of a task as one that performs several runs at once. Documented in `Task`. */
export const layer = <
  Name extends string,
  H extends (items: never) => Effect.Effect<unknown, unknown, unknown>,
  EX = never,
  RX = never
>(
  definition: Definition & { readonly name: Name },
  options: BatchOptions,
  build: H | Effect.Effect<H, EX, RX>
): Layer.Layer<Handler<Name>, EX | InvalidOption, Exclude<RX, Scope.Scope> | BatchServices<H>> =>
  Layer.scoped(
    tag(definition),
    Effect.gen(function* () {
      const settings = yield* settingsOf(options)
      const context = yield* surroundings<BatchServices<H>>()
      const { fiberRefs, runtimeFlags } = yield* capturing(Effect.interruptible(Effect.runtime<never>()))
      const handler = Effect.isEffect(build) ? yield* build : build
      const collector = new Collector({
        ...settings,
        task: definition.name,
        clock: yield* Effect.clock,
        // a batch is of no one run
        runtime: Runtime.make({
          context: Context.omit(CurrentRun)(context as Context.Context<CurrentRun>),
          fiberRefs,
          runtimeFlags
        }),
        handler
      })
      return { definition, handler: collector.perform, context: Context.empty() }
    })
  )

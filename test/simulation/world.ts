import { Broker, type Operating, TaskManager, type TaskRun } from "@effect-tasks/core"
import { Effect, Exit, FiberRef, HashSet, Option, Random, Schedule, Scope } from "effect"
import { type BackendName, open, type Services } from "./backends.js"
import { Events } from "./events.js"
import { Oracle } from "./oracle.js"
import * as Plan from "./plan.js"
import { Process } from "./process.js"
import { Draw } from "./random.js"
import { type Owner, Time } from "./time.js"
import { Trace } from "./trace.js"
import { Violation } from "./violation.js"

/** How a world is played. */
export interface WorldOptions {
  readonly seed: number
  readonly backend: BackendName
  /** Puts something else in the backend's place. */
  readonly change?: (services: Services) => Services
  readonly print?: (line: string) => void
}

/** How a world went. */
export interface Report {
  readonly seed: number
  readonly backend: BackendName
  readonly runs: number
  readonly lines: number
  readonly hash: string
  readonly violation: string | null
  /** The last lines of the trace. */
  readonly tail: ReadonlyArray<string>
}

/** When the storm is over, everything ends within this time; and so does every stop. */
const endWithin = 3_600_000
const stopWithin = 300_000

class World {
  private readonly plan: Plan.Plan
  private readonly options: WorldOptions
  private readonly time: Time
  private readonly trace: Trace
  private readonly server: Owner = { isDead: false }
  private readonly serverScope = Effect.runSync(Scope.make())
  private readonly events = new Events()
  private readonly processes: Array<Process> = []
  private readonly current = new Map<number, Process>()
  private requests = 0
  private oracle!: Oracle
  private services!: Services

  constructor(options: WorldOptions) {
    this.options = options
    this.plan = Plan.draw(options.seed)
    this.time = new Time(this.plan.shuffles ? new Draw(options.seed, 2) : null)
    this.trace = new Trace(options.print ?? null)
  }

  /** Starts a fiber that knows no clock, no chance and no scheduler but the world's. */
  private fork(
    owner: Owner,
    name: string,
    effect: Effect.Effect<unknown, unknown>,
    ended: (exit: Exit.Exit<unknown, unknown>) => void = () => {}
  ): void {
    const surrounded = effect.pipe(
      Effect.withClock(this.time.clock(owner)),
      Effect.withRandom(this.randomOf(name)),
      Effect.locally(FiberRef.currentLoggers, HashSet.empty())
    )
    Effect.runFork(surrounded, { scheduler: this.time.scheduler(owner) }).addObserver(ended)
  }

  private readonly randoms = new Map<string, Random.Random>()

  private randomOf(name: string): Random.Random {
    const random = this.randoms.get(name) ?? Random.make(`${this.plan.seed}/${name}`)
    this.randoms.set(name, random)
    return random
  }

  private readonly serve = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.async((resume) => this.fork(this.server, "server", effect, (exit) => resume(exit as Exit.Exit<A, E>)))

  /** The value of an effect of the server's, as soon as the fibers rest. */
  private async ask<A, E>(effect: Effect.Effect<A, E>): Promise<A> {
    let answer: Exit.Exit<A, E> | undefined
    this.fork(this.server, "server", effect, (exit) => {
      answer = exit as Exit.Exit<A, E>
    })
    await this.time.passUntil(this.time.now)
    if (answer === undefined || Exit.isFailure(answer)) {
      throw new Violation(`the backend did not answer: ${String(answer)}`)
    }
    return answer.value
  }

  private start(index: number, plan: Plan.ProcessPlan): void {
    const process = new Process(`p${index}.${this.processes.length}`, plan)
    this.processes.push(process)
    this.current.set(index, process)
    this.trace.note(this.time.now, process.name, "start")
    process.start({
      services: this.oracle.watch(process.name),
      features: this.plan.features,
      observer: {
        name: "world",
        onEvent: (event) => Effect.sync(() => this.events.add(process.name, event))
      },
      fork: (effect, ended) => this.fork(process, process.name, effect, ended)
    })
  }

  private carryOut({ process: index, what }: Plan.Timed): void {
    const process = this.current.get(index)!
    if (what._tag === "Start") {
      this.start(index, this.plan.processes[index]!)
    } else if (what._tag === "Kill") {
      this.trace.note(this.time.now, process.name, "dies")
      process.isDead = true
    } else if (what._tag === "Stop") {
      this.stop(process)
    } else if (process.isUp) {
      this.requests++
      this.fork(process, process.name, process.inside(this.requestOf(what)), () => this.requests--)
    }
  }

  private stop(process: Process): void {
    if (process.isUp) {
      this.trace.note(this.time.now, process.name, "stops")
      this.fork(process, process.name, process.stop)
    } else {
      // one that has not come up yet cannot be stopped in order
      process.isDead = true
    }
  }

  private requestOf(what: Extract<Plan.Happening, { readonly _tag: "Request" | "Cancel" | "Edit" | "Control" }>) {
    if (what._tag === "Request") {
      return what.feature.request(new Draw(what.seed, 3))
    }
    if (what._tag === "Control") {
      return Effect.flatMap(Broker.Broker, (broker) => broker.control({ add: [what.control], remove: [] })).pipe(
        Effect.zipRight(Effect.sleep(what.forMillis)),
        Effect.zipRight(this.lift(what.control))
      )
    }
    const ids = Array.from(this.oracle.model.runs.keys())
    const id = ids[Math.floor(what.part * ids.length)]
    if (id === undefined) {
      return Effect.void
    }
    return Effect.flatMap(
      TaskManager.TaskManager,
      (manager): Effect.Effect<unknown, unknown> =>
        what._tag === "Cancel"
          ? manager.cancel(id, "drawn")
          : manager.edit(id, {
              priority: what.priority,
              ...(what.delayMillis === null ? {} : { delay: what.delayMillis })
            })
    )
  }

  /** Takes a control back, as often as it needs; when the storm is over, nobody is held back. */
  private lift(control: Operating.Control) {
    return Effect.flatMap(Broker.Broker, (broker) => broker.control({ add: [], remove: [control] })).pipe(
      Effect.retry(Schedule.spaced("1 second"))
    )
  }

  private readonly isBroken = () => this.oracle.violation !== null

  private throwIfBroken(): void {
    if (this.oracle.violation !== null) {
      throw this.oracle.violation
    }
  }

  private async storm(): Promise<void> {
    for (const timed of this.plan.timeline) {
      await this.time.passUntil(timed.at, this.isBroken)
      this.throwIfBroken()
      this.carryOut(timed)
    }
    await this.time.passUntil(this.plan.calmAt, this.isBroken)
    this.throwIfBroken()
  }

  /** The faults stop, and everything has to end. */
  private async calm(): Promise<void> {
    this.trace.note(this.time.now, "world", "calm")
    const up = this.processes.filter(({ isDead, isStopping }) => !isDead && !isStopping)
    this.processes.filter(({ isDead }) => !isDead).forEach((process) => this.fork(process, process.name, process.calm))
    // who has died has left them behind
    const left = this.oracle.model.controls
    await this.ask(this.oracle.watch("world").broker.control({ add: [], remove: left }))
    if (!up.some(({ consumes }) => consumes)) {
      this.start(this.plan.processes.length, { consumers: [{ prefetch: 0 }], chaos: {} })
    }
    const isOver = () => this.isBroken() || (this.oracle.model.unfinished.length === 0 && this.isAnswered())
    await this.time.passUntil(this.time.now + endWithin, isOver)
    this.throwIfBroken()
  }

  /** Those who have asked and live have their answers. */
  private isAnswered(): boolean {
    return this.requests === 0 || this.processes.every(({ isUp }) => !isUp) || this.time.now > this.plan.calmAt + 60_000
  }

  private async end(): Promise<void> {
    // those who could not reach the backend have tried again meanwhile
    await this.time.passUntil(this.time.now + 60_000, this.isBroken)
    this.throwIfBroken()
    for (const process of this.processes.filter(({ isUp }) => isUp)) {
      if (!(await this.ask(Effect.withClock(process.isReady, this.time.clock(process))))) {
        throw new Violation(`a consumer of ${process.name} is not ready, long after the storm`)
      }
      this.stop(process)
    }
    const isLeft = ({ isDead, isStopped }: Process) => !isDead && !isStopped
    await this.time.passUntil(this.time.now + stopWithin, () => this.isBroken() || !this.processes.some(isLeft))
    this.throwIfBroken()
    const left = this.processes.find(isLeft)
    if (left !== undefined) {
      throw new Violation(`${left.name} does not come to its end`)
    }
  }

  private async compare(): Promise<void> {
    const { model } = this.oracle
    const ids = Array.from(model.runs.keys())
    const found = await this.ask(this.services.store.get(ids))
    const stored = new Map<TaskRun.RunId, TaskRun.Encoded>()
    found.forEach((run, i) => Option.isSome(run) && stored.set(ids[i]!, run.value))
    model.finished(stored)
    this.events.check(model)
  }

  private async play(): Promise<void> {
    const { backend, change = (services) => services } = this.options
    this.services = change(await this.ask(Scope.extend(open(backend), this.serverScope)))
    this.oracle = new Oracle(this.services, this.serve, this.time, this.trace)
    this.plan.processes.forEach((plan, index) => this.start(index, plan))
    await this.storm()
    await this.calm()
    await this.end()
    await this.compare()
  }

  async run(): Promise<Report> {
    let violation: string | null = null
    try {
      await this.play()
    } catch (error) {
      violation = error instanceof Violation ? error.message : String((error as Error).stack ?? error)
    }
    this.processes.forEach((process) => {
      process.isDead = true
    })
    await this.ask(Scope.close(this.serverScope, Exit.void)).catch(() => {})
    const { seed } = this.plan
    const { hash, lines, tail } = this.trace
    const runs = this.oracle?.model.runs.size ?? 0
    return { seed, backend: this.options.backend, runs, lines, hash, violation, tail }
  }
}

/** Plays one world from its beginning to its end. */
export const play = (options: WorldOptions): Promise<Report> => new World(options).run()

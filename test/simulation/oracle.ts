import type { Broker, Operating, TaskRun } from "@effect-tasks/core"
import { Cause, Effect, Exit } from "effect"
import type { Services } from "./backends.js"
import { Model } from "./model.js"
import type { Time } from "./time.js"
import type { Trace } from "./trace.js"
import { Violation } from "./violation.js"

/** Runs an effect apart from the process that asks for it. */
export type Serve = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/**
 * Stands between the processes and the backend. It sees each call as one step, in the order in which the backend answered,
 * and compares the answer with the model.
 */
export class Oracle {
  readonly model: Model
  violation: Violation | null = null

  private readonly services: Services
  private readonly serve: Serve
  private readonly time: Time
  private readonly trace: Trace
  /** One call at a time: then the order of the answers is that of the commits. */
  private readonly door = Effect.unsafeMakeSemaphore(1)

  constructor(services: Services, serve: Serve, time: Time, trace: Trace) {
    this.services = services
    this.serve = serve
    this.time = time
    this.model = new Model(() => time.now)
    this.trace = trace
  }

  /** The services as one process gets them. What it has asked for is carried out, even if it dies meanwhile. */
  watch(who: string): Services {
    return {
      broker: this.each(who, this.services.broker, ["now", "signals", "atTransactionEnd"]),
      store: this.each(who, this.services.store, [])
    }
  }

  private each<S extends object>(who: string, service: S, passed: ReadonlyArray<string>): S {
    return Object.fromEntries(
      Object.entries(service).map(([name, member]) => {
        if (passed.includes(name)) {
          return [name, member]
        }
        if (typeof member === "function") {
          return [name, (...args: ReadonlyArray<unknown>) => this.call(who, name, args, member(...args))]
        }
        return [name, Effect.isEffect(member) ? this.call(who, name, [], member) : member]
      })
    ) as S
  }

  private call<A, E, R>(
    who: string,
    name: string,
    args: ReadonlyArray<unknown>,
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E> {
    const checked = Effect.tap(Effect.exit(effect), (exit) => Effect.sync(() => this.see(who, name, args, exit)))
    return this.serve(Effect.flatten(this.door.withPermits(1)(checked)) as Effect.Effect<A, E>)
  }

  private see(
    who: string,
    name: string,
    [arg, second]: ReadonlyArray<unknown>,
    exit: Exit.Exit<unknown, unknown>
  ): void {
    if (this.violation !== null) {
      return
    }
    try {
      const told = this.tell(name, arg, second, exit)
      if (told !== "") {
        this.trace.note(this.time.now, who, told)
      }
    } catch (error) {
      this.trace.note(this.time.now, who, `${name} ${String(error)}`)
      this.violation = error instanceof Violation ? error : new Violation(String(error))
    }
  }

  private tell(name: string, arg: unknown, second: unknown, exit: Exit.Exit<unknown, unknown>): string {
    const { model } = this
    if (Exit.isFailure(exit)) {
      if (name === "enqueue") {
        const options = second as Broker.EnqueueOptions | undefined
        model.refused(arg as ReadonlyArray<TaskRun.Encoded>, options?.maxQueued ?? null, exit.cause)
      }
      return `${name} failed: ${Cause.pretty(exit.cause).split("\n")[0]}`
    }
    switch (name) {
      case "enqueue": {
        const runs = arg as ReadonlyArray<TaskRun.Encoded>
        const options = second as Broker.EnqueueOptions | undefined
        model.enqueued(runs, exit.value as ReadonlyArray<Broker.Enqueued>, options?.maxQueued ?? null)
        return `enqueue ${runs.map(({ id, task }) => `${task} ${model.label(id)}`).join(", ")}`
      }
      case "exchange": {
        const request = arg as Broker.Exchange
        const answer = exit.value as Broker.Exchanged
        model.exchanged(request, answer)
        return this.tellExchange(request, answer)
      }
      case "extend": {
        const request = arg as Broker.Extension
        model.extended(request, exit.value as Broker.Extended)
        return `extend ${request.claims.map(({ id }) => model.label(id)).join(", ")}`
      }
      case "cancel": {
        const { ids, reason } = arg as { readonly ids: ReadonlyArray<TaskRun.RunId>; readonly reason: string }
        const answers = exit.value as ReadonlyArray<Operating.CancelResult>
        model.cancelled(ids, reason, answers)
        return `cancel ${ids.map((id, i) => `${model.label(id)} ${answers[i]?._tag}`).join(", ")}`
      }
      case "edit": {
        const request = arg as Operating.Edit
        const answers = exit.value as ReadonlyArray<Operating.EditResult>
        model.edited(request, answers)
        return `edit ${request.ids.map((id, i) => `${model.label(id)} ${answers[i]?._tag}`).join(", ")}`
      }
      case "control": {
        const changes = arg as Parameters<typeof Broker.Broker.Service.control>[0]
        model.controlled(changes)
        const told = (all: ReadonlyArray<Operating.Control>) =>
          all.map(({ name, of, state }) => `${of} ${name} ${state}`)
        return `control +[${told(changes.add).join(", ")}] -[${told(changes.remove).join(", ")}]`
      }
      default:
        return ""
    }
  }

  private tellExchange({ settlements }: Broker.Exchange, { claimed, settled }: Broker.Exchanged): string {
    const ends = settlements.map(({ run }, i) => `${this.model.label(run.id)} ${run.state} ${settled[i]?._tag}`)
    const claims = (claimed?.runs ?? []).map(({ run }) => `${this.model.label(run.id)}#${run.fence}`)
    return [
      ...(ends.length > 0 ? [`settle ${ends.join(", ")}`] : []),
      ...(claims.length > 0 ? [`claim ${claims.join(", ")}`] : [])
    ].join("; ")
  }
}

import type * as Task from "@effect-tasks/core/Task"
import * as TaskExecutor from "@effect-tasks/core/TaskExecutor"
import type * as TaskGroup from "@effect-tasks/core/TaskGroup"
import { Cause, Effect, Fiber, Layer, Mailbox, type Scope } from "effect"
import * as failure from "../failure.js"
import { Output, type Stream } from "./output.js"
import type { Port } from "./port.js"
import type * as protocol from "./protocol.js"

/** For how long a worker that has lost its pool tries to end in order. */
const orphanMillis = 5_000

/** Serves the attempts that come through the port, until it is told to close. */
export const serve = <Tasks extends Task.Any, E>(
  port: Port,
  group: TaskGroup.TaskGroup<Tasks>,
  handlers: Layer.Layer<TaskGroup.Handler<Tasks>, E>
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const told = yield* Mailbox.make<protocol.ToWorker>()
    const onLost = () => {
      setTimeout(() => process.exit(), orphanMillis).unref()
      told.unsafeOffer({ _tag: "Close" })
    }
    port.listen((message) => told.unsafeOffer(message), onLost)
    const perform = yield* Effect.provide(TaskExecutor.performer(group), yield* Layer.build(handlers))
    const server = new Server(port, perform, yield* Effect.scope)
    server.capture("stdout")
    server.capture("stderr")
    port.post({ _tag: "Ready", tasks: group.tasks.map(({ name }) => name) })
    yield* Effect.repeat(Effect.flatMap(told.take, server.follow), { until: ({ _tag }) => _tag === "Close" })
  }).pipe(
    Effect.scoped,
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.void
        : Effect.sync(() => port.post({ _tag: "Failed", reason: failure.render(cause) }))
    ),
    TaskExecutor.forwardLogs((line) => port.post({ _tag: "Line", line })),
    Effect.ensuring(Effect.sync(port.exit))
  )

/** The attempt that is under way. */
interface Attempt {
  readonly id: number
  fiber: Fiber.RuntimeFiber<void> | null
}

class Server {
  private attempt: Attempt | null = null
  private readonly outputs: Array<Output> = []
  private readonly port: Port
  private readonly perform: TaskExecutor.Perform
  private readonly scope: Scope.Scope

  constructor(port: Port, perform: TaskExecutor.Perform, scope: Scope.Scope) {
    this.port = port
    this.perform = perform
    this.scope = scope
  }

  /** Does what is told. */
  readonly follow = (message: protocol.ToWorker): Effect.Effect<protocol.ToWorker> => {
    switch (message._tag) {
      case "Close":
        return Effect.succeed(message)
      case "Interrupt": {
        const fiber = this.attempt?.id === message.id ? this.attempt.fiber : null
        return Effect.as(fiber === null ? Effect.void : Fiber.interruptFork(fiber), message)
      }
      case "Perform":
        return Effect.as(this.begin(message.id, message.request), message)
    }
  }

  /** Its end is told in any case: only the handler can be interrupted. */
  private begin(id: number, request: typeof TaskExecutor.Request.Type): Effect.Effect<void> {
    return Effect.suspend(() => {
      const attempt: Attempt = { id, fiber: null }
      this.attempt = attempt
      const ended = Effect.map(
        Effect.suspend(() => this.perform(request, (report) => this.port.post({ _tag: "Report", id, report }))),
        (end) => {
          this.outputs.forEach((output) => output.end())
          this.attempt = null
          this.port.post({ _tag: "Ended", id, end })
        }
      )
      return Effect.map(Effect.forkIn(ended, this.scope), (fiber) => {
        attempt.fiber = fiber
      })
    }).pipe(Effect.uninterruptible)
  }

  /** What is written to a stream becomes lines, in their order among those that are logged. */
  capture(stream: Stream): void {
    const output = new Output(stream, (line) => this.tell(line))
    this.outputs.push(output)
    process[stream].write = (
      chunk: string | Uint8Array,
      encodingOrDone?: BufferEncoding | ((error?: Error | null) => void),
      done?: (error?: Error | null) => void
    ): boolean => {
      output.write(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8"))
      const onDone = typeof encodingOrDone === "function" ? encodingOrDone : done
      if (onDone !== undefined) {
        queueMicrotask(onDone)
      }
      return true
    }
  }

  private tell(line: typeof TaskExecutor.Line.Type): void {
    this.port.post(
      this.attempt === null
        ? { _tag: "Line", line }
        : { _tag: "Report", id: this.attempt.id, report: { _tag: "Line", line } }
    )
  }
}

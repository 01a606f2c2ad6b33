import { assert } from "@effect/vitest"
import { CurrentRun, Task, TaskGroup } from "@effect-tasks/core"
import { Cause, type Context, Effect, Exit, Option, Schedule, Schema, Tracer } from "effect"
import { advance, type Family, openProcess, quiet, serve } from "./harness.js"
import { becomes, eventuallySync, Oops } from "./observing.js"

class RecordedSpan implements Tracer.Span {
  readonly _tag = "Span"
  readonly sampled = true
  readonly traceId: string
  readonly spanId: string
  readonly attributes = new Map<string, unknown>()
  readonly name: string
  readonly parent: Option.Option<Tracer.AnySpan>
  readonly context: Context.Context<never>
  readonly links: ReadonlyArray<Tracer.SpanLink>
  readonly kind: Tracer.SpanKind
  status: Tracer.SpanStatus

  constructor(number: number, [name, parent, context, links, startTime, kind]: Parameters<Tracer.Tracer["span"]>) {
    this.name = name
    this.parent = parent
    this.context = context
    this.links = links
    this.kind = kind
    this.status = { _tag: "Started", startTime }
    this.spanId = number.toString(16).padStart(16, "0")
    this.traceId = Option.match(parent, {
      onNone: () => number.toString(16).padStart(32, "0"),
      onSome: (span) => span.traceId
    })
  }

  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    this.status = { _tag: "Ended", startTime: this.status.startTime, endTime, exit }
  }

  attribute(key: string, value: unknown): void {
    this.attributes.set(key, value)
  }

  event(): void {}

  addLinks(): void {}

  get exit(): Exit.Exit<unknown, unknown> | null {
    return this.status._tag === "Ended" ? this.status.exit : null
  }

  get parentId(): string | null {
    return Option.match(this.parent, { onNone: () => null, onSome: ({ spanId }) => spanId })
  }
}

/** A tracer of one process; its ids begin with `first`. */
const recording = (first: number) => {
  const spans: Array<RecordedSpan> = []
  const tracer = Tracer.make({
    span: (...given) => {
      const span = new RecordedSpan(first + spans.length, given)
      spans.push(span)
      return span
    },
    context: (f) => f()
  })
  const named = (name: string) => spans.filter((span) => span.name === name)
  return { tracer, named, withTracer: Effect.withTracer(tracer) }
}

const Greet = Task.make("Greet", { payload: { name: Schema.String } })
const Ends = Task.make("Ends", { payload: { how: Schema.String }, error: Oops, timeout: "10 seconds" })

const endings: Record<string, Effect.Effect<void, Oops, CurrentRun.CurrentRun>> = {
  success: Effect.void,
  failure: new Oops({ code: 7 }),
  defect: Effect.die(new Error("broken")),
  timeout: Effect.never,
  aborted: CurrentRun.abort("no"),
  snoozed: CurrentRun.snooze("1 hour"),
  cancelled: Effect.never
}

/** Which spans there are of a run, on both sides of the broker. */
export const tracing: Family = (rule) => {
  rule("the span of an attempt in another process is a child of the one that queued the run", () =>
    Effect.gen(function* () {
      const here = recording(0x1000)
      const there = recording(0x2000)
      const other = yield* openProcess
      yield* other.run(serve(TaskGroup.make(Greet), { Greet: () => Effect.void }).pipe(there.withTracer))
      const run = yield* Greet.queue({ name: "a" }).pipe(Effect.withSpan("request"), here.withTracer)
      yield* becomes(run, "success")
      const [request] = here.named("request")
      const [queued] = here.named("queue Greet")
      assert.strictEqual(queued!.kind, "producer")
      assert.strictEqual(queued!.parentId, request!.spanId)
      assert.deepInclude(Object.fromEntries(queued!.attributes), {
        "task.name": "Greet",
        "task.queue": "default",
        "task.count": 1,
        "task.run.id": run.id,
        "messaging.system": "effect-tasks",
        "messaging.operation.type": "send",
        "messaging.destination.name": "default",
        "messaging.message.id": run.id
      })
      assert.strictEqual((yield* run.poll).traceparent, `00-${queued!.traceId}-${queued!.spanId}-01`)
      yield* eventuallySync(() => assert.isNotNull(there.named("task Greet")[0]?.exit ?? null))
      const [attempt] = there.named("task Greet")
      assert.strictEqual(attempt!.kind, "consumer")
      assert.strictEqual(attempt!.parentId, queued!.spanId)
      assert.strictEqual(attempt!.traceId, request!.traceId)
      assert.deepInclude(Object.fromEntries(attempt!.attributes), {
        "task.name": "Greet",
        "task.run.id": run.id,
        "task.attempt": 1,
        "task.queue": "default",
        "task.outcome": "success",
        "messaging.system": "effect-tasks",
        "messaging.operation.type": "process",
        "messaging.message.id": run.id
      })
      assert.match(String(attempt!.attributes.get("task.consumer")), /^consumer-/)
    })
  )

  rule("every attempt at a run has a span of its own below the one that queued it", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      const Twice = Task.make("Twice", { error: Oops, retry: Schedule.recurs(1) })
      yield* withTracer(
        serve(TaskGroup.make(Twice), {
          Twice: () =>
            Effect.flatMap(CurrentRun.CurrentRun, ({ attempt }) =>
              attempt === 1 ? Effect.fail(new Oops({ code: 1 })) : Effect.void
            )
        })
      )
      const run = yield* withTracer(Twice.queue())
      yield* becomes(run, "success")
      const spans = named("task Twice")
      assert.deepStrictEqual(
        spans.map(({ attributes, parentId }) => [
          parentId,
          attributes.get("task.attempt"),
          attributes.get("task.outcome")
        ]),
        [
          [named("queue Twice")[0]!.spanId, 1, "failure"],
          [named("queue Twice")[0]!.spanId, 2, "success"]
        ]
      )
      const [failure] = Array.from(Cause.failures(Option.getOrThrow(Exit.causeOption(spans[0]!.exit!))))
      assert.instanceOf(failure, Oops)
    })
  )

  rule("a consumer that links begins a trace of its own, with a link to the span that queued the run", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      yield* serve(TaskGroup.make(Greet), { Greet: () => Effect.void }, { tracing: "link" }).pipe(
        Effect.withSpan("start"),
        withTracer
      )
      const runs = yield* withTracer(Greet.queueAll([{ name: "a" }, { name: "b" }]))
      yield* Effect.forEach(runs, (run) => becomes(run, "success"))
      const [queued, ...others] = named("queue Greet")
      assert.deepStrictEqual(others, [])
      assert.deepInclude(Object.fromEntries(queued!.attributes), {
        "task.count": 2,
        "messaging.batch.message_count": 2
      })
      assert.isFalse(queued!.attributes.has("messaging.message.id"))
      const attempts = named("task Greet")
      assert.strictEqual(attempts.length, 2)
      for (const { links, parentId, traceId } of attempts) {
        assert.isNull(parentId)
        assert.notStrictEqual(traceId, queued!.traceId)
        assert.deepStrictEqual(
          links.map(({ span }) => span.spanId),
          [queued!.spanId]
        )
      }
    })
  )

  rule("what a handler queues, and its own spans, are below the span of the attempt", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      const First = Task.make("First")
      yield* withTracer(
        serve(TaskGroup.make(First, Greet), {
          First: () => Effect.asVoid(Effect.withSpan(Effect.orDie(Greet.queue({ name: "a" })), "inside")),
          Greet: () => Effect.void
        })
      )
      yield* withTracer(First.queueAndWait(undefined))
      yield* eventuallySync(() => assert.isNotNull(named("task Greet")[0]?.exit ?? null))
      const [attempt] = named("task First")
      const [inside] = named("inside")
      const [queued] = named("queue Greet")
      assert.strictEqual(inside!.parentId, attempt!.spanId)
      assert.strictEqual(queued!.parentId, inside!.spanId)
      assert.strictEqual(named("task Greet")[0]!.parentId, queued!.spanId)
    })
  )

  rule("a span tells how its attempt ended, and only what went wrong is an error", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      yield* withTracer(serve(TaskGroup.make(Ends), { Ends: ({ how }) => endings[how]! }))
      const hows = Object.keys(endings)
      const runs = yield* Ends.queueAll(hows.map((how) => ({ how })))
      yield* quiet
      yield* runs[hows.indexOf("cancelled")]!.cancel("enough")
      yield* becomes(runs[hows.indexOf("cancelled")]!, "cancelled")
      yield* advance("10 seconds")
      yield* becomes(runs[hows.indexOf("timeout")]!, "failure")
      const isError = new Set(["failure", "defect", "timeout"])
      for (const [i, how] of hows.entries()) {
        const span = named("task Ends").find(({ attributes }) => attributes.get("task.run.id") === runs[i]!.id)
        assert.strictEqual(span!.attributes.get("task.outcome"), how)
        assert.strictEqual(Exit.isFailure(span!.exit!), isError.has(how), how)
      }
    })
  )

  rule("the span of an attempt that a shutdown interrupts is no error", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      const consumer = yield* withTracer(serve(TaskGroup.make(Greet), { Greet: () => Effect.never }))
      const run = yield* Greet.queue({ name: "a" })
      yield* becomes(run, "running")
      yield* consumer.gracefullyStop
      const [span] = named("task Greet")
      assert.strictEqual(span!.attributes.get("task.outcome"), "interrupted")
      assert.deepStrictEqual(span!.exit, Exit.void)
    })
  )

  rule("where nobody takes spans, none is made, and a run without one says so", () =>
    Effect.gen(function* () {
      const seen: Array<boolean> = []
      yield* serve(TaskGroup.make(Greet), {
        Greet: () => Effect.map(Effect.option(Effect.currentSpan), (span) => void seen.push(Option.isSome(span)))
      })
      const run = yield* Greet.queue({ name: "a" })
      yield* becomes(run, "success")
      assert.isNull((yield* run.poll).traceparent)
      assert.deepStrictEqual(seen, [false])
    })
  )

  rule("where tracing is switched off, no span is made, and the one outside is passed on", () =>
    Effect.gen(function* () {
      const { named, withTracer } = recording(1)
      const queue = Effect.withTracerEnabled(Greet.queue({ name: "a" }), false)
      const run = yield* queue.pipe(Effect.withSpan("outside"), withTracer)
      const [outside] = named("outside")
      assert.deepStrictEqual(named("queue Greet"), [])
      assert.strictEqual((yield* run.poll).traceparent, `00-${outside!.traceId}-${outside!.spanId}-01`)
      const unseen = yield* queue.pipe(Effect.withSpan("unseen"), Effect.withTracerEnabled(false), withTracer)
      assert.isNull((yield* unseen.poll).traceparent)
    })
  )
}

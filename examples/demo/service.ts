/**
 * The service that takes the results: a small HTTP server on this machine, which is often busy, sometimes asks for a rest
 * and sometimes is slow. What befalls a request depends on the file and on how often it was asked for it, so each demo
 * meets the same trouble.
 */
import { createServer } from "node:http"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Deferred, Effect, Layer, Random } from "effect"
import { Report } from "./contract.js"

/** What the service holds of a file. Exactly one run may have brought it. */
export interface Recorded {
  readonly sha256: string
  readonly runIds: ReadonlyArray<string>
}

/** How it answered. `slow` answers come too late for the workers; `repeated` reports were known, and changed nothing. */
export interface Answers {
  accepted: number
  repeated: number
  unavailable: number
  tooManyRequests: number
  slow: number
}

export class Service extends Context.Tag("Service")<
  Service,
  {
    readonly url: string
    readonly recorded: Effect.Effect<ReadonlyMap<string, Recorded>>
    readonly answers: Effect.Effect<Readonly<Answers>>
    /** Resolves when half of so many files are recorded while reports of others wait for their answer. */
    readonly halfWay: (files: number) => Effect.Effect<void>
  }
>() {}

type Trouble = "none" | "unavailable" | "slow" | "tooManyRequests"

/** Of 1,000 requests 150 find the service busy, 20 find it slow, and 5 are asked for a rest. */
const troubleAt = (dice: number): Trouble =>
  dice < 0.15 ? "unavailable" : dice < 0.17 ? "slow" : dice < 0.175 ? "tooManyRequests" : "none"

/** What befalls the n-th request for a file, and how long its answer takes. */
const draw = Effect.fnUntraced(function* (file: string, n: number) {
  const random = Random.make(`demo/${file}/${n}`)
  const trouble = troubleAt(yield* random.next)
  const millis = yield* random.nextIntBetween(40, 120)
  return { trouble, millis: trouble === "slow" ? millis + 3_000 : millis }
})

/** The books of the service. */
class Ledger {
  readonly recorded = new Map<string, Recorded>()
  readonly answers: Answers = { accepted: 0, repeated: 0, unavailable: 0, tooManyRequests: 0, slow: 0 }
  private readonly requests = new Map<string, number>()
  private readonly watchers = new Set<() => void>()
  pending = 0

  /** Counts a request: the how manyth for its file it is, from 1. */
  arrive(file: string): number {
    const n = (this.requests.get(file) ?? 0) + 1
    this.requests.set(file, n)
    this.pending += 1
    this.changed()
    return n
  }

  leave(): void {
    this.pending -= 1
    this.changed()
  }

  record({ file, runId, sha256 }: Report): void {
    const known = this.recorded.get(file)
    if (known?.runIds.includes(runId)) {
      this.answers.repeated += 1
    } else {
      this.answers.accepted += 1
      this.recorded.set(file, { sha256, runIds: [...(known?.runIds ?? []), runId] })
    }
  }

  watch(watcher: () => void): void {
    this.watchers.add(watcher)
  }

  private changed(): void {
    this.watchers.forEach((watcher) => watcher())
  }
}

const answer = Effect.fnUntraced(function* (ledger: Ledger, report: Report, n: number) {
  const { millis, trouble } = yield* draw(report.file, n)
  if (trouble !== "none") {
    ledger.answers[trouble] += 1
  }
  yield* Effect.sleep(millis)
  switch (trouble) {
    case "unavailable":
      return HttpServerResponse.empty({ status: 503 })
    case "tooManyRequests":
      return HttpServerResponse.empty({ status: 429, headers: { "retry-after": "1" } })
    default: {
      ledger.record(report)
      return HttpServerResponse.empty({ status: 204 })
    }
  }
})

const take = (ledger: Ledger) =>
  Effect.flatMap(HttpServerRequest.schemaBodyJson(Report), (report) =>
    Effect.acquireUseRelease(
      Effect.sync(() => ledger.arrive(report.file)),
      (n) => answer(ledger, report, n),
      () => Effect.sync(() => ledger.leave())
    )
  )

/** Enough reports that have no answer yet: whoever sent them has not finished. */
const enoughPending = 3

const halfWay = (ledger: Ledger) => (files: number) =>
  Effect.flatMap(Deferred.make<void>(), (reached) => {
    ledger.watch(() => {
      const recorded = ledger.recorded.size
      if (recorded >= Math.floor(files / 2) && ledger.pending >= Math.min(enoughPending, files - recorded)) {
        Deferred.unsafeDone(reached, Effect.void)
      }
    })
    return Deferred.await(reached)
  })

export const layer = Layer.scoped(
  Service,
  Effect.gen(function* () {
    const ledger = new Ledger()
    yield* HttpServer.serveEffect(HttpRouter.empty.pipe(HttpRouter.put("/results", take(ledger))))
    return {
      url: yield* HttpServer.addressFormattedWith((address) => Effect.succeed(address)),
      recorded: Effect.sync(() => new Map(ledger.recorded)),
      answers: Effect.sync(() => ({ ...ledger.answers })),
      halfWay: halfWay(ledger)
    }
  })
).pipe(Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })))

/** The workers' way to the service. */
import { HttpBody, HttpClient, HttpClientRequest } from "@effect/platform"
import { Config, Context, Duration, Effect, Layer } from "effect"
import type { Report } from "./contract.js"
import { ServiceFailed } from "./tasks.js"

export type Answer =
  | { readonly _tag: "Accepted" }
  | { readonly _tag: "TooManyRequests"; readonly retryAfter: Duration.Duration }

export class Client extends Context.Tag("Client")<
  Client,
  {
    /** Reports a result. That the service cannot take it now is a `ServiceFailed`: the task's schedule decides. */
    readonly report: (result: Report) => Effect.Effect<Answer, ServiceFailed>
  }
>() {}

export const layer = Layer.effect(
  Client,
  Effect.gen(function* () {
    const http = yield* HttpClient.HttpClient
    const url = yield* Config.string("DEMO_SERVICE_URL")
    return {
      report: Effect.fn("report")(function* (result) {
        const request = HttpClientRequest.put(`${url}/results`, { body: HttpBody.unsafeJson(result) })
        const { headers, status } = yield* http
          .execute(request)
          .pipe(Effect.mapError((error) => new ServiceFailed({ reason: error.message })))
        switch (status) {
          case 204:
            return { _tag: "Accepted" as const }
          case 429:
            return {
              _tag: "TooManyRequests" as const,
              retryAfter: Duration.seconds(Number(headers["retry-after"] ?? 1))
            }
          default:
            return yield* new ServiceFailed({ reason: `status ${status}` })
        }
      })
    }
  })
)

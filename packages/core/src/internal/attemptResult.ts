import type { Cause } from "effect"
import type { Outcome } from "./run.js"

/** How an attempt ended: by itself, with the cause of what it failed with, or because its fiber was interrupted, by whomever. */
export type AttemptEnd =
  | { readonly _tag: "Outcome"; readonly outcome: Outcome; readonly cause?: Cause.Cause<unknown> }
  | { readonly _tag: "Snooze"; readonly millis: number }
  | { readonly _tag: "RateLimit"; readonly millis: number }
  | { readonly _tag: "Interrupted"; readonly cause: Cause.Cause<unknown> }

/** Why the consumer interrupts an attempt. */
export type StopReason =
  | { readonly _tag: "Shutdown" }
  | { readonly _tag: "Cancel"; readonly reason: string }
  | { readonly _tag: "LostClaim" }

/** How an attempt ended, in one word, as metrics and spans tell it. */
export type AttemptResult =
  | "success"
  | "failure"
  | "defect"
  | "timeout"
  | "aborted"
  | "cancelled"
  | "interrupted"
  | "snoozed"
  | "rate_limited"
  | "payload_invalid"
  | "result_invalid"
  | "undecryptable"
  | "lost_claim"
  | "executor_crashed"
  | "too_many_crashes"

const ofOutcome = {
  Success: "success",
  Failure: "failure",
  Defect: "defect",
  Timeout: "timeout",
  Aborted: "aborted",
  Cancelled: "cancelled",
  Interrupted: "interrupted",
  RateLimited: "rate_limited",
  Crashed: "defect",
  ExecutorCrashed: "executor_crashed",
  TooManyCrashes: "too_many_crashes",
  PayloadInvalid: "payload_invalid",
  ResultInvalid: "result_invalid",
  Undecryptable: "undecryptable",
  Encrypted: "undecryptable"
} as const

const ofStop = { Shutdown: "interrupted", Cancel: "cancelled", LostClaim: "lost_claim" } as const

/** The result of an attempt; `stop` is why it was interrupted, if somebody did so. A handler that interrupts itself is broken. */
export const of = (end: AttemptEnd, stop: StopReason | null): AttemptResult => {
  switch (end._tag) {
    case "Outcome":
      return ofOutcome[end.outcome._tag]
    case "Snooze":
      return "snoozed"
    case "RateLimit":
      return "rate_limited"
    case "Interrupted":
      return stop === null ? "defect" : ofStop[stop._tag]
  }
}

import { Cause, Data, Option } from "effect"

/** What a handler decided about its own run; travels as a defect, so that no `catchAll` of the handler holds it up. */
export type Decision =
  | { readonly _tag: "Abort"; readonly reason: string }
  | { readonly _tag: "Snooze"; readonly millis: number }
  | { readonly _tag: "RateLimit"; readonly millis: number }

export class Verdict extends Data.TaggedClass("@effect-tasks/core/Verdict")<{ readonly decision: Decision }> {
  constructor(decision: Decision) {
    super({ decision })
  }
}

/** The verdict in a cause, if the handler gave one. */
export const find = (cause: Cause.Cause<unknown>): Option.Option<Decision> =>
  Cause.find(cause, (part) =>
    part._tag === "Die" && part.defect instanceof Verdict ? Option.some(part.defect.decision) : Option.none()
  )

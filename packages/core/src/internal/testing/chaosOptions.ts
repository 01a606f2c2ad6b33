import { Duration, Effect } from "effect"
import { InvalidOption } from "../../TaskError.js"

/** An interval of time, counted from the moment at which the layer was built. Documented in `TaskTest`. */
export interface Interval {
  readonly from: Duration.DurationInput
  readonly to: Duration.DurationInput
}

/** Documented in `TaskTest`. */
export interface ChaosOptions {
  readonly seed: number | string
  readonly calm?: boolean | undefined
  readonly latency?:
    | Duration.DurationInput
    | { readonly min: Duration.DurationInput; readonly max: Duration.DurationInput }
  readonly failClaim?: number | undefined
  readonly failSettle?: number | undefined
  readonly failEnqueue?: number | undefined
  readonly failOther?: number | undefined
  readonly loseAnswer?: number | undefined
  readonly duplicateDelivery?: number | undefined
  readonly dropHeartbeat?: number | undefined
  readonly dropSignal?: number | undefined
  readonly partition?: ReadonlyArray<Interval> | undefined
  readonly killAt?: Duration.DurationInput | undefined
}

/** What can be injected, by the name under which it is counted. Documented in `TaskTest`. */
export type Fault =
  | "failClaim"
  | "failSettle"
  | "failEnqueue"
  | "failOther"
  | "loseAnswer"
  | "duplicateDelivery"
  | "dropHeartbeat"
  | "dropSignal"
  | "partition"
  | "kill"

/** The faults that come by chance. */
export type Chance = Exclude<Fault, "partition" | "kill">

const chances: ReadonlyArray<Chance> = [
  "failClaim",
  "failSettle",
  "failEnqueue",
  "failOther",
  "loseAnswer",
  "duplicateDelivery",
  "dropHeartbeat",
  "dropSignal"
]

/** The options as numbers: milliseconds, and a probability for each fault. */
export interface Settings {
  readonly calm: boolean
  readonly latency: readonly [min: number, max: number]
  readonly chance: { readonly [Name in Chance]: number }
  readonly partitions: ReadonlyArray<readonly [from: number, to: number]>
  readonly killAt: number | null
}

const latencyOf = ({ latency }: ChaosOptions): readonly [number, number] => {
  if (latency === undefined) {
    return [0, 0]
  }
  if (typeof latency === "object" && "min" in latency) {
    return [Duration.toMillis(latency.min), Duration.toMillis(latency.max)]
  }
  return [0, Duration.toMillis(latency)]
}

/** Checks the options, and fills in what is left out. */
export const settingsOf = (options: ChaosOptions): Effect.Effect<Settings, InvalidOption> => {
  for (const option of chances) {
    const value = options[option] ?? 0
    if (!(value >= 0 && value <= 1)) {
      return new InvalidOption({ option, value, expected: "a probability, from 0 to 1" })
    }
  }
  const latency = latencyOf(options)
  return latency[0] <= latency[1]
    ? Effect.succeed({
        calm: options.calm ?? false,
        latency,
        chance: Object.fromEntries(chances.map((name) => [name, options[name] ?? 0])) as Settings["chance"],
        partitions: (options.partition ?? []).map(({ from, to }) => [Duration.toMillis(from), Duration.toMillis(to)]),
        killAt: options.killAt === undefined ? null : Duration.toMillis(options.killAt)
      })
    : new InvalidOption({ option: "latency", value: latency, expected: "a range whose min is not above its max" })
}

import type { Operating, TaskConsumer, TaskTest } from "@effect-tasks/core"
import type { Feature } from "./features/feature.js"
import { features } from "./features/index.js"
import { Draw } from "./random.js"

/** How a process is made: its consumers, and its faults. */
export interface ProcessPlan {
  readonly consumers: ReadonlyArray<TaskConsumer.Options>
  readonly chaos: Omit<TaskTest.ChaosOptions, "seed">
}

/** Something that befalls a process, or that it does. */
export type Happening =
  | { readonly _tag: "Request"; readonly feature: Feature; readonly seed: number }
  | { readonly _tag: "Cancel"; readonly part: number }
  | { readonly _tag: "Edit"; readonly part: number; readonly priority: number; readonly delayMillis: number | null }
  | { readonly _tag: "Control"; readonly control: Operating.Control; readonly forMillis: number }
  | { readonly _tag: "Kill" }
  | { readonly _tag: "Stop" }
  | { readonly _tag: "Start" }

export interface Timed {
  readonly at: number
  readonly process: number
  readonly what: Happening
}

/** Everything that is drawn from the seed of a world before it begins. */
export interface Plan {
  readonly seed: number
  readonly features: ReadonlyArray<Feature>
  readonly processes: ReadonlyArray<ProcessPlan>
  readonly timeline: ReadonlyArray<Timed>
  /** When the storm is over, in milliseconds. */
  readonly calmAt: number
  /** Whether fibers that could go on at the same moment do so in an order that is drawn. */
  readonly shuffles: boolean
}

const drawChaos = (draw: Draw, calmAt: number): ProcessPlan["chaos"] =>
  draw.chance(0.15)
    ? {}
    : {
        latency: draw.chance(0.3) ? 0 : { min: 0, max: draw.pick([5, 100, 1_000, 3_000]) },
        failClaim: draw.some(0.3),
        failSettle: draw.some(0.3),
        failEnqueue: draw.some(0.3),
        failOther: draw.some(0.3),
        loseAnswer: draw.some(0.3),
        duplicateDelivery: draw.some(0.2),
        dropHeartbeat: draw.some(0.5),
        dropSignal: draw.some(0.5),
        partition: draw.times(draw.chance(0.3) ? draw.int(1, 2) : 0, () => {
          const from = draw.int(0, calmAt)
          return { from, to: from + draw.int(1_000, 60_000) }
        })
      }

const drawConsumer = (draw: Draw): TaskConsumer.Options => ({
  // ahead it claims by a pace that is measured in real time
  prefetch: 0,
  maxConcurrentTasks: draw.int(1, 8),
  lease: draw.pick([3_000, 10_000, 30_000]),
  grace: draw.pick([0, 1_000, 10_000]),
  cleanup: draw.pick([1_000, 5_000])
})

const drawControl = (draw: Draw, chosen: ReadonlyArray<Feature>): Operating.Control => {
  if (draw.chance(0.4)) {
    return { of: "queue", name: draw.pick(["default", "children"]), state: "paused" }
  }
  const { name } = draw.pick(draw.pick(chosen).tasks)
  return { of: "task", name, state: draw.chance(0.7) ? "paused" : "disabled" }
}

const drawLife = (draw: Draw, process: number, calmAt: number): ReadonlyArray<Timed> => {
  const life: Array<Timed> = []
  for (let at = 0; draw.chance(0.5); ) {
    at += draw.int(1_000, calmAt)
    life.push({ at, process, what: { _tag: draw.chance(0.6) ? "Kill" : "Stop" } })
    at += draw.int(100, 20_000)
    life.push({ at, process, what: { _tag: "Start" } })
  }
  return life.filter(({ at }) => at < calmAt)
}

export const draw = (seed: number): Plan => {
  const draw = new Draw(seed, 1)
  const calmAt = draw.int(20, 240) * 1_000
  const drawn = features.filter(() => draw.chance(0.6))
  const chosen = drawn.length > 0 ? drawn : [draw.pick(features)]
  const processes = draw.times(draw.int(1, 4), () => ({
    consumers: draw.times(draw.int(0, 2), () => drawConsumer(draw)),
    chaos: drawChaos(draw, calmAt)
  }))
  const process = () => draw.int(0, processes.length - 1)
  const requests = draw.times(draw.int(5, 60), (): Timed => {
    const what = { _tag: "Request" as const, feature: draw.pick(chosen), seed: draw.int(0, 1e9) }
    return { at: draw.int(0, calmAt), process: process(), what }
  })
  const cancels = draw.times(draw.chance(0.5) ? draw.int(1, 15) : 0, (): Timed => {
    return { at: draw.int(0, calmAt), process: process(), what: { _tag: "Cancel", part: draw.part } }
  })
  const edits = draw.times(draw.chance(0.4) ? draw.int(1, 10) : 0, (): Timed => {
    const delayMillis = draw.chance(0.5) ? draw.int(0, 20_000) : null
    const what = { _tag: "Edit" as const, part: draw.part, priority: draw.int(-100, 100), delayMillis }
    return { at: draw.int(0, calmAt), process: process(), what }
  })
  const controls = draw.times(draw.chance(0.4) ? draw.int(1, 4) : 0, (): Timed => {
    const what = { _tag: "Control" as const, control: drawControl(draw, chosen), forMillis: draw.int(100, 30_000) }
    return { at: draw.int(0, calmAt), process: process(), what }
  })
  const lives = processes.flatMap((_, i) => drawLife(draw, i, calmAt))
  const timeline = [...requests, ...cancels, ...edits, ...controls, ...lives].sort((a, b) => a.at - b.at)
  return { seed, features: chosen, processes, timeline, calmAt, shuffles: draw.chance(0.7) }
}

/**
 * Plays worlds: `npx -y pnpm@12 simulate -- --seeds 1000`. A share of them goes to one child process per processor. Ends with
 * code 1 when a promise was broken.
 */
import { fork } from "node:child_process"
import { availableParallelism } from "node:os"
import { backendOf, parse, usage } from "./arguments.js"
import { play, type Report } from "./world.js"

const args = parse(process.argv.slice(2))

const show = (report: Report): void => {
  const { backend, seed, tail, violation } = report
  console.log(`\nseed ${seed} on ${backend}: ${violation}\n${tail.join("\n")}`)
  console.log(`replay: npx -y pnpm@12 simulate -- --seed ${seed} --backend ${backend}`)
}

const sum = (reports: ReadonlyArray<Report>, of: (report: Report) => number): number =>
  reports.reduce((sum, report) => sum + of(report), 0)

const conclude = (reports: ReadonlyArray<Report>, expected: number, millis: number): void => {
  const broken = reports.filter(({ violation }) => violation !== null)
  const runs = sum(reports, ({ runs }) => runs)
  const lines = sum(reports, ({ lines }) => lines)
  console.log(
    `${reports.length} worlds with ${runs} runs and ${lines} steps in ${(millis / 1000).toFixed(0)} s: ` +
      `${broken.length} with a violation`
  )
  if (reports.length < expected) {
    console.log(`${expected - reports.length} worlds were not played to their end`)
  }
  process.exitCode = broken.length > 0 || reports.length < expected ? 1 : 0
}

/** Plays the seeds that the parent sends. */
const playForParent = (send: (report: Report) => void): void => {
  process.on("message", async ({ backend, seed }: Pick<Report, "seed" | "backend">) => {
    send(await play({ seed, backend }))
  })
  // what the fibers of killed processes wait for would keep this one alive
  process.once("disconnect", () => process.exit())
}

const playInChildren = async (seeds: ReadonlyArray<number>, backend: Report["backend"] | null) => {
  const reports: Array<Report> = []
  let next = 0
  const child = () =>
    new Promise<void>((resolve) => {
      const worker = fork(import.meta.filename, [], { execArgv: ["--import", "tsx"] })
      const more = () => {
        const seed = seeds[next++]
        if (seed === undefined) {
          worker.disconnect()
        } else {
          worker.send({ seed, backend: backendOf(seed, { backend }) })
        }
      }
      worker.on("message", (report: Report) => {
        reports.push(report)
        if (report.violation !== null) {
          show(report)
        }
        more()
      })
      worker.once("exit", () => resolve())
      more()
    })
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), seeds.length) }, child))
  return reports
}

if (process.send !== undefined) {
  playForParent((report) => process.send!(report))
} else if (typeof args === "string") {
  console.error(`${args}\n\n${usage}`)
  process.exitCode = 2
} else if (args.replays) {
  const [seed] = args.seeds
  const report = await play({ seed: seed!, backend: backendOf(seed!, args), print: (line) => console.log(line) })
  console.log(`\nseed ${seed} on ${report.backend}: ${report.violation ?? "no violation"}; trace ${report.hash}`)
  process.exit(report.violation === null ? 0 : 1)
} else {
  const start = performance.now()
  conclude(await playInChildren(args.seeds, args.backend), args.seeds.length, performance.now() - start)
}

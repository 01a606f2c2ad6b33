import { type AddressInfo, createServer } from "node:net"
import { userInfo } from "node:os"
import { Command, type CommandExecutor, FileSystem, Path } from "@effect/platform"
import { Effect, Option } from "effect"

/** A PostgreSQL server of the test's own, which it may stop. */
export interface Cluster {
  readonly url: string
  /** `immediate` is a crash: what was not committed is lost. `fast` ends all connections first. */
  readonly restart: (mode: "immediate" | "fast") => Effect.Effect<void>
}

const installed = "/usr/lib/postgresql"

/** The folder of the newest version that has all it takes. */
const programs = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const versions = yield* Effect.orElseSucceed(fs.readDirectory(installed), () => [])
  const folders = versions.sort((a, b) => Number(b) - Number(a)).map((version) => path.join(installed, version, "bin"))
  const complete = yield* Effect.filter(folders, (folder) =>
    Effect.map(
      Effect.forEach(["initdb", "pg_ctl", "postgres"], (name) => fs.exists(path.join(folder, name))),
      (found) => found.every((exists) => exists)
    )
  )
  return Option.fromNullable(complete[0])
})

const isRoot = userInfo().uid === 0

/** PostgreSQL refuses to run as root. */
const run = (program: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const command = isRoot
      ? Command.make("runuser", "-u", "postgres", "--", program, ...args)
      : Command.make(program, ...args)
    const code = yield* Command.exitCode(command.pipe(Command.workingDirectory("/"), Command.stderr("inherit")))
    if (code !== 0) {
      return yield* Effect.dieMessage(`${program} has failed`)
    }
  }).pipe(Effect.orDie)

const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Whether a cluster can be made here. */
export const isPossible = Effect.map(programs, Option.isSome)

/** Makes a cluster for as long as the scope lasts. */
export const make = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const bin = yield* Effect.flatten(programs)
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "effect-tasks-cluster-" })
  yield* fs.chmod(folder, 0o777)
  const data = path.join(folder, "data")
  const port = yield* freePort
  const ctl = path.join(bin, "pg_ctl")
  const surroundings = yield* Effect.context<CommandExecutor.CommandExecutor>()
  yield* run(path.join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
  const options = `-c listen_addresses=127.0.0.1 -c port=${port} -c unix_socket_directories= -c max_connections=60`
  const log = path.join(folder, "log")
  yield* Effect.acquireRelease(run(ctl, "-D", data, "-l", log, "-s", "-w", "-o", options, "start"), () =>
    Effect.provide(run(ctl, "-D", data, "-s", "-m", "immediate", "stop"), surroundings)
  )
  const cluster: Cluster = {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    restart: (mode) =>
      Effect.provide(run(ctl, "-D", data, "-l", log, "-s", "-w", "-m", mode, "-o", options, "restart"), surroundings)
  }
  return cluster
}).pipe(Effect.orDie)

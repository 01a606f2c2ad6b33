/** Whether nothing was lost and nothing done twice: the store and the service are asked about every file. */
import type { TaskRun } from "@effect-tasks/core"
import { Array as Arr, Effect, Either } from "effect"
import { type Recorded, Service } from "./service.js"
import { GzipFile, HashFile, type SourceFile } from "./tasks.js"

/** A file, and its run. */
export interface Queued {
  readonly file: SourceFile
  readonly run: TaskRun.Handle<typeof HashFile>
}

export interface Checked {
  readonly bytes: number
  readonly gzipped: number
  /** What is not as it should be, for people. */
  readonly faults: ReadonlyArray<string>
}

type Fault = Either.Either<never, string>

const fault = (text: string): Fault => Either.left(text)

/** The one child of a file's run, which must have succeeded. */
const checkChildren = Effect.fnUntraced(function* (run: Queued["run"], children: ReadonlyArray<TaskRun.TaskRun>) {
  const [child, ...others] = children
  if (child === undefined || others.length > 0 || child.task !== GzipFile.name || child.rootId !== run.id) {
    return fault(`the store has ${children.length} runs of ${GzipFile.name}, where one should be`)
  }
  const handle = yield* GzipFile.handle(child.id)
  return yield* handle.await.pipe(
    Effect.mapError((error) => `the store has no success of ${GzipFile.name}: ${error.message}`),
    Effect.either
  )
})

/** The one result that the service has of a file: from its run, with the hash that the store has. */
const checkRecorded = (id: TaskRun.RunId, sha256: string, recorded: Recorded | undefined): Fault | undefined =>
  recorded?.runIds.length !== 1 || recorded.runIds[0] !== id
    ? fault(`the service has ${recorded?.runIds.length ?? 0} results, where one should be`)
    : recorded.sha256 !== sha256
      ? fault("the service has another hash than the store")
      : undefined

const checkFile = Effect.fnUntraced(function* (
  { run }: Queued,
  children: ReadonlyArray<TaskRun.TaskRun>,
  recorded: Recorded | undefined
) {
  const hashed = yield* Effect.either(run.await)
  return Either.isLeft(hashed)
    ? fault(`the store has no success of ${HashFile.name}: ${hashed.left.message}`)
    : (checkRecorded(run.id, hashed.right.sha256, recorded) ?? (yield* checkChildren(run, children)))
})

export const check = Effect.fnUntraced(function* (queued: ReadonlyArray<Queued>, runs: ReadonlyArray<TaskRun.TaskRun>) {
  const recorded = yield* Effect.flatMap(Service, (service) => service.recorded)
  const family = Arr.groupBy(runs, (run) => run.parentId ?? "no parent")
  const results = yield* Effect.forEach(queued, (one) =>
    Effect.map(
      checkFile(one, family[one.run.id] ?? [], recorded.get(one.file.name)),
      Either.mapLeft((text) => `${one.file.name}: ${text}`)
    )
  )
  const [faults, sizes] = Arr.separate(results)
  const strangers = runs.length - 2 * queued.length
  const checked: Checked = {
    bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0),
    gzipped: sizes.reduce((sum, { gzipped }) => sum + gzipped, 0),
    faults: faults.length === 0 && strangers !== 0 ? [`the store has ${strangers} runs too many`] : faults
  }
  return checked
})

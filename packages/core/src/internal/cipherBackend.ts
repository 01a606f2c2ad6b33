import { Effect, Option } from "effect"
import type { Broker, Enqueued, Exchanged, Settled, Settlement } from "../Broker.js"
import type { ScheduleChange } from "../Scheduling.js"
import type { LogLine, Store } from "../Store.js"
import { BackendError } from "../TaskError.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Cipher } from "./cipher.js"
import * as sealing from "./sealing.js"

/*
 * A broker and a store that see only what is encrypted. What comes back from them is opened where no interruption can lose
 * it; the texts of one call are sealed, and opened, at one time.
 */

interface Parts {
  readonly cipher: Cipher
  readonly logs: boolean
  readonly broker: typeof Broker.Service
  readonly store: typeof Store.Service
}

/** All answers of many promises; none, and no waiting, for none. */
type Together = <A, B>(
  items: ReadonlyArray<A>,
  each: (item: A) => Promise<B>
) => Effect.Effect<ReadonlyArray<B>, BackendError>

const together =
  (backend: string): Together =>
  (items, each) =>
    items.length === 0
      ? Effect.succeed([])
      : Effect.tryPromise({
          try: () => Promise.all(items.map(each)),
          catch: (cause) => new BackendError({ backend, operation: "encrypt", transient: false, cause })
        })

/** Hands over what was sealed; from the answer on to what was opened of it nothing is interrupted. */
const through = <Sealed, Answer, Opened, E>(
  sealed: Effect.Effect<Sealed, BackendError>,
  call: (sealed: Sealed) => Effect.Effect<Answer, E>,
  open: (answer: Answer, sealed: Sealed) => Effect.Effect<Opened, BackendError>
): Effect.Effect<Opened, E | BackendError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(restore(sealed), (sealed) => Effect.flatMap(restore(call(sealed)), (answer) => open(answer, sealed)))
  )

export const make = (
  parts: Parts
): { readonly broker: typeof Broker.Service; readonly store: typeof Store.Service } => {
  const all = together(parts.broker.name)
  return { broker: makeBroker(parts, all), store: makeStore(parts, all) }
}

const makeBroker = (parts: Parts, all: Together): typeof Broker.Service => {
  const { broker, cipher } = parts
  return {
    ...broker,
    enqueue: (runs, options) =>
      through(
        all(runs, (run) => sealing.sealRun(cipher, run)),
        (sealed) => broker.enqueue(sealed, options),
        (answers, sealed) => {
          const known = new Map(sealed.map(({ payload }, i) => [payload, runs[i]!.payload]))
          return all(
            answers,
            async (answer): Promise<Enqueued> => ({ ...answer, run: await sealing.openRun(cipher, answer.run, known) })
          )
        }
      ),
    exchange: ({ claim, settlements }) =>
      through(
        all(settlements, (settlement) => sealSettlement(parts, settlement)),
        (sealed) => broker.exchange({ settlements: sealed, claim }),
        (exchanged) => openExchanged(cipher, exchanged, all)
      ),
    extend: (extension) =>
      Effect.flatMap(
        extension.claims.every(({ progress }) => progress === null)
          ? Effect.succeed(extension.claims)
          : all(extension.claims, async (claim) => ({
              ...claim,
              progress: claim.progress === null ? null : await sealing.sealProgress(cipher, claim.id, claim.progress)
            })),
        (claims) => broker.extend({ ...extension, claims })
      ),
    cancel: (request) =>
      through(
        Effect.succeed(request),
        (request) => broker.cancel(request),
        (results) =>
          all(results, async (result) =>
            result._tag === "Cancelled" ? { ...result, run: await sealing.openRun(cipher, result.run) } : result
          )
      ),
    edit: (edit) =>
      through(
        Effect.succeed(edit),
        (edit) => broker.edit(edit),
        (results) =>
          all(results, async (result) =>
            result._tag === "Edited" ? { ...result, run: await sealing.openRun(cipher, result.run) } : result
          )
      ),
    fire: (changes) =>
      Effect.flatMap(
        all(changes, (change) => sealChange(cipher, change)),
        broker.fire
      ),
    putSchedules: (changes) =>
      Effect.flatMap(
        all(changes, (change) => sealChange(cipher, change)),
        broker.putSchedules
      )
  }
}

const sealChange = async (cipher: Cipher, change: ScheduleChange): Promise<ScheduleChange> => {
  const [schedule, runs] = await Promise.all([
    sealing.sealSchedule(cipher, change.schedule),
    Promise.all(change.runs.map((run) => sealing.sealRun(cipher, run)))
  ])
  return { ...change, schedule, runs }
}

const sealLines = async ({ cipher, logs }: Parts, lines: ReadonlyArray<LogLine>): Promise<ReadonlyArray<LogLine>> =>
  logs ? Promise.all(lines.map((line) => sealing.sealLine(cipher, line))) : lines

const sealSettlement = async (parts: Parts, settlement: Settlement): Promise<Settlement> => {
  const [run, logs] = await Promise.all([
    sealing.sealRun(parts.cipher, settlement.run),
    sealLines(parts, settlement.logs)
  ])
  return { ...settlement, run, logs }
}

const openExchanged = (
  cipher: Cipher,
  { claimed, settled }: Exchanged,
  all: Together
): Effect.Effect<Exchanged, BackendError> =>
  Effect.zipWith(
    settled.some(({ _tag }) => _tag === "Cancelled")
      ? all(
          settled,
          async (answer): Promise<Settled> =>
            answer._tag === "Cancelled" ? { ...answer, run: await sealing.openRun(cipher, answer.run) } : answer
        )
      : Effect.succeed(settled),
    all(claimed?.runs ?? [], async (claim) => ({ ...claim, run: await sealing.openRun(cipher, claim.run) })),
    (settled, runs) => ({ settled, claimed: claimed === null ? null : { ...claimed, runs } })
  )

const makeStore = (parts: Parts, all: Together): typeof Store.Service => {
  const { cipher, logs, store } = parts
  const open = (run: EncodedRun) => sealing.openRun(cipher, run)
  return {
    ...store,
    record: (records) =>
      Effect.flatMap(
        all(records, async ({ logs, run }) => {
          const [sealedRun, sealedLogs] = await Promise.all([sealing.sealRun(cipher, run), sealLines(parts, logs)])
          return { run: sealedRun, logs: sealedLogs }
        }),
        store.record
      ),
    get: (ids) =>
      Effect.flatMap(store.get(ids), (found) =>
        all(found, async (run) => (Option.isSome(run) ? Option.some(await open(run.value)) : run))
      ),
    runs: (query) => Effect.flatMap(store.runs(query), (runs) => all(runs, open)),
    schedules: Effect.flatMap(store.schedules, (schedules) =>
      all(schedules, (schedule) => sealing.openSchedule(cipher, schedule))
    ),
    appendLogs: (lines) =>
      logs
        ? Effect.flatMap(
            all(lines, (line) => sealing.sealLine(cipher, line)),
            store.appendLogs
          )
        : store.appendLogs(lines),
    logs: (id, options) =>
      Effect.flatMap(store.logs(id, options), (lines) => all(lines, (line) => sealing.openLine(cipher, line)))
  }
}

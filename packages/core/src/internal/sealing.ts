import { type EncodedSchedule, LogLine } from "../Store.js"
import type { Encoded as EncodedRun } from "../TaskRun.js"
import type { Cipher, Place } from "./cipher.js"
import { type Binding, isEnvelope, keyIdOf } from "./envelope.js"
import type { Attempt, Outcome, RunId } from "./run.js"

/*
 * The records of runs and schedules, and log lines, as they are above and below a cipher. What cannot be opened stays as it is
 * stored, and goes back so.
 */

/** A text in its envelope, where JSON stands. */
interface Sealed {
  readonly _tag: "Encrypted"
  readonly keyId: string
  readonly sealed: string
}

const asSealed = (sealed: string): Sealed => ({ _tag: "Encrypted", keyId: keyIdOf(sealed), sealed })

/** The envelope that stands in the place of a value, if one does. */
const sealedOf = (value: unknown): string | undefined =>
  typeof value === "object" && value !== null && "sealed" in value && typeof value.sealed === "string"
    ? value.sealed
    : undefined

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const toRun =
  (part: string, id: RunId, ...more: Place) =>
  (): Place => [part, id, ...more]

/**
 * A request that may replace the payload of the run which holds its key hands its envelope over to that run; so it is bound to
 * what both have in common.
 */
const bindingOf = ({ idempotency }: EncodedRun): Binding =>
  idempotency?.onConflict === "replace" || idempotency?.onConflict === "debounce" ? "k" : "r"

const payloadPlace =
  ({ id, idempotency, task }: EncodedRun) =>
  (binding: Binding): Place =>
    binding === "r" ? ["payload", id] : ["payload", task, idempotency?.key ?? ""]

/** The empty text is the payload of a task without one. */
const sealPayload = async (cipher: Cipher, run: EncodedRun): Promise<string> => {
  const binding = bindingOf(run)
  return run.payload === "" || isEnvelope(run.payload)
    ? run.payload
    : cipher.seal(run.payload, binding, payloadPlace(run)(binding))
}

const openText = async (cipher: Cipher, text: string, place: (binding: Binding) => Place): Promise<string> =>
  isEnvelope(text) ? ((await cipher.open(text, place)) ?? text) : text

/** What such an outcome tells is no more than the state does, or comes from the runtime or an operator. */
const isOpenToAll = (outcome: Outcome): boolean => {
  switch (outcome._tag) {
    case "Success":
      return outcome.value === undefined
    case "Timeout":
    case "Cancelled":
    case "Interrupted":
    case "RateLimited":
    case "Crashed":
    case "TooManyCrashes":
    case "Undecryptable":
    case "Encrypted":
      return true
    default:
      return false
  }
}

const sealOutcome = async (cipher: Cipher, text: string, place: () => Place): Promise<string> => {
  const outcome = parse(text)
  return isTagged(outcome) && isOpenToAll(outcome)
    ? text
    : JSON.stringify(asSealed(await cipher.seal(text, "r", place())))
}

const isTagged = (value: unknown): value is Outcome => typeof value === "object" && value !== null && "_tag" in value

const openOutcome = async (cipher: Cipher, text: string, place: () => Place): Promise<string> => {
  const sealed = sealedOf(parse(text))
  return sealed === undefined ? text : ((await cipher.open(sealed, place)) ?? text)
}

/** Backends add the attempts that crashed by themselves, so a ledger stays a list of attempts, only their outcomes are sealed. */
const overLedger = async (
  run: EncodedRun,
  change: (outcome: string, place: () => Place) => Promise<string>
): Promise<string> => {
  const attempts = run.ledger === "[]" ? undefined : parse(run.ledger)
  if (!Array.isArray(attempts)) {
    return run.ledger
  }
  const changed = (attempts as ReadonlyArray<Partial<Attempt> | null>).map(async (attempt) => {
    if (attempt?.outcome === undefined || attempt.number === undefined) {
      return attempt
    }
    const outcome = JSON.stringify(attempt.outcome)
    const next = await change(outcome, toRun("attempt", run.id, attempt.number))
    return next === outcome ? attempt : { ...attempt, outcome: JSON.parse(next) }
  })
  return JSON.stringify(await Promise.all(changed))
}

/** The word is sealed, the number beside it is not. */
export const sealProgress = async (cipher: Cipher, id: RunId, text: string): Promise<string> => {
  const progress = parse(text)
  if (typeof progress !== "object" || progress === null || !("message" in progress)) {
    return cipher.seal(text, "r", ["progress", id])
  }
  return typeof progress.message === "string"
    ? JSON.stringify({ ...progress, message: asSealed(await cipher.seal(progress.message, "r", ["progress", id])) })
    : text
}

const openProgress = async (cipher: Cipher, id: RunId, text: string): Promise<string> => {
  const place = toRun("progress", id)
  if (isEnvelope(text)) {
    return openText(cipher, text, place)
  }
  const progress = parse(text)
  const sealed =
    typeof progress === "object" && progress !== null && "message" in progress && sealedOf(progress.message)
  const message = typeof sealed === "string" ? await cipher.open(sealed, place) : null
  return message === null ? text : JSON.stringify({ ...(progress as object), message })
}

const orNull = async <A>(value: A | null, then: (value: A) => Promise<A>): Promise<A | null> =>
  value === null ? null : then(value)

/** The record as it is stored. */
export const sealRun = async (cipher: Cipher, run: EncodedRun): Promise<EncodedRun> => {
  const [payload, outcome, ledger, progress] = await Promise.all([
    sealPayload(cipher, run),
    orNull(run.outcome, (text) => sealOutcome(cipher, text, toRun("outcome", run.id))),
    overLedger(run, (text, place) => sealOutcome(cipher, text, place)),
    orNull(run.progress, (text) => sealProgress(cipher, run.id, text))
  ])
  return { ...run, payload, outcome, ledger, progress }
}

/** The record as it was before it was stored; `known` are payloads by their envelopes. */
export const openRun = async (
  cipher: Cipher,
  run: EncodedRun,
  known: ReadonlyMap<string, string> = nothing
): Promise<EncodedRun> => {
  const [payload, outcome, ledger, progress] = await Promise.all([
    known.get(run.payload) ?? openText(cipher, run.payload, payloadPlace(run)),
    orNull(run.outcome, (text) => openOutcome(cipher, text, toRun("outcome", run.id))),
    overLedger(run, (text, place) => openOutcome(cipher, text, place)),
    orNull(run.progress, (text) => openProgress(cipher, run.id, text))
  ])
  return { ...run, payload, outcome, ledger, progress }
}

const nothing: ReadonlyMap<string, string> = new Map()

/** The payload in the text of a template. Nothing, when the text is no template. */
const templateOf = (text: string): { readonly payload: string } | undefined => {
  const template = parse(text)
  return typeof template === "object" &&
    template !== null &&
    "payload" in template &&
    typeof template.payload === "string"
    ? { ...template, payload: template.payload }
    : undefined
}

/** Only the payload of a template is sealed, so that without the key all else of the schedule can be seen and changed. */
const sealTemplate = async (cipher: Cipher, text: string, place: Place): Promise<string> => {
  const template = templateOf(text)
  if (template?.payload === "" || isEnvelope(template?.payload ?? text)) {
    return text
  }
  return template === undefined
    ? cipher.seal(text, "r", place)
    : JSON.stringify({ ...template, payload: await cipher.seal(template.payload, "r", place) })
}

const openTemplate = async (cipher: Cipher, text: string, place: () => Place): Promise<string> => {
  const template = templateOf(text)
  if (template === undefined) {
    return openText(cipher, text, place)
  }
  const payload = await openText(cipher, template.payload, place)
  return payload === template.payload ? text : JSON.stringify({ ...template, payload })
}

const schedulePlace =
  (part: "template" | "declared", { name }: EncodedSchedule) =>
  (): Place => [part, name]

/** The schedule as it is stored. What the code has declared says the payload too, so it is sealed as a whole. */
export const sealSchedule = async (cipher: Cipher, schedule: EncodedSchedule): Promise<EncodedSchedule> => {
  const [run, declared] = await Promise.all([
    sealTemplate(cipher, schedule.run, schedulePlace("template", schedule)()),
    orNull(schedule.declared, async (text) =>
      isEnvelope(text) ? text : cipher.seal(text, "r", schedulePlace("declared", schedule)())
    )
  ])
  return { ...schedule, run, declared }
}

export const openSchedule = async (cipher: Cipher, schedule: EncodedSchedule): Promise<EncodedSchedule> => {
  const [run, declared] = await Promise.all([
    openTemplate(cipher, schedule.run, schedulePlace("template", schedule)),
    orNull(schedule.declared, (text) => openText(cipher, text, schedulePlace("declared", schedule)))
  ])
  return { ...schedule, run, declared }
}

/** The annotation that holds what a sealed line says. */
const sealedLine = "effect-tasks.encrypted"

const linePlace = ({ runId, seq }: LogLine) => toRun("line", runId, seq)

/** A line of which only time, level and place can be read. */
export const sealLine = async (cipher: Cipher, line: LogLine): Promise<LogLine> => {
  const { annotations, message, spans } = line
  const sealed = await cipher.seal(JSON.stringify({ message, annotations, spans }), "r", linePlace(line)())
  return new LogLine(
    {
      ...line,
      message: `(encrypted with the key ${keyIdOf(sealed)})`,
      annotations: { [sealedLine]: sealed },
      spans: []
    },
    { disableValidation: true }
  )
}

export const openLine = async (cipher: Cipher, line: LogLine): Promise<LogLine> => {
  const sealed = line.annotations[sealedLine]
  const text = typeof sealed === "string" ? await cipher.open(sealed, linePlace(line)) : null
  return text === null ? line : new LogLine({ ...line, ...(JSON.parse(text) as object) }, { disableValidation: true })
}
